"""Several decisions on one thread, which meet where they run a model: there their runs are made as one.

    decide A ──► run of m ─┐                          ┌─► A goes on ──► done
    decide B ──► run of m ─┼─► m.step_together(A, B) ─┼─► B goes on ──► run of n ──► …
    decide C ──► (no run)  │         D alone          └─► …
    decide D ──► run of n ─┘

Each decision is a coroutine of its own stack (greenlet), so agents need not know: they call `step` and have the result
when they go on. One is at work at a time, all on the lane's thread, to which models, pace and CPU time belong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from greenlet import getcurrent, greenlet

from kernels.gate.word import GateToken
from runtime.backends.protocol import Gathering, Model, Run, StepResult
from runtime.residency.pace import Pacer, paced


class Failed(NamedTuple):
    """A decision that raised; the others went on."""

    error: Exception


@dataclass(frozen=True)
class _Wanted:
    """One run that a decision waits for. `most` is how many of its model are worth making at once."""

    model: Model
    run: Run
    gate: GateToken | None
    most: int

    @property
    def company(self) -> tuple[int, int]:
        """Runs of one model go together if they began under the same gate; -1: under none."""
        return id(self.model), -1 if self.gate is None else self.gate.gate_epoch


class Meeting:
    """One batch of decisions; made anew for each."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._waiting: dict[greenlet, _Wanted] = {}
        self.together = 0  # runs that were made in company

    def hold(self, decisions: Sequence[Callable[[], Any]]) -> list[Any]:
        """Makes all decisions; returns each one's result, or Failed, in their order."""
        results: list[Any] = [None] * len(decisions)

        def member(number: int) -> None:
            try:
                results[number] = decisions[number]()
            except Exception as error:  # noqa: BLE001 - it is this one's caller's
                results[number] = Failed(error)

        hub = getcurrent()
        for number in range(len(decisions)):
            greenlet(member, parent=hub).switch(number)
        while self._waiting:
            groups: dict[tuple[int, int], list[greenlet]] = {}
            for one, wanted in self._waiting.items():
                groups.setdefault(wanted.company, []).append(one)
            for group in groups.values():
                most = max(1, self._waiting[group[0]].most)
                for at in range(0, len(group), most):
                    self._step(group[at : at + most])
        return results

    def step(self, model: Model, run: Run, gate: GateToken | None, most: int) -> StepResult:
        """Within a decision: waits until its run was stepped, alone or with others. Raises what the run raises."""
        me = getcurrent()
        self._waiting[me] = _Wanted(model, run, gate, most)
        result = me.parent.switch()
        assert isinstance(result, StepResult)
        return result

    def _step(self, group: list[greenlet]) -> None:
        """Steps the runs of a group, and lets each decision go on, up to its next run or its end."""
        wanted = [self._waiting.pop(one) for one in group]
        told: list[StepResult | Exception] = []
        if len(group) > 1:
            try:
                told = [*self._as_one(wanted)]
                self.together += len(group)
            except Exception:  # noqa: BLE001 - whose it is shows when each goes alone
                told = []
        if not told:
            told = [self._alone(one) for one in wanted]
        for one, result in zip(group, told, strict=True):
            if isinstance(result, Exception):
                one.throw(result)
            else:
                one.switch(result)

    def _as_one(self, wanted: list[_Wanted]) -> list[StepResult]:
        model, runs = wanted[0].model, [one.run for one in wanted]
        assert isinstance(model, Gathering)
        results: list[StepResult] = []

        def step(token: GateToken | None) -> StepResult:
            results[:] = model.step_together(runs, token)
            return StepResult.PREEMPTED if StepResult.PREEMPTED in results else StepResult.DONE

        paced(step, wanted[0].gate, self._pacer, keeps_progress=model.keeps_progress)
        return results or [StepResult.PREEMPTED] * len(runs)  # the gate closed before anything was begun

    def _alone(self, wanted: _Wanted) -> StepResult | Exception:
        try:
            return paced(wanted.run.step, wanted.gate, self._pacer, keeps_progress=wanted.model.keeps_progress)
        except Exception as error:  # noqa: BLE001 - raised where the decision waits for it
            return error
