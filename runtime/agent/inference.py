"""Runs a model of a backend to its end, or until the gate closes: GateClosed is caught in `decide`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kernels.gate.word import GateClosed, GateToken
from runtime.backends.protocol import Model, StepResult


def run_model(model: Model, feeds: dict[str, NDArray[Any]], gate: GateToken | None) -> list[NDArray[Any]]:
    """Returns the outputs in the model's order. Raises GateClosed; what was computed until then is dropped."""
    run = model.start(feeds)
    if run.step(gate) is StepResult.PREEMPTED:
        raise GateClosed
    outputs = run.outputs()
    return [outputs[spec.name] for spec in model.outputs]
