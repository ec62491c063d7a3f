"""The backends `tensorrt` and `tensorrt_rtx`: a model as an engine on the GPU, its runs queued and watched.

    feeds ─► pinned ─upload─► device ─engine─► device ─download─► pinned ─► outputs    one stream; after the first run
                                                                                       of a shape one graph launch
    step(gate) queues that once, then looks every 50 µs whether it is done and whether the gate is open.

A GPU cannot be stopped inside of what is queued: a step that is preempted returns at once, the device is idle within
one enqueue, and the next step finds the result. `stop_bound_us` is the longest enqueue that was seen. Ending the worker
ends it at once, and gives all of the device's memory back.

    [models.model.options.tensorrt]          # or tensorrt_rtx
    precision = "int8"                       # int8, fp16 or fp32 (precision.py)
    priority = "low"                         # of its stream: "low" lets the car's own work on the GPU go first, "high"
    graphs = true                            # whether runs are captured
    width = "32:320:1600"                    # an open dimension by its name: smallest, usual, largest
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.backends.cuda.device import Buffer, CudaError, Device, Graph, Stream, open_device
from runtime.backends.feeds import check_feeds
from runtime.backends.protocol import (
    Feeds,
    Limits,
    ModelRefused,
    ModelUnsupported,
    StepResult,
    check_memory,
    model_entry,
)
from runtime.backends.tensorrt.engines import EngineCache, EngineSpec, Ranges, build
from runtime.backends.tensorrt.library import Context, Library, load_library, make_logger
from runtime.store.bundle import Bundle
from runtime.store.manifest import Scalar, TensorSpec

LOOK_S = 0.00005
SHAPES_KEPT = 4  # sets of buffers and graphs, by shape; the longest unused goes
_OPTIONS: dict[str, Scalar] = {"precision": "int8", "priority": "low", "graphs": True}
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Options:
    """A model's options, read and checked."""

    precision: str
    is_high_priority: bool
    uses_graphs: bool
    ranges: Ranges


class TensorRTBackend:
    """See the module. `library` and `device` are for tests."""

    def __init__(
        self,
        name: str = "tensorrt",
        *,
        library: Callable[[str], Library] = load_library,
        device: Callable[[], Device] = open_device,
    ) -> None:
        self.name, self._library, self._device = name, library, device

    def load(self, bundle: Bundle, limits: Limits, role: str = "model") -> TensorRTModel:
        """Loads a model, its engine built if none is kept. Raises BackendMissing, ModelRefused, BundleError."""
        entry = model_entry(bundle, role)
        where = f"bundle '{bundle.reference}', model '{role}'"
        if bundle.is_encrypted(entry.file):
            raise ModelUnsupported(f"{where} is encrypted, and an engine would keep its weights in plain on the disk")
        library = self._library(self.name)
        device = self._device()
        options = read_options(entry.options.get(self.name, {}), self.name, where)
        path = bundle.path(entry.file)
        check_memory(bundle, role, max(entry.memory_bytes, path.stat().st_size), limits)
        sha256 = next(file.sha256 for file in bundle.manifest.files if file.path == entry.file)
        spec = EngineSpec(sha256, options.precision, options.ranges)
        free_bytes = device.memory()[0]
        loader = _Loader(library, device, EngineCache(limits.cache_folder), self.name, where, limits.memory_bytes)
        engine = loader.engine(spec, path.read_bytes)
        model = TensorRTModel(library, device, engine, options, entry.inputs, entry.outputs, loader.keep_learnt)
        model.weights_bytes = max(free_bytes - device.memory()[0], path.stat().st_size)
        if limits.memory_bytes and model.resident_bytes > limits.memory_bytes:
            model.close()
            check_memory(bundle, role, model.resident_bytes, limits)
        return model


class TensorRTRtxBackend(TensorRTBackend):
    """TensorRT for RTX."""

    def __init__(self) -> None:
        super().__init__("tensorrt_rtx")


def read_options(given: dict[str, Scalar], backend: str, where: str) -> Options:
    """Returns the options of a description. Raises ModelRefused: which one is wrong, and what it may be."""
    from runtime.backends.tensorrt.precision import PRECISIONS

    options = {**_OPTIONS, **given}
    ranges: dict[str, tuple[int, int, int]] = {}
    for name in sorted(set(options) - set(_OPTIONS)):
        parts = str(options[name]).split(":")
        sizes = [int(part) for part in parts if part.isascii() and part.isdigit() and 0 < int(part) < 2**31]
        if len(parts) != 3 or len(sizes) != 3 or sorted(sizes) != sizes:
            raise _wrong(where, backend, name, options[name], '"smallest:usual:largest" for a dimension of that name')
        ranges[name] = (sizes[0], sizes[1], sizes[2])
    if options["precision"] not in PRECISIONS:
        raise _wrong(where, backend, "precision", options["precision"], " or ".join(PRECISIONS))
    if options["priority"] not in ("low", "high"):
        raise _wrong(where, backend, "priority", options["priority"], "low or high")
    if not isinstance(options["graphs"], bool):
        raise _wrong(where, backend, "graphs", options["graphs"], "true or false")
    return Options(str(options["precision"]), options["priority"] == "high", options["graphs"], ranges)


def _wrong(where: str, backend: str, name: str, got: Scalar, expected: str) -> ModelRefused:
    return ModelRefused(
        f"{where}: options.{backend}.{name} is {got!r}, expected {expected}",
        next_step="correct the bundle's description and pack it again",
    )


@dataclass
class _Loader:
    """Brings an engine: from the cache, or built and kept."""

    library: Library
    device: Device
    cache: EngineCache
    name: str
    where: str
    workspace_bytes: int
    _runtimes: list[Any] = field(default_factory=list)

    def engine(self, spec: EngineSpec, read: Callable[[], bytes]) -> Any:
        version = self.library.__version__
        key = spec.key(self.name, version, self.device.identity)
        plan = self.cache.plan(key)
        if plan is not None:
            engine = self._deserialised(plan)
            if engine is not None:
                return engine
            self.cache.drop_plan(key)
        from runtime.backends.tensorrt.precision import prepare

        times = self.cache.times(self.name, version, self.device.identity)
        prepared = prepare(read(), spec.precision, self.where)
        plan, learnt = build(
            self.library, prepared, spec, times, workspace_bytes=self.workspace_bytes, where=self.where
        )
        engine = self._deserialised(plan)
        if engine is None:
            raise ModelRefused(f"{self.where}: the engine that was built does not load", next_step="see the log")
        self.cache.keep_plan(key, plan)
        if learnt and learnt != times:
            self.cache.keep_times(self.name, version, self.device.identity, learnt)
        return engine

    def learnt(self) -> bytes:
        """Returns what RTX learnt of this device before."""
        return self.cache.times(self.name, self.library.__version__, self.device.identity)

    def keep_learnt(self, learnt: bytes | None = None) -> bytes:
        """Keeps what RTX learnt, or returns what it had learnt before."""
        if learnt is None:
            return self.learnt()
        if learnt != self.learnt():
            self.cache.keep_times(self.name, self.library.__version__, self.device.identity, learnt)
        return learnt

    def _deserialised(self, plan: bytes) -> Any:
        runtime = self.library.Runtime(make_logger(self.library))
        self._runtimes.append(runtime)  # an engine needs its runtime for as long as it lives
        return runtime.deserialize_cuda_engine(plan)


@dataclass(eq=False)
class _Shape:
    """One set of input shapes: its context, buffers and graph. `stage` is 0 before the first run."""

    context: Context
    device_side: dict[str, Buffer]
    pinned: dict[str, NDArray[np.uint8]]
    shapes: dict[str, tuple[int, ...]]
    graph: Graph | None = None
    runs: int = 0


class TensorRTModel:
    """A runtime.backends.protocol.Model on the GPU. Runs are one after the other: the device is one."""

    def __init__(
        self,
        library: Library,
        device: Device,
        engine: Any,
        options: Options,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        learnt: Callable[..., bytes],
    ) -> None:
        self._device, self._engine, self._options, self._learnt = device, engine, options, learnt
        own_inputs, own_outputs = _specs(library, engine)
        self.inputs, self.outputs = inputs or own_inputs, outputs or own_outputs
        self._stream: Stream | None = device.stream(high_priority=options.is_high_priority)
        self._shapes: dict[tuple[tuple[str, tuple[int, ...]], ...], _Shape] = {}
        self._runtime_cache: Any = None
        self.weights_bytes = 0
        self.stop_bound_us = 0
        self.keeps_progress = True
        self.busy: TensorRTRun | None = None

    @property
    def resident_bytes(self) -> int:
        """Weights, as the device's free memory showed them, and buffers."""
        shapes = self._shapes.values()
        return self.weights_bytes + sum(buffer.nbytes for shape in shapes for buffer in shape.device_side.values())

    def set_threads(self, threads: int) -> None:
        """Nothing: it computes on the device."""

    def start(self, feeds: Feeds) -> TensorRTRun:
        if self._stream is None:
            raise ValueError("the model is closed")
        check_feeds(self.inputs, feeds)
        return TensorRTRun(self, {name: np.ascontiguousarray(array) for name, array in feeds.items()})

    def close(self) -> None:
        """Waits for what is queued, then gives all memory of the device back."""
        if self._stream is None:
            return
        self._device.use()
        self._stream.wait()
        if self._runtime_cache is not None:
            self._learnt(bytes(self._runtime_cache.serialize()))
        for shape in list(self._shapes):
            self._drop(shape)
        self._stream.close()
        self._stream = self._engine = self._runtime_cache = None

    def enqueue(self, run: TensorRTRun) -> _Shape:
        """Queues a run: copies, engine, copies back. From its third run on a shape is one graph."""
        assert self._stream is not None
        self._device.use()
        shape = self._shape({name: array.shape for name, array in run.feeds.items()})
        for name, array in run.feeds.items():
            shape.pinned[name][:] = array.reshape(-1).view(np.uint8)
        if shape.graph is None and shape.runs == 1 and self._options.uses_graphs:
            try:
                shape.graph = self._stream.capture(lambda: self._queue(shape))
            except CudaError:  # an engine with a part that cannot be captured is run without
                shape.runs += 1
        if shape.graph is not None:
            self._stream.replay(shape.graph)
        else:
            self._queue(shape)
        shape.runs += 1
        return shape

    def is_done(self) -> bool:
        assert self._stream is not None
        return self._stream.is_done()

    def wait(self) -> None:
        if self._stream is not None:
            self._stream.wait()

    def _queue(self, shape: _Shape) -> None:
        assert self._stream is not None
        for spec in self.inputs:
            self._stream.upload(shape.device_side[spec.name], shape.pinned[spec.name])
        if not shape.context.execute_async_v3(self._stream.handle):
            raise CudaError("TensorRT did not queue the engine; its log says why")
        for spec in self.outputs:
            self._stream.download(shape.pinned[spec.name], shape.device_side[spec.name])

    def _shape(self, sizes: dict[str, tuple[int, ...]]) -> _Shape:
        key = tuple(sorted(sizes.items()))
        found = self._shapes.pop(key, None)
        if found is None:
            if len(self._shapes) >= SHAPES_KEPT:
                self._drop(next(iter(self._shapes)))
            found = self._made(sizes)
        self._shapes[key] = found  # the latest used is last
        return found

    def _made(self, sizes: dict[str, tuple[int, ...]]) -> _Shape:
        context = self._new_context()
        for name, size in sizes.items():
            if not context.set_input_shape(name, size):
                raise ModelRefused(f"input '{name}' of shape {size} is outside of what the engine was built for")
        shape = _Shape(context, {}, {}, {})
        for spec in (*self.inputs, *self.outputs):
            dims = tuple(int(size) for size in context.get_tensor_shape(spec.name))
            nbytes = int(np.prod(dims)) * np.dtype(spec.dtype).itemsize
            shape.shapes[spec.name] = dims
            shape.device_side[spec.name] = self._device.alloc(nbytes)
            shape.pinned[spec.name] = self._device.pinned(nbytes)
            context.set_tensor_address(spec.name, shape.device_side[spec.name].address)
        return shape

    def _new_context(self) -> Context:
        """RTX takes kernels that an earlier process made from its runtime cache."""
        create = getattr(self._engine, "create_runtime_config", None)
        if create is None or not hasattr(config := create(), "create_runtime_cache"):
            context = self._engine.create_execution_context()
        else:
            if self._runtime_cache is None:
                self._runtime_cache = config.create_runtime_cache()
                if before := self._learnt():
                    self._runtime_cache.deserialize(before)
            config.set_runtime_cache(self._runtime_cache)
            context = self._engine.create_execution_context(config)
        if context is None:
            raise ModelRefused("the device has no room for the engine's working memory")
        made: Context = context
        return made

    def _drop(self, key: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
        shape = self._shapes.pop(key)
        shape.graph = None
        for buffer in shape.device_side.values():
            self._device.free(buffer)
        for array in shape.pinned.values():
            self._device.unpin(array)


class TensorRTRun:
    """A runtime.backends.protocol.Run: queued by its first step, watched by each."""

    def __init__(self, model: TensorRTModel, feeds: dict[str, NDArray[Any]]) -> None:
        self._model, self.feeds = model, feeds
        self._shape: _Shape | None = None
        self._began_ns = 0
        self._was_left = False  # preempted: what passed since is not the device's time
        self._outputs: dict[str, NDArray[Any]] | None = None

    def step(self, gate: GateToken | None) -> StepResult:
        while self._outputs is None:
            if gate is not None and not gate.is_open():
                self._was_left = self._shape is not None
                return StepResult.PREEMPTED
            if self._shape is None:
                self._begin()
            elif self._model.is_done():
                self.finish()
            elif gate is None:
                self._model.wait()
            else:
                time.sleep(LOOK_S)
        return StepResult.DONE

    def outputs(self) -> dict[str, NDArray[Any]]:
        if self._outputs is None:
            raise ValueError("outputs() of a run that is not done")
        return self._outputs

    def finish(self) -> None:
        """Takes the results out of the buffers, which are the next run's."""
        assert self._shape is not None
        if not self._was_left:
            spent_us = (time.perf_counter_ns() - self._began_ns) // 1000
            self._model.stop_bound_us = max(self._model.stop_bound_us, spent_us)
        self._outputs = {
            spec.name: self._shape.pinned[spec.name].copy().view(spec.dtype).reshape(self._shape.shapes[spec.name])
            for spec in self._model.outputs
        }
        self._model.busy = self._shape = None

    def _begin(self) -> None:
        """The buffers may still be another run's, that was preempted: its results are taken out first."""
        before = self._model.busy
        if before is not None:
            self._model.wait()
            before.finish()
        self._was_left = False
        self._began_ns = time.perf_counter_ns()
        self._shape = self._model.enqueue(self)
        self._model.busy = self

    def __del__(self) -> None:
        if self._model.busy is self:  # dropped half-way: nobody asks for its results
            self._model.wait()
            self._model.busy = None


def _specs(library: Library, engine: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    found: dict[bool, list[TensorSpec]] = {True: [], False: []}
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        dtype = _DTYPES.get(engine.get_tensor_dtype(name).name, "")
        if not dtype:
            raise ModelRefused(f"tensor '{name}' is of type {engine.get_tensor_dtype(name).name}", next_step="")
        shape = tuple(
            f"{number}.{axis}" if int(size) < 0 else int(size)
            for axis, size in enumerate(engine.get_tensor_shape(name))
        )
        found[engine.get_tensor_mode(name) == library.TensorIOMode.INPUT].append(TensorSpec(name, shape, dtype))
    return tuple(found[True]), tuple(found[False])
