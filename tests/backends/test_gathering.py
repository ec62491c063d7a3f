"""Runs that are stepped together: the bits of each alone, whoever was with it and however often the gate closed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.chains import WIDTH, int8_chain
from kernels.gate.word import GateReader, GateToken, boottime_ns
from kernels.lm.model import Runner
from runtime.backends.protocol import Gathering, Limits, Model, ModelRefused, Run, StepResult, load_model
from tests.backends.made import CountedGate, chain, entry, installed
from tests.daemon.car import HeldGate
from tests.kernels.lm.synthetic import synthetic_model

Feed = dict[str, NDArray[Any]]


def null(folder: Path) -> Model:
    options = {"null": {"latency_us": 20, "steps": 20, "together": 8}}
    return load_model(installed(folder, {"m.onnx": chain(2)}, {"model": entry("null", options=options)}), Limits())[1]


def graph(folder: Path) -> Model:
    options = {"native": {"independent": True}}
    models = {"model": entry("native", options=options)}
    return load_model(installed(folder, {"m.onnx": chain(8)}, models), Limits(cache_folder=folder))[1]


def writing(folder: Path, **options: int) -> Model:
    given = {"max_tokens": 9, "context": 64, **options}
    model = {"file": "model.gguf", "backends": ["native"], "options": {"native": given}}
    bundle = installed(folder, {"model.gguf": synthetic_model().raw}, {"model": model}, kind="causal_lm")
    return load_model(bundle, Limits(cache_folder=folder))[1]


def rows(number: int) -> Feed:
    """Of several sizes: one row, two, three."""
    return {"x": np.random.default_rng(number).standard_normal((1 + number % 3, 64), dtype=np.float32)}


def prompt(number: int) -> Feed:
    """Of several lengths."""
    return {"tokens": np.random.default_rng(number).integers(0, 50, 1 + 5 * number % 13).astype(np.int32)}


MODELS: dict[str, tuple[Callable[[Path], Model], Callable[[int], Feed]]] = {
    "null": (null, rows),
    "graph": (graph, rows),
    "language": (writing, prompt),
    "codes": (lambda folder: writing(folder, first_code=10, codes=20), prompt),
    "stops": (lambda folder: writing(folder, stop_token=7), prompt),
}


@pytest.fixture(params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Model, Callable[[int], Feed]]:
    make, feed = MODELS[request.param]
    return make(tmp_path), feed


def gathering(model: Model) -> Gathering:
    assert isinstance(model, Gathering)
    assert model.most_together > 1
    return model


def outputs(run: Run) -> bytes:
    return b"".join(array.tobytes() for array in run.outputs().values())


def alone(model: Model, feeds: Sequence[Feed]) -> list[bytes]:
    found = []
    for feed in feeds:
        run = model.start(feed)
        assert run.step(None) is StepResult.DONE
        found.append(outputs(run))
    return found


def test_the_bits_are_those_of_each_alone(made: tuple[Model, Callable[[int], Feed]]) -> None:
    model, feed = made
    feeds = [feed(number) for number in range(7)]
    expected = alone(model, feeds)
    assert len(set(expected)) > 1
    for count in (7, 2, 1):
        runs = [model.start(each) for each in feeds[:count]]
        assert gathering(model).step_together(runs, None) == [StepResult.DONE] * count
        assert [outputs(run) for run in runs] == expected[:count]
        assert gathering(model).step_together(runs, None) == [StepResult.DONE] * count, "what is done stays done"


def test_a_closed_gate_stops_all_before_they_begin(made: tuple[Model, Callable[[int], Feed]]) -> None:
    model, feed = made
    runs = [model.start(feed(number)) for number in range(3)]
    closed = CountedGate(0).as_token()
    assert gathering(model).step_together(runs, closed) == [StepResult.PREEMPTED] * 3
    for run in runs:
        with pytest.raises(ValueError, match="not done"):
            run.outputs()
    assert gathering(model).step_together(runs, None) == [StepResult.DONE] * 3
    assert [outputs(run) for run in runs] == alone(model, [feed(number) for number in range(3)])


def test_a_graph_is_cut_in_the_middle_and_its_company_changes(tmp_path: Path) -> None:
    """Windows from 20 µs on cut the kernels wherever they are; between them runs go on alone, or in other company."""
    model = int8_model(tmp_path)
    held = HeldGate(tmp_path / "gate")
    held.open()
    reader = GateReader(tmp_path / "gate")

    def token(dice: np.random.Generator, is_last: bool) -> GateToken:
        whole = reader.token(reader.read().gate_epoch)
        return whole if is_last else whole.until(boottime_ns() + int(dice.integers(20_000, 2_000_000)))

    try:
        interrupted(model, [wide(number) for number in range(5)], token)
    finally:
        held.end()


def test_a_token_is_cut_in_the_middle_and_the_company_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of the network stops after a drawn part of its work, as it does when a gate closes."""
    model = writing(tmp_path)
    feeds = [prompt(number) for number in range(5)]
    real, dice = Runner.run, np.random.default_rng(1)

    def cut(self: Runner, sessions: Sequence[Any], gate: Any = None, **given: Any) -> bool:
        return real(self, sessions, gate, chunk_budget=int(dice.integers(1, 30)))  # a token is 22

    def token(dice: np.random.Generator, is_last: bool) -> None:
        monkeypatch.setattr(Runner, "run", real if is_last else cut)

    interrupted(model, feeds, token)


def test_one_that_went_on_alone_comes_back_to_its_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = writing(tmp_path)
    feeds = [prompt(number) for number in range(2)]
    expected = alone(model, feeds)
    real = Runner.run

    def cut(self: Runner, sessions: Sequence[Any], gate: Any = None, **given: Any) -> bool:
        return real(self, sessions, gate, chunk_budget=5)

    runs = [model.start(each) for each in feeds]
    monkeypatch.setattr(Runner, "run", cut)
    assert gathering(model).step_together(runs, None) == [StepResult.PREEMPTED] * 2
    decoder = cast(Any, runs[0]).decoder
    while len(decoder.chosen) < 2:
        assert runs[0].step(None) is StepResult.PREEMPTED
    monkeypatch.setattr(Runner, "run", real)
    assert gathering(model).step_together(runs, None) == [StepResult.DONE] * 2
    assert [outputs(run) for run in runs] == expected


def interrupted(
    model: Model, feeds: list[Feed], token: Callable[[np.random.Generator, bool], GateToken | None]
) -> None:
    """Steps runs in drawn companies under the gates of `token` until all are done; each ends with the bits of alone."""
    expected = alone(model, feeds)
    for seed in range(12):
        dice = np.random.default_rng(seed)
        runs = [model.start(each) for each in feeds]
        for at in itertools.count():
            chosen = [int(number) for number in dice.permutation(len(runs))[: dice.integers(1, len(runs) + 1)]]
            gate, company = token(dice, at > 40), [runs[number] for number in chosen]
            told = [company[0].step(gate)] if len(company) == 1 else gathering(model).step_together(company, gate)
            for number, result in zip(chosen, told, strict=True):
                if result is StepResult.DONE:
                    assert outputs(runs[number]) == expected[number]
            if all(is_done(run) for run in runs):
                break


def is_done(run: Run) -> bool:
    return bool(cast(Any, run).is_done)


def int8_model(folder: Path) -> Model:
    options = {"native": {"independent": True}}
    models = {"model": {"file": "m.onnx", "backends": ["native"], "options": options}}
    return load_model(installed(folder, {"m.onnx": int8_chain(3, rows="n")}, models), Limits(cache_folder=folder))[1]


def wide(number: int) -> Feed:
    return {"x": np.random.default_rng(number).standard_normal((20 + number, WIDTH), dtype=np.float32)}


def test_a_run_that_was_dropped_leaves_the_others_theirs(made: tuple[Model, Callable[[int], Feed]]) -> None:
    model, feed = made
    feeds = [feed(number) for number in range(4)]
    expected = alone(model, feeds)
    runs: list[Run | None] = [model.start(each) for each in feeds]
    gathering(model).step_together([run for run in runs if run is not None], CountedGate(0).as_token())
    runs[1] = None
    left = [run for run in runs if run is not None]
    assert gathering(model).step_together(left, None) == [StepResult.DONE] * 3
    assert [outputs(run) for run in left] == [expected[0], *expected[2:]]


def test_examples_are_the_same_each_time_and_differ(made: tuple[Model, Callable[[int], Feed]]) -> None:
    model = gathering(made[0])
    found = []
    for _ in range(2):
        runs = model.examples(4)
        model.step_together(runs, None)
        found.append([outputs(run) for run in runs])
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


def test_a_graph_goes_together_only_if_its_bundle_says_so(tmp_path: Path) -> None:
    cases = [({}, "n", 1), ({"independent": False}, "n", 1), ({"independent": True}, 4, 1)]
    for number, (options, first, most) in enumerate(cases):
        models = {"model": {"file": "m.onnx", "backends": ["native"], "options": {"native": options}}}
        bundle = installed(tmp_path, {"m.onnx": chain(2, rows=first)}, models, name=f"net{number}")
        model = load_model(bundle, Limits())[1]
        assert isinstance(model, Gathering)
        assert model.most_together == most, (options, first)
    for number, bad in enumerate(({"independent": 1}, {"batch": "n"})):
        models = {"model": {"file": "m.onnx", "backends": ["native"], "options": {"native": bad}}}
        bundle = installed(tmp_path, {"m.onnx": chain(2)}, models, name=f"bad{number}")
        with pytest.raises(ModelRefused, match="independent = true or false"):
            load_model(bundle, Limits())
