"""Decisions that meet at their models' runs: the same results as alone, one call for many, nobody hurt by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.protocol import Feeds, Run, StepResult
from runtime.residency.lent import LentModel
from runtime.residency.meeting import Failed, Meeting
from runtime.residency.pace import Pacer
from runtime.store.manifest import TensorSpec
from tests.backends.made import CountedGate


@dataclass
class Doubling:
    """A model that doubles x; a negative one it refuses in its run, alone and in company. `calls` are its steps."""

    calls: list[list[int]] = field(default_factory=list)
    breaks: bool = False  # whatever it is asked together raises
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", (1,), "int32"),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", (1,), "int32"),)
    resident_bytes: int = 1
    stop_bound_us: int = 1
    keeps_progress: bool = True
    most_together: int = 8

    def set_threads(self, threads: int) -> None: ...

    def close(self) -> None: ...

    def examples(self, count: int) -> list[Run]:
        return [self.start({"x": np.array([number], np.int32)}) for number in range(count)]

    def start(self, feeds: Feeds) -> Doubled:
        return Doubled(self, int(feeds["x"][0]))

    def step_together(self, runs: Sequence[Run], gate: GateToken | None) -> list[StepResult]:
        return self.work([run for run in runs if isinstance(run, Doubled)], gate)

    def work(self, runs: list[Doubled], gate: GateToken | None) -> list[StepResult]:
        self.calls.append([run.x for run in runs])
        if self.breaks and len(runs) > 1:
            raise MemoryError("too many")
        for run in runs:
            if run.x < 0:
                raise ArithmeticError(f"{run.x} is negative")
            run.is_done = run.is_done or gate is None or gate.is_open()
        return [StepResult.DONE if run.is_done else StepResult.PREEMPTED for run in runs]


@dataclass
class Doubled:
    model: Doubling
    x: int
    is_done: bool = False

    def step(self, gate: GateToken | None) -> StepResult:
        return self.model.work([self], gate)[0]

    def outputs(self) -> dict[str, NDArray[Any]]:
        assert self.is_done
        return {"y": np.array([2 * self.x], np.int32)}


def asked(lent: LentModel, x: int, gate: GateToken | None = None) -> int | None:
    """What an agent does: runs a model; None if the gate closed under it."""
    run = lent.start({"x": np.array([x], np.int32)})
    if run.step(gate) is StepResult.PREEMPTED:
        return None
    return int(run.outputs()["y"][0])


def met(model: Doubling, *decisions: Any, most: int = 8) -> list[Any]:
    """Holds a meeting of `decisions(lent)`, each with a lent model of its own, as sessions have."""
    meeting, pacer = Meeting(Pacer()), Pacer()
    held = []
    for decide in decisions:
        lent = LentModel(model)
        lent.most = most
        lent.bind(model, pacer, meeting)
        held.append(partial(decide, lent))
    return meeting.hold(held)


def test_what_is_asked_at_once_is_one_call_and_the_results_are_each_ones() -> None:
    model = Doubling()
    assert met(model, *(lambda lent, x=x: asked(lent, x) for x in range(5))) == [0, 2, 4, 6, 8]
    assert model.calls == [[0, 1, 2, 3, 4]]


def test_decisions_that_run_often_or_never_meet_whom_they_find() -> None:
    model = Doubling()

    def thrice(lent: LentModel) -> list[int | None]:
        return [asked(lent, x) for x in (1, 2, 3)]

    found = met(model, thrice, lambda lent: "nothing to run", lambda lent: asked(lent, 7), thrice)
    assert found == [[2, 4, 6], "nothing to run", 14, [2, 4, 6]]
    assert model.calls == [[1, 7, 1], [2, 2], [3, 3]]


def test_not_more_go_together_than_is_worth_it() -> None:
    model = Doubling()
    met(model, *(lambda lent, x=x: asked(lent, x) for x in range(5)), most=2)
    assert model.calls == [[0, 1], [2, 3], [4]]
    model = Doubling()
    met(model, *(lambda lent, x=x: asked(lent, x) for x in range(3)), most=1)
    assert model.calls == [[0], [1], [2]]


def test_models_are_not_mixed() -> None:
    one, other = Doubling(), Doubling()
    lents = [LentModel(one), LentModel(other), LentModel(one)]
    meeting = Meeting(Pacer())
    for lent, model in zip(lents, (one, other, one), strict=True):
        lent.most = 8
        lent.bind(model, Pacer(), meeting)
    assert meeting.hold([partial(asked, lent, number) for number, lent in enumerate(lents)]) == [0, 2, 4]
    assert (one.calls, other.calls) == ([[0, 2]], [[1]])


def test_one_that_fails_is_told_and_the_others_have_their_results() -> None:
    model = Doubling()
    found = met(model, *(lambda lent, x=x: asked(lent, x) for x in (1, -5, 3)))
    assert (found[0], found[2]) == (2, 6)
    assert isinstance(found[1], Failed)
    assert str(found[1].error) == "-5 is negative"


def test_an_agent_may_live_with_its_runs_error_and_go_on() -> None:
    def careful(lent: LentModel) -> int | None:
        try:
            return asked(lent, -1)
        except ArithmeticError:
            return asked(lent, 1)

    assert met(Doubling(), careful, careful) == [2, 2]


def test_what_cannot_be_done_together_is_done_alone() -> None:
    model = Doubling(breaks=True)
    assert met(model, *(lambda lent, x=x: asked(lent, x) for x in range(3))) == [0, 2, 4]
    assert model.calls == [[0, 1, 2], [0], [1], [2]]


@pytest.mark.parametrize("looks", range(6))
def test_a_gate_that_closes_stops_all_and_nothing_is_half_done(looks: int) -> None:
    token = CountedGate(looks)
    token.gate_epoch = 7  # type: ignore[attr-defined]
    found = met(Doubling(), *(lambda lent, x=x: asked(lent, x, token.as_token()) for x in range(3)))
    assert all(result in (None, 2 * x) for x, result in enumerate(found))
    assert looks or found == [None, None, None]


def test_runs_of_an_older_gate_do_not_go_with_those_of_this_one() -> None:
    tokens = []
    for epoch in (1, 2, 2):
        token = CountedGate(0 if epoch == 1 else None)
        token.gate_epoch = epoch  # type: ignore[attr-defined]
        tokens.append(token.as_token())
    model = Doubling()
    decisions = [lambda lent, x=x, token=token: asked(lent, x, token) for x, token in enumerate(tokens)]
    assert met(model, *decisions) == [None, 2, 4]
    assert [0, 1, 2] not in model.calls
