"""Runs a model of a backend to its end, or until the gate closes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.protocol import Model, StepResult

T = TypeVar("T")


class GateClosed(Exception):
    """The gate closed while a decision was being made. Caught in `decide`; nothing was decided."""


def while_open(gate: GateToken | None, items: Iterable[T]) -> Iterator[T]:
    """Yields `items` as long as the gate is open: for loops in Python, which look at it once a round."""
    for item in items:
        if gate is not None and not gate.is_open():
            raise GateClosed
        yield item


def run_model(model: Model, feeds: dict[str, NDArray[Any]], gate: GateToken | None) -> list[NDArray[Any]]:
    """Returns the outputs in the model's order. Raises GateClosed; what was computed until then is dropped."""
    run = model.start(feeds)
    if run.step(gate) is StepResult.PREEMPTED:
        raise GateClosed
    outputs = run.outputs()
    return [outputs[spec.name] for spec in model.outputs]
