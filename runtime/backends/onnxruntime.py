"""ONNX models by onnxruntime on the CPU, as a guest behaves: few threads, none spinning, memory given back.

onnxruntime has no run that can be paused. A closing gate is therefore handled so:

    gate closes ──► the watch sets the run's `terminate` flag ──► onnxruntime leaves at its next node ──► PREEMPTED
                    (looks every 500 µs)                          (what was computed is dropped)

and the next step computes the run anew from its feeds, which gives the same bits. So the bound of stopping is the
watch's interval and the longest node; `stop_bound_us` publishes the longest whole run, which is no shorter.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.feeds import check_feeds
from runtime.backends.memory import rss_bytes, trim
from runtime.backends.protocol import Feeds, Limits, ModelRefused, StepResult, check_memory, model_entry
from runtime.store.bundle import Bundle
from runtime.store.manifest import TensorSpec

log = logging.getLogger("idlehands.onnxruntime")

WATCH_S = 0.0005
# On x86-64 without VNNI its products of u8 and s8 saturate at 16 bits and are wrong; so they are slower, and right.
PRECISE = ("session.x64quantprecision", "1")
# Below this a run is over before the watch would look a second time: it is not started for it.
SHORT_RUN_US = 1000
# Its exceptions have no base of their own.
_OWN_ERRORS = [
    kind
    for kind in vars(ort.capi.onnxruntime_pybind11_state).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
]
_ERRORS: tuple[type[Exception], ...] = (RuntimeError, ValueError, *_OWN_ERRORS)
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntimeBackend:
    """See the module."""

    name = "onnxruntime"

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> OnnxRuntimeModel:
        """Loads a model of the bundle. Raises ModelRefused, BundleError."""
        entry = model_entry(bundle, role)
        path = bundle.path(entry.file)
        check_memory(bundle, role, entry.memory_bytes, limits)
        before = rss_bytes()
        where = f"bundle '{bundle.reference}', model '{role}'"
        try:
            session = _session(bundle, entry.file, limits.threads)
            inputs, outputs = _specs(session.get_inputs()), _specs(session.get_outputs())
        except _ERRORS as error:
            said = str(error).splitlines()[0][:300]
            raise ModelRefused(f"{where}: onnxruntime does not take it: {said}", next_step="check the file") from error
        for said_specs, own in ((entry.inputs, inputs), (entry.outputs, outputs)):
            if said_specs and not _agree(said_specs, own):
                raise ModelRefused(
                    f"{where}: its file has {own}, its manifest says {said_specs}", next_step="pack it again"
                )
        # The manifest knows the names of dimensions that a file may leave nameless.
        reload = partial(_session, bundle, entry.file)
        model = OnnxRuntimeModel(session, entry.inputs or inputs, entry.outputs or outputs, limits.threads, reload)
        model.warm()
        model.resident_bytes = max(rss_bytes() - before, path.stat().st_size)
        if limits.memory_bytes and model.resident_bytes > limits.memory_bytes:
            model.close()
            check_memory(bundle, role, model.resident_bytes, limits)
        return model


class OnnxRuntimeModel:
    """A runtime.backends.protocol.Model of one session."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        threads: int,
        reload: Callable[[int], ort.InferenceSession],
    ) -> None:
        self._session: ort.InferenceSession | None = session
        self.inputs, self.outputs = inputs, outputs
        self.resident_bytes = 0
        self.stop_bound_us = 0
        self.keeps_progress = False
        self._threads, self._reload = threads, reload
        self._watch = Watch()

    def set_threads(self, threads: int) -> None:
        """Loads the session anew: its pool is made with it. Nothing if it has as many."""
        if self._session is not None and threads != self._threads:
            self._session = None
            self._session, self._threads = self._reload(threads), threads

    def start(self, feeds: Feeds) -> OnnxRuntimeRun:
        if self._session is None:
            raise ValueError("the model is closed")
        check_feeds(self.inputs, feeds)
        return OnnxRuntimeRun(self, dict(feeds))

    def close(self) -> None:
        """Ends the session, and has the allocator give back to the system what that freed."""
        if self._session is not None:
            self._session = None
            self._watch.close()
            gc.collect()
            trim()

    def warm(self) -> None:
        """Runs once on zeros where the shapes are known, twice: the first run allocates, the second is the bound's."""
        zeros = {}
        for spec in self.inputs:
            shape = [size for size in spec.shape if isinstance(size, int)]
            if len(shape) < len(spec.shape):
                return
            zeros[spec.name] = np.zeros(shape, spec.dtype)
        for _ in range(2):
            self.stop_bound_us = 0
            self.evaluate(zeros, None)

    def evaluate(self, feeds: dict[str, NDArray[Any]], gate: GateToken | None) -> list[NDArray[Any]] | None:
        """Returns the outputs in order, None if the gate closed meanwhile."""
        assert self._session is not None
        options = ort.RunOptions()
        is_watched = gate is not None and (self.stop_bound_us == 0 or self.stop_bound_us > SHORT_RUN_US)
        if gate is not None and is_watched:
            self._watch.begin(gate, options)
        began_ns = time.perf_counter_ns()
        try:
            found = self._session.run([spec.name for spec in self.outputs], feeds, options)
        except _ERRORS:
            if not options.terminate:
                raise
            return None
        finally:
            if is_watched:
                self._watch.end()
        self.stop_bound_us = max(self.stop_bound_us, (time.perf_counter_ns() - began_ns) // 1000)
        return list(found)


class OnnxRuntimeRun:
    """A runtime.backends.protocol.Run that is computed whole, or not at all."""

    def __init__(self, model: OnnxRuntimeModel, feeds: dict[str, NDArray[Any]]) -> None:
        self._model, self._feeds = model, feeds
        self._outputs: dict[str, NDArray[Any]] | None = None

    def step(self, gate: GateToken | None) -> StepResult:
        if self._outputs is not None:
            return StepResult.DONE
        if gate is not None and not gate.is_open():
            return StepResult.PREEMPTED
        found = self._model.evaluate(self._feeds, gate)
        if found is None:
            return StepResult.PREEMPTED
        self._outputs = {spec.name: array for spec, array in zip(self._model.outputs, found, strict=True)}
        return StepResult.DONE

    def outputs(self) -> dict[str, NDArray[Any]]:
        if self._outputs is None:
            raise ValueError("outputs() of a run that is not done")
        return self._outputs


class Watch:
    """A thread that looks at the gate while a run goes on, and sleeps in between runs. Started at its first use."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._watched: tuple[GateToken, ort.RunOptions] | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def begin(self, gate: GateToken, options: ort.RunOptions) -> None:
        """From now on sets `options.terminate` when `gate` is closed, until `end`."""
        with self._change:
            self._watched = (gate, options)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="gate-watch", daemon=True)
                self._thread.start()
            self._change.notify()

    def end(self) -> None:
        with self._change:
            self._watched = None

    def close(self) -> None:
        with self._change:
            self._is_closed = True
            self._watched = None
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while True:
            with self._change:
                while self._watched is None and not self._is_closed:
                    self._change.wait()
                if self._is_closed or self._watched is None:
                    return
                gate, options = self._watched
                if not gate.is_open():
                    options.terminate = True
                    self._watched = None
            time.sleep(WATCH_S)


def _session(bundle: Bundle, file: str, threads: int) -> ort.InferenceSession:
    source = bundle.read(file) if bundle.is_encrypted(file) else str(bundle.path(file))
    options = _options(threads)
    options.add_session_config_entry(*PRECISE)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except _ERRORS:  # without VNNI also on a weight that several products share
        session = ort.InferenceSession(source, _options(threads), providers=["CPUExecutionProvider"])
    log.warning("%s: integer products may saturate on this processor: onnxruntime cannot do them exactly", file)
    return session


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # Spinning pools burn the car's cores between runs, and slow down by an order of magnitude when cores are shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights outside of the arena: it is then no larger than the activations, and unloading returns both.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


def _specs(found: list[Any]) -> tuple[TensorSpec, ...]:
    specs = []
    for number, tensor in enumerate(found):
        if tensor.type not in _DTYPES:
            raise ValueError(f"tensor '{tensor.name}' is of type {tensor.type}")
        shape = tuple(
            size if isinstance(size, int) else size or f"{number}.{axis}" for axis, size in enumerate(tensor.shape)
        )
        specs.append(TensorSpec(tensor.name, shape, _DTYPES[tensor.type]))
    return tuple(specs)


def _agree(said: tuple[TensorSpec, ...], own: tuple[TensorSpec, ...]) -> bool:
    """Returns whether a manifest's tensors are the file's: names, dtypes, ranks, and sizes that both fix."""
    if [(spec.name, spec.dtype, len(spec.shape)) for spec in said] != [
        (spec.name, spec.dtype, len(spec.shape)) for spec in own
    ]:
        return False
    pairs = (pair for one, other in zip(said, own, strict=True) for pair in zip(one.shape, other.shape, strict=True))
    return all(one == other for one, other in pairs if isinstance(one, int) and isinstance(other, int))
