"""A closed gate stops a run at once; the run goes on with the same bits, however often it is stopped."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import numpy as np
import pytest

from kernels.gate import _gate
from kernels.graph.model import GraphModel, StepResult, supported_variants
from kernels.graph.planning import PlanningStopped, stoppable
from tests.kernels.graph.qdq import Builder


class Gate:
    """A gate word in memory that is open or closed, and the token that a run is given."""

    def __init__(self) -> None:
        self.word = _gate.Word(bytearray(64), writable=True)
        self.set(True)
        self.token = _gate.Token(self.word, 1)

    def set(self, is_open: bool) -> None:
        state = _gate.STATES["OPEN" if is_open else "CLOSED"]
        self.word.write(
            max_threads=1,
            state=state,
            duty_permille=1000,
            reasons=0,
            gate_epoch=1,
            lease_until_ns=_gate.boottime_ns() + _gate.LEASE_MAX_NS * 9 // 10,
            boot_id_hash=_gate.boot_id_hash(),
            power_budget_mW=0,
        )


def model(*, rows: int | str = 40) -> bytes:
    b = Builder(11)
    x = b.q(b.input("x", [1, 3, rows, 56]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 3, 32, pads=[1, 1, 1, 1]), 0.3, 0)
    y = b.q(b.conv(y, 0.3, 32, 32, (5, 5), group=32, pads=[2, 2, 2, 2]), 1.0, 128)
    s = b.op("GlobalAveragePool", y)
    y = b.q(b.op("Mul", y, b.op("Sigmoid", s)), 1.0, 128)
    b.output(b.q(b.conv(y, 1.0, 32, 48, pads=[1, 1, 1, 1]), 20.0, 128))
    return b.model()


@pytest.mark.parametrize("variant", supported_variants())
def test_a_run_stopped_at_every_poll_gives_the_same_bits(variant: str) -> None:
    graph = GraphModel.load(model(), variant=variant)
    feeds = {"x": np.random.default_rng(0).uniform(-5, 5, (1, 3, 40, 56)).astype(np.float32)}
    whole = graph.start(feeds)
    assert whole.step() is StepResult.DONE
    (wanted,) = whole.outputs().values()
    gate = Gate()
    run = graph.start(feeds)
    stops = 0
    gate.set(False)
    assert run.step(gate.token.address) is StepResult.PREEMPTED
    assert run.position[:2] == (0, 0)  # closed from the start: nothing was done
    stood = run.position
    while True:
        gate.set(True)
        # the token is asked once at the start, and then before every piece of work: let it pass once only
        result = step_once(run, gate)
        if result is StepResult.DONE:
            break
        stops += 1
        assert run.position >= stood, "a stopped run went back"
        stood = run.position
    if variant == "scalar":  # tens of milliseconds of work under leases of 60 us
        assert stops
    (again,) = run.outputs().values()
    np.testing.assert_array_equal(again, wanted)


def step_once(run: object, gate: Gate, threads: int = 1) -> StepResult:
    """Steps with a lease that runs out by itself a moment later, as when the bridge dies."""
    gate.word.write(
        max_threads=1,
        state=_gate.STATES["OPEN"],
        duty_permille=1000,
        reasons=0,
        gate_epoch=1,
        lease_until_ns=_gate.boottime_ns() + 60_000,
        boot_id_hash=_gate.boot_id_hash(),
        power_budget_mW=0,
    )
    return run.step(gate.token.address, threads)  # type: ignore[attr-defined, no-any-return]


def test_two_paused_runs_do_not_share_memory() -> None:
    graph = GraphModel.load(model())
    rng = np.random.default_rng(1)
    feeds = [{"x": rng.uniform(-5, 5, (1, 3, 40, 56)).astype(np.float32)} for _ in range(2)]
    wanted = []
    for one in feeds:
        run = graph.start(one)
        run.step()
        wanted.append(next(iter(run.outputs().values())).copy())
    gate = Gate()
    runs = [graph.start(one) for one in feeds]
    results = [StepResult.PREEMPTED] * 2
    while StepResult.PREEMPTED in results:
        results = [step_once(run, gate) for run in runs]
    for run, want in zip(runs, wanted, strict=True):
        np.testing.assert_array_equal(next(iter(run.outputs().values())), want)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_stopped_within_its_third_picture_goes_on_with_the_same_bits(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels.graph.model.CACHE_BYTES", 0)
    b = Builder(21)
    x = b.q(b.input("x", ["n", 3, 16, 20]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 3, 32, pads=[1, 1, 1, 1]), 0.3, 0)
    y = b.q(b.conv(y, 0.3, 32, 48, pads=[1, 1, 1, 1]), 20.0, 128)
    b.output(b.op("Softmax", b.op("Flatten", y, axis=1), axis=1), rank=2)
    pictures = np.random.default_rng(0).uniform(-5, 5, (8, 3, 16, 20)).astype(np.float32)
    whole = GraphModel.load(b.model(), variant="scalar").start({"x": pictures})
    assert whole.step() is StepResult.DONE
    run = GraphModel.load(b.model(), variant="scalar", independent_batch=True).start({"x": pictures})
    gate, stopped_in = Gate(), set[int]()
    while step_once(run, gate, threads) is StepResult.PREEMPTED:
        op, _, ops = run.position
        stopped_in.add(op * 8 // ops)
    assert stopped_in >= set(range(8)), "a picture takes milliseconds, a lease lasts 60 us"
    np.testing.assert_array_equal(*(next(iter(one.outputs().values())) for one in (run, whole)))


def test_outputs_before_the_end_are_refused() -> None:
    run = GraphModel.load(model()).start({"x": np.zeros((1, 3, 40, 56), np.float32)})
    with pytest.raises(ValueError, match="not done"):
        run.outputs()


def test_polls_are_close_together() -> None:
    """The work between two looks at the gate is estimated when the plan is made: no unit may exceed what is
    promised."""
    graph = GraphModel.load(model(), variant=supported_variants()[0])
    plan = graph.prepare({"x": (1, 3, 40, 56)})
    from kernels.graph import _graph

    size = 8 * (1 + _graph.PARAMS)
    unit_ns = [int.from_bytes(plan.ops[at + 16 : at + 24], "little") for at in range(0, len(plan.ops), size)]
    assert max(unit_ns) <= 50_000
    started = time.perf_counter()
    run = graph.start({"x": np.zeros((1, 3, 40, 56), np.float32)})
    run.step()
    assert time.perf_counter() - started < 60  # it ends


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_give_the_bits_of_one(threads: int) -> None:
    graph = GraphModel.load(model())
    feeds = {"x": np.random.default_rng(0).uniform(-5, 5, (1, 3, 40, 56)).astype(np.float32)}
    alone = graph.start(feeds)
    assert alone.step() is StepResult.DONE
    graph.threads = threads
    for _ in range(50):
        run = graph.start(feeds)
        assert run.threads == threads
        assert run.step() is StepResult.DONE
        for name, wanted in alone.outputs().items():
            np.testing.assert_array_equal(run.outputs()[name], wanted)


def test_a_stopped_run_goes_on_with_another_number_of_threads() -> None:
    graph = GraphModel.load(model(), variant="scalar")
    feeds = {"x": np.random.default_rng(0).uniform(-5, 5, (1, 3, 40, 56)).astype(np.float32)}
    alone = graph.start(feeds)
    assert alone.step() is StepResult.DONE
    run, gate, stops = graph.start(feeds), Gate(), 0
    while step_once(run, gate) is not StepResult.DONE:
        run.threads, stops = 1 + stops % 3, stops + 1
    assert stops
    for name, wanted in alone.outputs().items():
        np.testing.assert_array_equal(run.outputs()[name], wanted)


def _has_run_out(asked: Iterator[int]) -> bool:
    return next(asked, None) is None


def test_planning_that_was_stopped_leaves_the_model_whole() -> None:
    whole = GraphModel.load(model())
    feeds = {"x": np.random.default_rng(5).uniform(-4, 4, (1, 3, 40, 56)).astype(np.float32)}
    expected_run = whole.start(feeds)
    expected_run.step()
    expected = expected_run.outputs()
    stopped = GraphModel.load(model(rows="rows"))
    for most in range(1, 1000, 7):
        asked = iter(range(most))
        try:
            with stoppable(functools.partial(_has_run_out, asked)):
                run = stopped.start(feeds)
        except PlanningStopped:
            continue
        break
    else:
        pytest.fail("planning never came to its end")
    assert most > 2, "it was stopped at least once on the way"
    run.step()
    for name, value in run.outputs().items():
        np.testing.assert_array_equal(value, expected[name])
