"""A model as an agent holds it: always there to ask for, in memory only while a decision is being made.

agent ──start, step──► LentModel ──► the model that residency lent for this decision
                           ├─ paces: a run pauses when the thread's share of the window is used up (pace.py)
                           └─ in company: a run waits for those of the decisions made with this one (meeting.py)
"""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.protocol import Feeds, Gathering, Model, Run, StepResult
from runtime.residency.meeting import Meeting
from runtime.residency.pace import Pacer, paced
from runtime.store.manifest import TensorSpec


class LentModel:
    """A runtime.backends.protocol.Model. Used by one thread at a time, between `bind` and `release`."""

    def __init__(self, model: Model) -> None:
        self.inputs: tuple[TensorSpec, ...] = model.inputs
        self.outputs: tuple[TensorSpec, ...] = model.outputs
        self.keeps_progress = model.keeps_progress
        self.can_gather = isinstance(model, Gathering) and model.most_together > 1
        self.most = 1  # how many of its runs are worth making at once
        self._bound: tuple[Model, Pacer, Meeting | None] | None = None
        self.bytes_read = 0  # by the runs since it was bound: every run reads the weights once
        self.ran_ns = 0  # what they took, pauses left out

    def bind(self, model: Model, pacer: Pacer, meeting: Meeting | None = None) -> None:
        """From now on runs are `model`'s, at `pacer`'s pace, and with others of its `meeting`."""
        self._bound, self.bytes_read, self.ran_ns = (model, pacer, meeting), 0, 0

    def release(self) -> None:
        """The model behind may go."""
        self._bound = None

    @property
    def bound(self) -> Model:
        """The model behind. Raises ValueError outside of a decision."""
        return self._model[0]

    @property
    def resident_bytes(self) -> int:
        return self._model[0].resident_bytes

    @property
    def stop_bound_us(self) -> int:
        return self._model[0].stop_bound_us

    def start(self, feeds: Feeds) -> Run:
        model, _, _ = self._model
        self.bytes_read += model.resident_bytes
        return LentRun(self, model.start(feeds))

    def step(self, run: Run, gate: GateToken | None) -> StepResult:
        """Steps a run of the model behind at the decision's pace, in its company if it has any."""
        model, pacer, meeting = self._model
        if meeting is not None:
            return meeting.step(model, run, gate, self.most if self.can_gather else 1)
        began_ns, paused_ns = time.perf_counter_ns(), pacer.paused_ns
        try:
            return paced(run.step, gate, pacer, keeps_progress=self.keeps_progress)
        finally:
            self.ran_ns += time.perf_counter_ns() - began_ns - (pacer.paused_ns - paused_ns)

    def set_threads(self, threads: int) -> None:
        self._model[0].set_threads(threads)

    def close(self) -> None:
        """Nothing: the model is its residency's."""

    @property
    def _model(self) -> tuple[Model, Pacer, Meeting | None]:
        if self._bound is None:
            raise ValueError("a lent model is used outside of a decision")
        return self._bound


class LentRun:
    """A runtime.backends.protocol.Run of a lent model."""

    def __init__(self, lent: LentModel, run: Run) -> None:
        self._lent, self._run = lent, run

    def step(self, gate: GateToken | None) -> StepResult:
        """As the backend's step, but that it also waits: see LentModel.step."""
        return self._lent.step(self._run, gate)

    def outputs(self) -> dict[str, NDArray[Any]]:
        return self._run.outputs()
