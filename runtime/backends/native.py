"""The native backend: models on our own kernels, which look at the gate within a run and go on where they stood.

ONNX models run on the int8 graph engine (kernels/graph), GGUF language models on native_lm.py. A model with an operator
that the engine does not know is left to the next backend of its manifest.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kernels.gate.word import POLL_NS, GateToken
from kernels.graph.cache import Spec
from kernels.graph.errors import GraphError, UnsupportedModelError
from kernels.graph.model import GraphModel
from kernels.graph.model import Run as GraphRun
from kernels.graph.model import StepResult as GraphResult
from kernels.graph.planning import PlanningStopped, stoppable
from runtime.backends.feeds import check_feeds
from runtime.backends.language import SUFFIX
from runtime.backends.native_lm import load_language_model
from runtime.backends.protocol import (
    Feeds,
    Limits,
    Model,
    ModelRefused,
    ModelUnsupported,
    StepResult,
    check_memory,
    model_entry,
)
from runtime.store.bundle import Bundle
from runtime.store.manifest import TensorSpec


class NativeBackend:
    """See the module. `Limits.cache_folder` keeps packed weights and plans, which makes the next load quick."""

    name = "native"

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> Model:
        """Loads a model of the bundle. Raises ModelUnsupported, ModelRefused, BundleError."""
        entry = model_entry(bundle, role)
        if entry.file.endswith(SUFFIX):
            return load_language_model(bundle, limits, role)
        path = bundle.path(entry.file)
        check_memory(bundle, role, entry.memory_bytes, limits)
        where = f"bundle '{bundle.reference}', model '{role}'"
        is_encrypted = bundle.is_encrypted(entry.file)
        source = bundle.read(entry.file) if is_encrypted else path
        # What is packed of an encrypted model is as secret as it is: nothing of it is kept.
        cache = None if is_encrypted else limits.cache_folder
        try:
            sha256 = next(file.sha256 for file in bundle.manifest.files if file.path == entry.file)
            model = GraphModel.load(source, cache, name=where, sha256=sha256)
        except UnsupportedModelError as error:
            raise ModelUnsupported(error.message) from error
        except GraphError as error:
            raise ModelRefused(error.message, next_step=error.advice) from error
        known_bytes = max(entry.memory_bytes, path.stat().st_size)
        made = NativeModel(
            model, entry.inputs or _specs(model.inputs), entry.outputs or _specs(model.outputs), known_bytes
        )
        made.held_bytes = len(source) if isinstance(source, bytes) else 0
        check_memory(bundle, role, made.resident_bytes, limits)
        return made


class NativeModel:
    """A runtime.backends.protocol.Model of one graph."""

    def __init__(
        self, model: GraphModel, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], known_bytes: int
    ) -> None:
        self._model: GraphModel | None = model
        self.inputs, self.outputs = inputs, outputs
        self._known_bytes = known_bytes
        self.held_bytes = 0  # of the model's own file, where it is encrypted: new shapes are planned from it
        self.stop_bound_us = POLL_NS // 1000
        self.keeps_progress = True

    @property
    def resident_bytes(self) -> int:
        """The packed weights, or the file, or what the manifest says: whichever is most; and what was decrypted."""
        weights = 0 if self._model is None else len(self._model.weights_memory)
        return max(weights, self._known_bytes) + (0 if self._model is None else self.held_bytes)

    def set_threads(self, threads: int) -> None:
        if self._model is not None:
            self._model.threads = threads

    def start(self, feeds: Feeds) -> NativeRun:
        if self._model is None:
            raise ValueError("the model is closed")
        check_feeds(self.inputs, feeds)
        return NativeRun(self._model, feeds)

    def close(self) -> None:
        """Drops the weights and working memories; their mappings go back to the system as the last run lets go."""
        self._model = None


class NativeRun:
    """A runtime.backends.protocol.Run that pauses where it stands.

    The plan of new shapes is made by the first `step`, because it takes long enough for the gate to close.
    """

    def __init__(self, model: GraphModel, feeds: Feeds) -> None:
        self._model = model
        self._feeds = dict(feeds)
        self._run: GraphRun | None = None
        self._is_done = False

    def step(self, gate: GateToken | None) -> StepResult:
        """See the protocol. Raises ModelUnsupported for shapes that the engine cannot do."""
        if self._is_done:
            return StepResult.DONE
        if gate is not None and not gate.is_open():
            return StepResult.PREEMPTED
        if self._run is None:
            # Only the gate itself stops it, no window of the duty: begun anew in every window it would never end.
            whole = None if gate is None else gate.until(0)
            try:
                with stoppable(lambda: whole is not None and not whole.is_open()):
                    self._run = self._model.start(self._feeds)
            except PlanningStopped:
                return StepResult.PREEMPTED
            except UnsupportedModelError as error:  # a shape that only this feed brought up
                raise ModelUnsupported(error.message) from error
        self._is_done = self._run.step(0 if gate is None else gate.address) is GraphResult.DONE
        return StepResult.DONE if self._is_done else StepResult.PREEMPTED

    def outputs(self) -> dict[str, NDArray[Any]]:
        if self._run is None or not self._is_done:
            raise ValueError("outputs() of a run that is not done")
        return dict(self._run.outputs())


def _specs(found: tuple[Spec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            spec.name,
            tuple(f"{number}.{axis}" if size is None else size for axis, size in enumerate(spec.shape)),
            spec.dtype,
        )
        for number, spec in enumerate(found)
    )
