"""An ONNX file as a model of the runtime's seam, without a bundle: for the recipe and its measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from models.onnx_session import session_of
from runtime.backends.protocol import Feeds, StepResult
from runtime.store.manifest import TensorSpec


class LocalModel:
    """See runtime.backends.protocol.Model. One thread."""

    def __init__(self, path: Path) -> None:
        self._session = session_of(path)
        self.inputs = tuple(_spec(one) for one in self._session.get_inputs())
        self.outputs = tuple(_spec(one) for one in self._session.get_outputs())
        self.resident_bytes = path.stat().st_size
        self.stop_bound_us = 0

    def start(self, feeds: Feeds) -> LocalRun:
        names = [spec.name for spec in self.outputs]
        return LocalRun(dict(zip(names, self._session.run(names, dict(feeds)), strict=True)))

    def close(self) -> None:
        """Nothing to give back: the session goes with the object."""


class LocalRun:
    """A run that is done."""

    def __init__(self, outputs: dict[str, NDArray[Any]]) -> None:
        self._outputs = outputs

    def step(self, gate: GateToken | None) -> StepResult:
        return StepResult.DONE

    def outputs(self) -> dict[str, NDArray[Any]]:
        return self._outputs


def _spec(value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return TensorSpec(value.name, shape, str(np.dtype(np.float32)))
