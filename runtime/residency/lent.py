"""A model as an agent holds it: always there to ask for, in memory only while a decision is being made.

agent ──start, step──► LentModel ──► the model that residency lent for this decision
                           └─ paces: a run pauses when the thread's share of the window is used up (pace.py)
"""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.protocol import Feeds, Model, Run, StepResult
from runtime.residency.pace import Pacer
from runtime.store.manifest import TensorSpec

GATE_LOOK_S = 0.002  # how often a paused run looks at the gate


class LentModel:
    """A runtime.backends.protocol.Model. Used by one thread at a time, between `bind` and `release`."""

    def __init__(self, model: Model) -> None:
        self.inputs: tuple[TensorSpec, ...] = model.inputs
        self.outputs: tuple[TensorSpec, ...] = model.outputs
        self.keeps_progress = model.keeps_progress
        self._bound: tuple[Model, Pacer] | None = None
        self.bytes_read = 0  # by the runs since it was bound: every run reads the weights once

    def bind(self, model: Model, pacer: Pacer) -> None:
        """From now on runs are `model`'s, at `pacer`'s pace."""
        self._bound, self.bytes_read = (model, pacer), 0

    def release(self) -> None:
        """The model behind may go."""
        self._bound = None

    @property
    def resident_bytes(self) -> int:
        return self._model[0].resident_bytes

    @property
    def stop_bound_us(self) -> int:
        return self._model[0].stop_bound_us

    def start(self, feeds: Feeds) -> Run:
        model, pacer = self._model
        self.bytes_read += model.resident_bytes
        return PacedRun(model.start(feeds), pacer, model.keeps_progress)

    def set_threads(self, threads: int) -> None:
        self._model[0].set_threads(threads)

    def close(self) -> None:
        """Nothing: the model is its residency's."""

    @property
    def _model(self) -> tuple[Model, Pacer]:
        if self._bound is None:
            raise ValueError("a lent model is used outside of a decision")
        return self._bound


class PacedRun:
    """A runtime.backends.protocol.Run that pauses by itself at the end of its share of a window."""

    def __init__(self, run: Run, pacer: Pacer, keeps_progress: bool) -> None:
        self._run, self._pacer, self._keeps_progress = run, pacer, keeps_progress

    def step(self, gate: GateToken | None) -> StepResult:
        """As the backend's step, but that it also waits. What cannot pause is run whole, and waits longer after."""
        if gate is None:
            return self._run.step(None)
        while True:
            while (wait_ns := self._pacer.wait_ns()) > 0:
                if not gate.is_open():
                    return StepResult.PREEMPTED
                began_ns = time.perf_counter_ns()
                time.sleep(min(GATE_LOOK_S, wait_ns / 1e9))
                self._pacer.paused_ns += time.perf_counter_ns() - began_ns
            paces = self._pacer.is_limited and self._keeps_progress
            token = gate.until(self._pacer.until_ns()) if paces else gate
            if self._run.step(token) is StepResult.DONE:
                return StepResult.DONE
            if not paces or not gate.is_open():
                return StepResult.PREEMPTED

    def outputs(self) -> dict[str, NDArray[Any]]:
        return self._run.outputs()
