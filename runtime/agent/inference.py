"""Runs a model of a backend to its end, or until the gate closes."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.protocol import Model, StepResult


class GateClosed(Exception):
    """The gate closed while a decision was being made. Caught in `decide`; nothing was decided."""


def run_model(model: Model, feeds: dict[str, NDArray[Any]], gate: GateToken | None) -> list[NDArray[Any]]:
    """Returns the outputs in the model's order. Raises GateClosed; what was computed until then is dropped."""
    run = model.start(feeds)
    if run.step(gate) is StepResult.PREEMPTED:
        raise GateClosed
    outputs = run.outputs()
    return [outputs[spec.name] for spec in model.outputs]
