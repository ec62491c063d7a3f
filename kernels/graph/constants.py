"""Evaluates the parts of a graph that depend on shapes only: they are numbers as soon as the input shapes are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.graph.errors import MalformedModelError, UnsupportedModelError
from kernels.graph.onnx_reader import DTYPES, MAX_ELEMENTS, Array, Node, check_dims


def integer(node: Node, name: str, default: int) -> int:
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise MalformedModelError(f"attribute {name!r} of node {node.label!r} ({node.op}) is not an integer")
    return value


def integers(node: Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    value = node.attributes.get(name, default)
    if not isinstance(value, tuple) or not all(isinstance(v, int) for v in value):
        raise MalformedModelError(
            f"attribute {name!r} of node {node.label!r} ({node.op}) is missing or not a list of integers"
        )
    return tuple(int(v) for v in value)


def axis_of(node: Node, axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise MalformedModelError(f"node {node.label!r} ({node.op}): axis {axis} of a tensor of {rank} dimensions")
    return axis % max(rank, 1)


def slices(
    node: Node, dims: tuple[int, ...], starts: Array, ends: Array, axes: Array | None, steps: Array | None
) -> list[slice]:
    """Returns one slice an axis, in range, as ONNX Slice means them; positive steps only."""
    found = [slice(0, dim, 1) for dim in dims]
    listed = np.arange(len(starts)) if axes is None else axes
    for i, axis in enumerate(int(a) for a in listed):
        axis = axis_of(node, axis, len(dims))
        step = 1 if steps is None else int(steps[i])
        if step < 1:
            raise UnsupportedModelError(f"node {node.label!r} (Slice) has step {step}; positive steps are taken")
        start, stop, _ = slice(int(starts[i]), int(ends[i]), step).indices(dims[axis])
        found[axis] = slice(start, max(start, stop), step)
    return found


def target_shape(node: Node, dims: tuple[int, ...], wanted: Array) -> tuple[int, ...]:
    """Returns the shape that ONNX Reshape means: 0 keeps (unless allowzero), -1 is what is left."""
    keep = not integer(node, "allowzero", 0)
    shape = [int(v) for v in wanted.reshape(-1)]
    if len(shape) > 8:
        raise UnsupportedModelError(f"node {node.label!r} (Reshape) to {len(shape)} dimensions")
    for i, size in enumerate(shape):
        if size == 0 and keep:
            if i >= len(dims):
                raise MalformedModelError(f"node {node.label!r} (Reshape) keeps dimension {i} of shape {list(dims)}")
            shape[i] = dims[i]
    total = int(np.prod([int(d) for d in dims], dtype=object)) if dims else 1
    known = int(np.prod([s for s in shape if s != -1], dtype=object)) if shape else 1
    if shape.count(-1) == 1 and known > 0 and total % known == 0:
        shape[shape.index(-1)] = total // known
        known = total
    if -1 in shape or min(shape, default=1) < 0 or known != total:
        raise MalformedModelError(
            f"node {node.label!r} (Reshape): {list(dims)} cannot become {[int(v) for v in wanted.reshape(-1)]}"
        )
    return tuple(shape)


def _cast(node: Node, args: list[Array | None]) -> Array:
    dtype = DTYPES.get(integer(node, "to", 1))
    if dtype is None:
        raise UnsupportedModelError(f"node {node.label!r} (Cast) to type {integer(node, 'to', 1)}")
    return _given(node, args, 0).astype(dtype)


def _given(node: Node, args: list[Array | None], index: int) -> Array:
    found = args[index] if index < len(args) else None
    if found is None:
        raise MalformedModelError(f"node {node.label!r} ({node.op}) lacks input {index}")
    return found


def _optional(args: list[Array | None], index: int) -> Array | None:
    return args[index] if index < len(args) else None


def axes_of(node: Node, args: list[Array | None], rank: int) -> tuple[int, ...] | None:
    """Returns the axes of Squeeze, Unsqueeze or a reduction: an input since opset 13, an attribute before."""
    given = _optional(args, 1)
    axes = tuple(int(v) for v in given.reshape(-1)) if given is not None else node.attributes.get("axes")
    if axes is None:
        return None
    if not isinstance(axes, tuple):
        raise MalformedModelError(f"node {node.label!r} ({node.op}): axes are not a list")
    return tuple(axis_of(node, int(a), rank) for a in axes)


def _unsqueeze(node: Node, args: list[Array | None]) -> Array:
    x = _given(node, args, 0)
    count = _given(node, args, 1).size if len(args) > 1 else len(integers(node, "axes"))
    axes = axes_of(node, args, x.ndim + count)
    return np.expand_dims(x, axes or ())


def _filled(node: Node, args: list[Array | None]) -> Array:
    shape = tuple(int(v) for v in _given(node, args, 0).reshape(-1))
    check_dims(shape, f"the result of node {node.label!r}")
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise MalformedModelError(f"node {node.label!r} (ConstantOfShape) without a single value")
    return np.full(shape, value.reshape(-1)[0])


def _range(node: Node, args: list[Array | None]) -> Array:
    start, limit, step = (_given(node, args, i).reshape(-1)[0] for i in range(3))
    if step == 0 or abs((limit - start) / step) > MAX_ELEMENTS // 256:
        raise MalformedModelError(f"node {node.label!r} (Range) from {start} to {limit} by {step}")
    return np.arange(start, limit, step)


def _slice(node: Node, args: list[Array | None]) -> Array:
    x = _given(node, args, 0)
    if len(args) > 1:
        parts = slices(
            node, x.shape, _given(node, args, 1), _given(node, args, 2), _optional(args, 3), _optional(args, 4)
        )
    else:
        axes = node.attributes.get("axes")
        parts = slices(node, x.shape, np.array(integers(node, "starts")), np.array(integers(node, "ends")),
                       np.array(integers(node, "axes")) if axes is not None else None, None)  # fmt: skip
    return x[tuple(parts)]


def _binary(operation: Callable[[Array, Array], Array]) -> Callable[[Node, list[Array | None]], Array]:
    return lambda node, args: operation(_given(node, args, 0), _given(node, args, 1))


def _divide(a: Array, b: Array) -> Array:
    if np.issubdtype(a.dtype, np.integer):
        if not np.all(b):
            raise MalformedModelError("an integer division by zero in a shape")
        return np.asarray(np.trunc(np.true_divide(a, b)).astype(a.dtype))
    return np.asarray(np.true_divide(a, b))


def _expand(node: Node, args: list[Array | None]) -> Array:
    x, shape = _given(node, args, 0), tuple(int(v) for v in _given(node, args, 1).reshape(-1))
    shape = tuple(np.broadcast_shapes(x.shape, shape))
    check_dims(shape, f"the result of node {node.label!r}")
    return np.broadcast_to(x, shape)


EVALUATED: dict[str, Callable[[Node, list[Array | None]], Array]] = {
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
    "Cast": _cast,
    "Concat": lambda node, args: np.concatenate([a for a in args if a is not None], axis=integer(node, "axis", 0)),
    "ConstantOfShape": _filled,
    "Equal": _binary(np.equal),
    "Expand": _expand,
    "Flatten": lambda node, args: _given(node, args, 0).reshape(
        int(np.prod(_given(node, args, 0).shape[: integer(node, "axis", 1)], dtype=np.int64)), -1
    ),
    "Floor": lambda node, args: np.floor(_given(node, args, 0)),
    "Gather": lambda node, args: np.take(
        _given(node, args, 0), _given(node, args, 1).astype(np.int64), axis=integer(node, "axis", 0)
    ),
    "Identity": lambda node, args: _given(node, args, 0),
    "Range": _range,
    "Reshape": lambda node, args: _given(node, args, 0).reshape(
        target_shape(node, _given(node, args, 0).shape, _given(node, args, 1))
    ),
    "Slice": _slice,
    "Squeeze": lambda node, args: np.squeeze(
        _given(node, args, 0), axis=axes_of(node, args, _given(node, args, 0).ndim)
    ),
    "Transpose": lambda node, args: _given(node, args, 0).transpose(
        integers(node, "perm", tuple(reversed(range(_given(node, args, 0).ndim))))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": lambda node, args: np.where(_given(node, args, 0), _given(node, args, 1), _given(node, args, 2)),
}


def evaluate_constant(node: Node, args: list[Array | None]) -> Array:
    """Returns the result of a node whose inputs are all constants."""
    try:
        made = np.asarray(EVALUATED[node.op](node, args))
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise MalformedModelError(f"node {node.label!r} ({node.op}) of constants: {error}") from error
    check_dims(made.shape, f"the result of node {node.label!r}")
    return made
