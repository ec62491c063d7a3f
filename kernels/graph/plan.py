"""A plan: the ops of a model for given input shapes, with every tensor's place in one arena, as bytes that can be
stored."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from kernels.graph import _graph, planning
from kernels.graph.compile import compile_graph
from kernels.graph.emit import ALIGN, ARENA, LEAF, Blob, Emitter, Machine, Op, Ref
from kernels.graph.errors import MalformedModelError, UnsupportedModelError
from kernels.graph.onnx_reader import Graph
from kernels.graph.views import Buffer, Dims

FLOATS = frozenset({"in_scale", "out_scale", "epsilon"})  # parameters that hold the bits of a float32
MAX_ARENA = 1 << 31


class Port(msgspec.Struct, frozen=True, array_like=True):
    """An input or output of a plan; `dtype` is numpy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """What a run needs besides the packed weights. `labels` name the ops for profiles."""

    ops: bytes
    constants: bytes
    arena_bytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...]


@dataclass
class _Placed:
    buffer: Buffer
    first: int
    last: int


def plan_arena(ops: list[Op]) -> int:
    """Gives every arena buffer its offset and returns the arena's size. Buffers whose lives do not overlap share
    memory: the largest first, each at the lowest place that is free for its whole life."""
    life: dict[int, _Placed] = {}
    for index, op in enumerate(ops):
        for buffer in (*op.reads, *op.writes):
            if buffer.region == ARENA:
                life.setdefault(id(buffer), _Placed(buffer, index, index)).last = index
    placed: list[_Placed] = []
    top = 0
    for now in sorted(life.values(), key=lambda one: (-one.buffer.size, one.first)):
        planning.check()
        taken = sorted((p.buffer.offset, p.buffer.size) for p in placed if p.first <= now.last and now.first <= p.last)
        at = 0
        for start, size in taken:
            if at + now.buffer.size <= start:
                break
            at = max(at, -(-(start + size) // ALIGN) * ALIGN)
        now.buffer.offset = at
        top = max(top, at + now.buffer.size)
        placed.append(now)
    if top > MAX_ARENA:
        raise UnsupportedModelError(f"the model needs {top} bytes of working memory; at most {MAX_ARENA} are taken")
    return top


def encode(value: int | float | Ref, is_float: bool) -> int:
    if isinstance(value, Ref):
        at = value.buffer.offset + value.at
        assert value.buffer.offset >= 0, value.buffer
        assert 0 <= at < 1 << 56, at
        encoded = value.buffer.region << 56 | at
        return encoded - (1 << 64) if encoded >> 63 else encoded
    if is_float:
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    return int(value)


def encode_op(op: Op) -> bytes:
    names = _graph.PARAM_NAMES[op.kind]
    if set(names) != set(op.params):
        raise AssertionError(f"op {op.kind}: parameters {sorted(set(names) ^ set(op.params))} are missing or unknown")
    values = [encode(op.params[name], name in FLOATS) for name in names]
    return struct.pack(
        f"<{1 + _graph.PARAMS}q", _graph.KINDS.index(op.kind), *values, *([0] * (_graph.PARAMS - len(values)))
    )


def finish(emitter: Emitter) -> tuple[bytes, bytes, int]:
    """Returns (ops, constants, arena size) of the ops collected in `emitter`."""
    arena_bytes = plan_arena(emitter.ops)
    constants = bytearray(emitter.constants.data) + bytearray(ALIGN * 4)
    for op in emitter.ops:
        for index, ref in enumerate(op.leaves):
            assert op.leaf_table is not None
            struct.pack_into("<q", constants, op.leaf_table.offset + index * LEAF.size, encode(ref, False))
    encoded = []
    for op in emitter.ops:
        planning.check()
        encoded.append(encode_op(op))
    return b"".join(encoded), bytes(constants), arena_bytes


def make_plan(graph: Graph, shapes: Mapping[str, Dims], weights: Blob, variant: str) -> Plan:
    """Compiles `graph` for `shapes` and the instruction set `variant`; packed weights that are new go into `weights`.

    Raises MalformedModelError or UnsupportedModelError.
    """
    machine = next(Machine(v[3], v[4], v[2]) for v in _graph.variants() if v[0] == variant)
    try:
        compiler = compile_graph(graph, shapes, weights, machine)
    except RecursionError as error:
        raise UnsupportedModelError("an expression nested too deeply") from error
    except OverflowError as error:
        raise MalformedModelError(f"a number of the model is out of range: {error}") from error
    ops, constants, arena_bytes = finish(compiler.emitter)
    dtypes = {info.name: np.dtype(info.dtype).name for info in (*graph.inputs, *graph.outputs)}
    return Plan(
        ops,
        constants,
        arena_bytes,
        tuple(Port(name, view.dims, dtypes[name]) for name, view in compiler.inputs),
        tuple(Port(name, view.dims, dtypes[name]) for name, view in compiler.outputs),
        tuple(op.kind for op in compiler.emitter.ops),
    )
