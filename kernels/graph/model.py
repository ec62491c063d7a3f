"""The face of the int8 graph engine: load a quantised ONNX model, start a run, step it until it is done.

    model = GraphModel.load("rec.onnx", cache_dir=Path("~/.cache/idlehands/graphs").expanduser())
    run = model.start({"x": image})
    while run.step(token.address) is StepResult.PREEMPTED:
        ...  # the car is wanted: wait for the gate, then go on
    (text,) = run.outputs().values()

A run holds its own working memory, so that several may be paused at once; a finished one gives its memory to the next.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import mmap
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

try:
    from kernels.graph import _graph
except ImportError as error:
    from kernels.common.native import not_built

    raise not_built("kernels.graph._graph", error) from error

from kernels.graph.cache import PAGE_BYTES, Cache, Head, Spec, cache_key, huge_memory
from kernels.graph.compile import SUPPORTED
from kernels.graph.emit import TILE_SLACK, WEIGHTS, Blob
from kernels.graph.errors import FeedError, GraphError, UnsupportedModelError
from kernels.graph.onnx_reader import Graph, ValueInfo, read_onnx
from kernels.graph.plan import Plan, Port, make_plan
from kernels.graph.views import Buffer, Dims

Array: TypeAlias = npt.NDArray[np.generic]

CACHE_BYTES = 1 << 20  # working memory that stays in a core's second cache, whichever core that is
DONE_MEMORY = 2  # arenas of finished runs that are kept for the next ones


class StepResult(enum.Enum):
    """How a step ended."""

    DONE = "done"
    PREEMPTED = "preempted"


def supported_variants() -> tuple[str, ...]:
    """Returns the instruction-set variants that this CPU can run, best first."""
    return tuple(variant[0] for variant in _graph.variants() if variant[1])


class Run:
    """One pass through the model, from its inputs to its outputs; made by `GraphModel.start`.

    A batch of independent images is run in parts, one after the other and each through the plan of as many images as
    have their working memory in the second cache, which is worth more than longer inner loops; of large images each is
    a part.
    """

    def __init__(self, model: GraphModel, plan: Plan, feeds: tuple[Array, ...], arena: mmap.mmap, parts: int) -> None:
        self._model = model
        self._plan = plan
        shapes = [port.shape if parts == 1 else (parts * port.shape[0], *port.shape[1:]) for port in plan.outputs]
        self._outputs = tuple(np.empty(shape, port.dtype) for shape, port in zip(shapes, plan.outputs, strict=True))
        for array in self._outputs:  # as huge_memory: no page fault during a step
            _bytes(array)[::PAGE_BYTES] = 0
        arrays = (*feeds, *self._outputs)
        writable = (True, False, False, *(False for _ in feeds), *(True for _ in self._outputs))
        self._runners = []
        for part in range(parts):
            own = tuple(_bytes(_part(array, part, parts)) for array in arrays)
            regions = (arena, model.weights_memory, plan.constants, *own)
            self._runners.append(_graph.Runner(plan.ops, model.variant, regions, writable))
        self._part = 0
        self.threads = model.threads
        self._arena: mmap.mmap | None = arena

    def step(self, gate: int = 0, threads: int | None = None) -> StepResult:
        """Runs until done or until the gate closes; called again, goes on with the same bits.

        `gate` is the address of an `ih_gate` (kernels.gate.word.GateToken.address), 0 for none. `threads` (default: the
        run's `threads`, which begin as the model's) is how many may work, this one included; it may differ from step to
        step and is not seen in the result. The GIL is released.
        """
        most = self.threads if threads is None else threads
        while self._part < len(self._runners):
            if not self._runners[self._part].step(gate, most):
                return StepResult.PREEMPTED
            self._part += 1
        if self._arena is not None:
            self._model.give_back(self._plan, self._arena)
            self._arena = None
        return StepResult.DONE

    def __del__(self) -> None:
        """A run that is dropped half-way gives its memory to the next, too."""
        arena = getattr(self, "_arena", None)
        if arena is not None:
            self._runners.clear()
            self._model.give_back(self._plan, arena)

    def outputs(self) -> dict[str, Array]:
        """Returns the outputs by name. Raises ValueError before the run is done."""
        if self._part < len(self._runners):
            raise ValueError("the run is not done: call step() until it returns DONE")
        return {port.name: array for port, array in zip(self._plan.outputs, self._outputs, strict=False)}

    def run_op(self, index: int) -> None:
        """Runs one op of the plan again, whole, on what is in memory now: for profiles."""
        self._runners[0].run_op(index)

    @property
    def position(self) -> tuple[int, int, int]:
        """(op, unit, ops in all): where a paused run stands, over all its parts."""
        ops = len(self._plan.labels)
        op, unit = self._runners[self._part].position if self._part < len(self._runners) else (0, 0)
        return self._part * ops + op, unit, len(self._runners) * ops


class GraphModel:
    """A quantised ONNX model, ready for any input shapes that it allows. Not for use from two threads at once."""

    def __init__(
        self, read: Callable[[], bytes], name: str, cache: Cache, variant: str, independent_batch: bool
    ) -> None:
        self.name = name
        self.variant = variant
        self.threads = 1
        """Threads that a new run may use, the caller's included; what more than the CPUs is asked for gains nothing."""
        self._content = read
        self._independent_batch = independent_batch
        self._cache = cache
        self._graph: Graph | None = None
        self._plans: dict[tuple[tuple[str, Dims], ...], Plan] = {}
        self._idle: dict[int, list[mmap.mmap]] = {}
        self._weights = Blob(WEIGHTS)
        cached = cache.weights()
        if cached is not None:
            head, self.weights_memory = cached
            self.inputs, self.outputs = head.inputs, head.outputs
            self._generation = head.generation
            self._weights.start = head.weights_bytes
            self._weights.known = {key: Buffer(WEIGHTS, size, offset) for key, (offset, size) in head.packed.items()}
        else:
            graph = self._read()
            self.inputs, self.outputs = tuple(map(_spec, graph.inputs)), tuple(map(_spec, graph.outputs))
            self._generation = secrets.token_hex(8)
            self.weights_memory = huge_memory(TILE_SLACK)
            self._check_ops(graph)
        if all(None not in spec.shape for spec in self.inputs):
            self.prepare({spec.name: tuple(d or 0 for d in spec.shape) for spec in self.inputs})

    @classmethod
    def load(
        cls,
        source: str | Path | bytes,
        cache_dir: Path | None = None,
        variant: str | None = None,
        name: str | None = None,
        independent_batch: bool = False,
        sha256: str | None = None,
    ) -> GraphModel:
        """Returns the model in the file or bytes `source`.

        `sha256` is the hash of its bytes (hexadecimal) where that is known and was verified: what is cached is then
        loaded without reading them. `cache_dir` keeps packed weights and plans, by content, for the next load.
        `variant` forces an instruction set (see `supported_variants`). A model whose input shapes are fixed is compiled
        at once, another at the first `prepare` or `start` of each set of shapes. `independent_batch` promises that the
        first axis of every input and output counts images that do not look at each other, as in any ordinary network: a
        batch is then run in parts that fit the cache.

        Raises MalformedModelError, UnsupportedModelError (naming op, node and model), or GraphError for a file that
        cannot be read.
        """
        known = supported_variants()
        chosen = known[0] if variant is None else variant
        if chosen not in known:
            raise GraphError(f"variant {chosen!r} does not run here; this CPU has {', '.join(known)}")
        label = name or (f"{len(source)} bytes" if isinstance(source, bytes) else Path(source).name)
        try:
            read = functools.cache(lambda: source if isinstance(source, bytes) else Path(source).read_bytes())
            key = cache_key(sha256 or hashlib.sha256(read()).hexdigest(), chosen) if cache_dir else ""
            return cls(read, label, Cache(cache_dir, key), chosen, independent_batch)
        except OSError as error:
            raise GraphError(
                f"model {label!r} cannot be read: {error}", next_step="check the path and its permissions"
            ) from error
        except GraphError as error:
            raise type(error)(f"model {label!r}: {error.message}", next_step=error.advice) from error

    def prepare(self, shapes: Mapping[str, Dims]) -> Plan:
        """Returns the plan for these input shapes, compiled unless it is known. Raises as `load`, and FeedError."""
        key = tuple(sorted((name, tuple(dims)) for name, dims in shapes.items()))
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        self._check_shapes(shapes)
        plan = self._cache.plan(shapes, self._generation)
        if plan is None:
            before = self._weights.size
            try:
                plan = make_plan(self._read(), shapes, self._weights, self.variant)
            finally:  # also when planning was stopped: what it packed until then is known, so it must be there
                if self._weights.size != before:
                    self._grow()
            self._cache.keep_plan(shapes, plan, self._generation)
        self._plans[key] = plan
        return plan

    def start(self, feeds: Mapping[str, Array]) -> Run:
        """Returns a run on `feeds`: every input by name, of its type and shape. They must not change until the run is
        done.

        Raises FeedError, and what `prepare` raises for shapes that are new.
        """
        arrays = tuple(self._feed(spec, feeds) for spec in self.inputs)
        unknown = set(feeds) - {spec.name for spec in self.inputs}
        if unknown:
            raise FeedError(
                f"model {self.name!r} has no input {sorted(unknown)[0]!r}; its inputs are "
                f"{[s.name for s in self.inputs]}"
            )
        shapes = {spec.name: array.shape for spec, array in zip(self.inputs, arrays, strict=True)}
        batch = {shape[0] if shape else 1 for shape in shapes.values()}
        images = batch.pop() if self._independent_batch and len(batch) == 1 else 1
        if images > 1 and any(not spec.shape or spec.shape[0] is not None for spec in self.inputs):
            images = 1  # the model fixes its batch: it is one plan
        parts = 1
        if images > 1:
            one = self.prepare({name: (1, *shape[1:]) for name, shape in shapes.items()})
            parts = _parts(images, one.arena_bytes)
            shapes = {name: (images // parts, *shape[1:]) for name, shape in shapes.items()}
        plan = self.prepare(shapes)
        idle = self._idle.get(id(plan))
        arena = idle.pop() if idle else huge_memory(plan.arena_bytes)
        return Run(self, plan, arrays, arena, parts)

    def give_back(self, plan: Plan, arena: mmap.mmap) -> None:
        """Takes the working memory of a finished run, for the next of the same plan."""
        idle = self._idle.setdefault(id(plan), [])
        if len(idle) < DONE_MEMORY:
            idle.append(arena)

    def _read(self) -> Graph:
        if self._graph is None:
            self._graph = read_onnx(self._content())
        return self._graph

    def _check_ops(self, graph: Graph) -> None:
        for node in graph.nodes:
            if node.op not in SUPPORTED:
                raise UnsupportedModelError(
                    f"node {node.label!r}: the op {node.op} is not among those of the native engine"
                )

    def _grow(self) -> None:
        """Puts weights that were packed just now behind those in memory, and both on disk."""
        old = self._weights.start
        memory = huge_memory(self._weights.size + TILE_SLACK)
        memory[:old] = self.weights_memory[:old]
        memory[old : self._weights.size] = bytes(self._weights.data)
        self.weights_memory = memory
        self._weights.start = self._weights.size
        self._weights.data = bytearray()
        packed = {str(key): (buffer.offset, buffer.size) for key, buffer in self._weights.known.items()}
        self._cache.keep(
            Head(self._generation, self.inputs, self.outputs, self._weights.start, packed),
            memory[: self._weights.start],
        )

    def _check_shapes(self, shapes: Mapping[str, Dims]) -> None:
        for spec in self.inputs:
            dims = shapes.get(spec.name)
            if dims is None:
                raise FeedError(f"model {self.name!r}: no shape for input {spec.name!r}")
            if (
                len(dims) != len(spec.shape)
                or any(want not in (None, have) for have, want in zip(dims, spec.shape, strict=False))
                or 0 in dims
            ):
                wanted = ["any" if d is None else d for d in spec.shape]
                raise FeedError(f"model {self.name!r}: input {spec.name!r} has shape {list(dims)}, expected {wanted}")

    def _feed(self, spec: Spec, feeds: Mapping[str, Array]) -> Array:
        if spec.name not in feeds:
            raise FeedError(f"model {self.name!r}: input {spec.name!r} is missing")
        array = feeds[spec.name]
        if array.dtype != _dtype(spec.dtype):
            raise FeedError(f"model {self.name!r}: input {spec.name!r} is {array.dtype}, expected {spec.dtype}")
        return np.ascontiguousarray(array)


_dtype = functools.cache(np.dtype)


def _spec(info: ValueInfo) -> Spec:
    return Spec(info.name, np.dtype(info.dtype).name, info.shape)


def _parts(images: int, arena_bytes: int) -> int:
    """Returns into how many equal parts a batch is cut: one plan serves all, and its memory stays in the cache."""
    most = max(1, CACHE_BYTES // max(1, arena_bytes))
    return next(parts for parts in range(1, images + 1) if images % parts == 0 and images // parts <= most)


def _part(array: Array, part: int, parts: int) -> Array:
    """Returns the share of `array` that belongs to one part of a batch."""
    step = array.shape[0] // parts if parts > 1 else 0
    return array[part * step : (part + 1) * step] if parts > 1 else array


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


__all__ = ["GraphModel", "Plan", "Port", "Run", "Spec", "StepResult", "supported_variants"]
