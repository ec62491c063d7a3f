"""ONNX nodes that only move data: they become views of the same memory, or copies where no view can say it."""

from __future__ import annotations

import numpy as np

from kernels.graph import constants
from kernels.graph.compiler import Compiler, dims_of
from kernels.graph.constants import axis_of, integer, integers
from kernels.graph.errors import MalformedModelError, UnsupportedModelError
from kernels.graph.expressions import (
    Join,
    QuantisedConstant,
)
from kernels.graph.onnx_reader import Array, Node, check_dims
from kernels.graph.views import (
    Dims,
    View,
    broadcast,
    count,
    enlarge,
    reshape,
    slice_axis,
    transpose,
)


def on_transpose(c: Compiler, node: Node, args: list[object]) -> None:
    rank = len(dims_of(args[0]))
    perm = integers(node, "perm", tuple(reversed(range(rank))))
    if sorted(perm) != list(range(rank)):
        raise MalformedModelError(f"node {node.label!r} (Transpose): perm {perm} of {rank} dimensions")
    c.values[node.outputs[0]] = c.move(args[0], node, lambda view: transpose(view, perm))


def _reshape_to(c: Compiler, node: Node, value: object, dims: Dims) -> None:
    check_dims(dims, f"the result of node {node.label!r}")
    if isinstance(value, QuantisedConstant):
        value = value.floats
    c.values[node.outputs[0]] = (
        value.reshape(dims) if isinstance(value, np.ndarray) else c.move(value, node, lambda v: reshape(v, dims))
    )


def on_reshape(c: Compiler, node: Node, args: list[object]) -> None:
    if not isinstance(args[1], np.ndarray):
        raise UnsupportedModelError(f"node {node.label!r} (Reshape): its shape depends on the data")
    _reshape_to(c, node, args[0], constants.target_shape(node, dims_of(args[0]), args[1]))


def on_flatten(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    axis = integer(node, "axis", 1)
    axis = axis if axis == len(dims) else axis_of(node, axis, len(dims))
    _reshape_to(c, node, args[0], (count(dims[:axis]), count(dims[axis:])))


def constant_args(args: list[object]) -> list[Array | None]:
    return [None, *(arg if isinstance(arg, np.ndarray) else None for arg in args[1:])]


def on_squeeze(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    axes = constants.axes_of(node, constant_args(args), len(dims))
    axes = tuple(i for i, d in enumerate(dims) if d == 1) if axes is None else axes
    if any(dims[axis] != 1 for axis in axes):
        raise MalformedModelError(f"node {node.label!r} (Squeeze): axes {axes} of shape {list(dims)} are not all 1")
    _reshape_to(c, node, args[0], tuple(d for i, d in enumerate(dims) if i not in axes))


def on_unsqueeze(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    given = args[1] if len(args) > 1 else np.array(integers(node, "axes"))
    if not isinstance(given, np.ndarray) or given.size > 8:
        raise UnsupportedModelError(f"node {node.label!r} (Unsqueeze): its axes are not constants")
    rank = len(dims) + given.size
    axes = {axis_of(node, int(a), rank) for a in given.reshape(-1)}
    rest = iter(dims)
    try:
        wanted = tuple(1 if i in axes else next(rest) for i in range(rank))
    except StopIteration as error:
        raise MalformedModelError(
            f"node {node.label!r} (Unsqueeze): axes {sorted(axes)} for shape {list(dims)}"
        ) from error
    _reshape_to(c, node, args[0], wanted)


def on_slice(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    if len(args) > 1:
        rest = constant_args(args)
        if rest[1] is None or len(rest) < 3 or rest[2] is None:
            raise UnsupportedModelError(f"node {node.label!r} (Slice): its bounds depend on the data")
        starts, ends, axes, steps = rest[1], rest[2], *(rest[i] if len(rest) > i else None for i in (3, 4))
    else:
        starts, ends, steps = np.array(integers(node, "starts")), np.array(integers(node, "ends")), None
        axes = np.array(integers(node, "axes")) if "axes" in node.attributes else None
    if starts.size != ends.size or any(v is not None and v.size != starts.size for v in (axes, steps)):
        raise MalformedModelError(f"node {node.label!r} (Slice): its bounds are of different lengths")
    parts = constants.slices(node, dims, starts.reshape(-1), ends.reshape(-1), axes, steps)
    value: object = args[0]
    for axis, part in enumerate(parts):
        length = len(range(part.start, part.stop, part.step))
        if (part.start, length, part.step) != (0, dims[axis], 1):
            value = c.move(value, node, lambda v, a=axis, p=part, n=length: slice_axis(v, a, p.start, n, p.step))  # type: ignore[misc]
    c.values[node.outputs[0]] = value  # type: ignore[assignment]


def on_split(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    axis = axis_of(node, integer(node, "axis", 0), len(dims))
    given = args[1] if len(args) > 1 else np.array(integers(node, "split")) if "split" in node.attributes else None
    parts = len(node.outputs)
    step = -(-dims[axis] // parts)
    sizes = (
        [int(v) for v in given.reshape(-1)]
        if isinstance(given, np.ndarray)
        else [min(step, dims[axis] - i * step) for i in range(parts)]
    )
    if len(sizes) != parts or sum(sizes) != dims[axis] or min(sizes) < 0:
        raise MalformedModelError(f"node {node.label!r} (Split): {sizes} of {dims[axis]}")
    at = 0
    for name, size in zip(node.outputs, sizes, strict=False):
        c.values[name] = c.move(args[0], node, lambda v, a=at, n=size: slice_axis(v, axis, a, n, 1))  # type: ignore[misc]
        at += size


def on_gather(c: Compiler, node: Node, args: list[object]) -> None:
    dims, index = dims_of(args[0]), args[1]
    axis = axis_of(node, integer(node, "axis", 0), len(dims))
    if not isinstance(index, np.ndarray) or index.size != 1:
        raise UnsupportedModelError(f"node {node.label!r} (Gather): one constant index is taken")
    at = int(index.reshape(-1)[0])
    if not -dims[axis] <= at < dims[axis]:
        raise MalformedModelError(f"node {node.label!r} (Gather): index {at} of {dims[axis]}")
    picked = c.move(args[0], node, lambda v: slice_axis(v, axis, at % dims[axis], 1, 1))
    wanted = dims[:axis] + tuple(index.shape) + dims[axis + 1 :]
    c.values[node.outputs[0]] = c.move(picked, node, lambda v: reshape(v, wanted))


def on_concat(c: Compiler, node: Node, args: list[object]) -> None:
    axis = axis_of(node, integer(node, "axis", 0), len(dims_of(args[0])))
    parts = [c.expr(arg, node) for arg in args]
    dims = list(parts[0].dims)
    if any(
        len(p.dims) != len(dims) or p.dims[:axis] + p.dims[axis + 1 :] != tuple(dims[:axis] + dims[axis + 1 :])
        for p in parts
    ):
        raise MalformedModelError(
            f"node {node.label!r} (Concat) of shapes {[list(p.dims) for p in parts]} along axis {axis}"
        )
    dims[axis] = sum(part.dims[axis] for part in parts)
    check_dims(tuple(dims), f"the result of node {node.label!r}")
    c.values[node.outputs[0]] = Join(tuple(parts), axis, tuple(dims))


def on_expand(c: Compiler, node: Node, args: list[object]) -> None:
    if not isinstance(args[1], np.ndarray):
        raise UnsupportedModelError(f"node {node.label!r} (Expand): its shape depends on the data")
    dims = tuple(np.broadcast_shapes(dims_of(args[0]), tuple(int(v) for v in args[1].reshape(-1))))
    check_dims(dims, f"the result of node {node.label!r}")
    c.values[node.outputs[0]] = c.move(args[0], node, lambda view: broadcast(view, dims) if view.up == (1, 1) else None)


def on_resize(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    scales = (
        args[2]
        if len(args) > 2 and node.op == "Resize"
        else args[1]
        if node.op == "Upsample" and len(args) > 1
        else None
    )
    sizes = args[3] if len(args) > 3 else None
    if isinstance(sizes, np.ndarray) and sizes.size == 4:
        factors = [int(s) / d for s, d in zip(sizes.reshape(-1), dims, strict=False)]
    elif isinstance(scales, np.ndarray) and scales.size == 4:
        factors = [float(v) for v in scales.reshape(-1)]
    else:
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): its scales or sizes are not four constants")
    nearest = node.attributes.get("mode", b"nearest") == b"nearest"
    where = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    rounding = node.attributes.get("nearest_mode", b"round_prefer_floor")
    # for whole factors these all pick pixel floor(i / factor)
    same = (where, rounding) in ((b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor"), (b"half_pixel",
                                 b"round_prefer_ceil"),
                                 (b"pytorch_half_pixel", b"round_prefer_floor")) or node.op == "Upsample"  # fmt: skip
    whole = (
        len(dims) == 4 and factors[:2] == [1.0, 1.0] and all(f >= 1 and f == int(f) and f <= 64 for f in factors[2:])
    )
    if not (nearest and same and whole):
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): nearest neighbour by whole factors is taken, got "
            f"{node.attributes} {factors}"
        )
    fy, fx = int(factors[2]), int(factors[3])
    check_dims((dims[0], dims[1], dims[2] * fy, dims[3] * fx), f"the result of node {node.label!r}")
    c.values[node.outputs[0]] = args[0] if (fy, fx) == (1, 1) else c.move(args[0], node, lambda v: enlarge(v, fy, fx))  # type: ignore[assignment]


def on_cast(c: Compiler, node: Node, args: list[object]) -> None:
    if integer(node, "to", 1) != 1 or isinstance(args[0], View):
        raise UnsupportedModelError(
            f"node {node.label!r} (Cast) to type {integer(node, 'to', 1)}: float to float32 is taken"
        )
    c.values[node.outputs[0]] = c.expr(args[0], node)
