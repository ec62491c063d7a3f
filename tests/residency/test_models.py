"""Residency: the budget, the order of giving up, pins, leases, and loads that fail or meet."""

from __future__ import annotations

import threading
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from runtime.backends.null import NullBackend
from runtime.backends.protocol import BackendError, Limits, Model, ModelRefused
from runtime.residency.models import NoRoom, Residency
from runtime.store.bundle import Bundle
from tests.backends.made import installed

SIZE = 1000
COUNT = 6


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Loader:
    """Loads by the null backend and remembers what is open."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.loads: list[str] = []
        self.error: BackendError | None = None
        self.grow = 0
        self.hold: threading.Event | None = None

    def __call__(self, bundle: Bundle, limits: Limits, role: str) -> tuple[str, Model]:
        name = bundle.manifest.name
        self.loads.append(name)
        if self.hold is not None:
            assert self.hold.wait(30)
        if self.error is not None:
            raise self.error
        model = NullBackend().load(bundle, limits, role)
        model.resident_bytes += self.grow
        close = model.close

        def closed() -> None:
            assert name in self.open, "closed twice"
            self.open.discard(name)
            close()

        model.close = closed  # type: ignore[method-assign]
        self.open.add(name)
        return "null", model


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    model = {"file": "m", "backends": ["null"], "memory_bytes": SIZE}
    return [installed(folder, {"m": b"%d" % n}, {"model": model}, name=f"b{n}") for n in range(COUNT)]


@pytest.fixture
def loader() -> Loader:
    return Loader()


def a_residency(loader: Loader, models: float) -> Residency:
    return Residency(Limits(), int(models * SIZE), load=loader, clock=Clock())


def touch(residency: Residency, bundle: Bundle, priority: int = 0) -> None:
    with residency.use(bundle, priority=priority) as model:
        model.start({})


def test_a_model_is_loaded_once_while_there_is_room(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 3)
    for _ in range(3):
        for bundle in bundles[:3]:
            touch(residency, bundle)
    assert loader.loads == ["b0", "b1", "b2"]
    assert (residency.counts.loads, residency.counts.hits, residency.counts.evictions) == (3, 6, 0)
    assert residency.resident_bytes == 3 * SIZE
    told = residency.residents()
    assert [(resident.reference, resident.backend, resident.uses) for resident in told] == [
        ("b0@1", "null", 3),
        ("b1@1", "null", 3),
        ("b2@1", "null", 3),
    ]
    residency.close()
    assert loader.open == set()


def test_the_longest_unused_goes_first(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 3)
    for index in (0, 1, 2, 0, 3):
        touch(residency, bundles[index])
    assert loader.open == {"b0", "b2", "b3"}
    touch(residency, bundles[4])
    assert loader.open == {"b0", "b3", "b4"}
    assert residency.counts.evictions == 2


def test_priority_goes_before_age(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 2)
    touch(residency, bundles[0], priority=5)
    touch(residency, bundles[1])
    touch(residency, bundles[2])
    touch(residency, bundles[3])
    assert loader.open == {"b0", "b3"}


def test_pinned_and_used_models_stay(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 2)
    residency.pin(bundles[0])
    touch(residency, bundles[0])
    with residency.use(bundles[1]):
        with pytest.raises(NoRoom, match=f"'b2@1', model 'model' needs {SIZE} bytes; .* {2 * SIZE} are held and 0 can"):
            touch(residency, bundles[2])
        assert not residency.evict(bundles[1])
        assert residency.clear() == 1  # clearing takes the pinned one, too, but not what is in use
        assert loader.open == {"b1"}
        touch(residency, bundles[0])
    touch(residency, bundles[2])
    assert loader.open == {"b0", "b2"}
    residency.unpin(bundles[0])
    assert residency.evict(bundles[0])
    assert not residency.evict(bundles[0])
    assert loader.open == {"b2"}


def test_a_model_larger_than_all_the_budget(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 0.5)
    with pytest.raises(NoRoom):
        touch(residency, bundles[0])
    assert loader.loads == []
    unlimited = a_residency(loader, 0)
    for bundle in bundles:
        touch(unlimited, bundle)
    assert len(loader.open) == COUNT


def test_a_model_that_turns_out_larger_than_it_said(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 3)
    touch(residency, bundles[0])
    touch(residency, bundles[1])
    loader.grow = SIZE
    touch(residency, bundles[2])  # two sizes: the oldest has to go after all
    assert loader.open == {"b1", "b2"}
    residency.pin(bundles[1])
    residency.pin(bundles[2])
    with pytest.raises(NoRoom):
        touch(residency, bundles[3])
    loader.grow = 5 * SIZE
    residency.clear()
    with pytest.raises(NoRoom, match="needs more bytes"):
        touch(residency, bundles[4])
    assert loader.open == set()
    assert residency.resident_bytes == 0


def test_a_load_that_fails_leaves_nothing_and_may_be_tried_again(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 2)
    loader.error = ModelRefused("broken")
    for _ in range(2):
        with pytest.raises(ModelRefused):
            touch(residency, bundles[0])
    assert residency.resident_bytes == 0
    loader.error = None
    touch(residency, bundles[0])
    assert loader.open == {"b0"}


def test_warming_loads_in_the_background_and_tells_errors(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 1)
    residency.warm(bundles[0], priority=3).result(30)
    assert [resident.priority for resident in residency.residents()] == [3]
    touch(residency, bundles[0])
    assert loader.loads == ["b0"]
    loader.error = ModelRefused("broken")
    assert isinstance(residency.warm(bundles[1]).exception(30), ModelRefused)
    residency.close()


@pytest.mark.parametrize("fails", [False, True])
def test_two_that_want_the_same_model_load_it_once(bundles: list[Bundle], loader: Loader, fails: bool) -> None:
    residency = a_residency(loader, 2)
    loader.hold = threading.Event()
    if fails:
        loader.error = ModelRefused("broken")
    warming = residency.warm(bundles[0])
    ended: list[object] = []

    def want() -> None:
        try:
            touch(residency, bundles[0])
        except ModelRefused as error:
            ended.append(error)
        else:
            ended.append(None)

    threads = [threading.Thread(target=want) for _ in range(3)]
    while not loader.loads:
        threading.Event().wait(0.001)
    for thread in threads:
        thread.start()
    while residency.counts.hits < 3:
        threading.Event().wait(0.001)
    loader.hold.set()
    for thread in threads:
        thread.join()
    assert loader.loads == ["b0"]
    assert [isinstance(end, ModelRefused) for end in ended] == [fails] * 3
    assert isinstance(warming.exception(30), ModelRefused) == fails
    assert residency.resident_bytes == (0 if fails else SIZE)
    residency.close()


def test_a_role_and_its_file_are_one_model(bundles: list[Bundle], loader: Loader) -> None:
    residency = a_residency(loader, 3)
    with residency.use(bundles[0], "model") as one, residency.use(bundles[0], "m") as other:
        assert one is other


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, 2), st.booleans()), max_size=40),
    room=st.integers(1, COUNT),
)
def test_the_budget_always_holds(bundles: list[Bundle], steps: list[tuple[int, int, bool]], room: int) -> None:
    loader = Loader()
    residency = a_residency(loader, room)
    pinned: set[int] = set()
    for index, priority, is_pin in steps:
        if is_pin:
            (residency.unpin if index in pinned else residency.pin)(bundles[index])
            pinned ^= {index}
        try:
            touch(residency, bundles[index], priority)
        except NoRoom:
            held = {f"b{number}" for number in pinned} & loader.open
            assert len(held) == room
        else:
            assert f"b{index}" in loader.open
        assert residency.resident_bytes == len(loader.open) * SIZE <= room * SIZE
    residency.close()
    assert loader.open == set()


def test_memory_of_the_real_thing(tmp_path: Path) -> None:
    """With onnxruntime: what residency says is resident is in the order of what the process holds."""
    from tests.backends.made import chain

    model = {"file": "m.onnx", "backends": ["onnxruntime"]}
    bundle = installed(tmp_path, {"m.onnx": chain(8, width=512)}, {"model": model})
    residency = Residency(Limits(), 0)
    with residency.use(bundle):
        (resident,) = residency.residents()
        assert 8 << 20 <= resident.resident_bytes < 100 << 20
        assert resident.load_ms > 0
    assert residency.clear() == 1
    residency.close()
