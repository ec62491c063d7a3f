"""Float expressions between two quantised tensors, kept unevaluated until it is known how they end.

    Leaf     a tensor in memory: u8 (dequantised when read) or f32
    Literal  a constant array
    Call     an element-wise op of the machine in ewise_body.h
    Acc      the float value of an int8 convolution or product that has not been emitted yet
    Join     a concatenation that has not been carried out
    Moved    an expression seen through a transposition, slice, enlargement... that has not been applied

ONNX ops that the machine does not have are written in terms of those that it has, here, with the same float32 steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.graph.errors import UnsupportedModelError
from kernels.graph.onnx_reader import Array, Node
from kernels.graph.views import Dims, Quant, View, row_major

F32: TypeAlias = npt.NDArray[np.float32]


@dataclass(eq=False)
class Leaf:
    view: View

    @property
    def dims(self) -> Dims:
        return self.view.dims


@dataclass(eq=False)
class Literal:
    value: F32

    @property
    def dims(self) -> Dims:
        return self.value.shape


@dataclass(eq=False)
class Call:
    op: str
    args: tuple[Expr, ...]
    dims: Dims
    stored: View | None = None  # where it has been stored as f32 already


@dataclass(eq=False)
class Acc:
    """An int8 product not yet emitted. `emit(out, float_bias, table)` writes it to a u8 or f32 view; `float_bias` (n)
    is added
    to a float result, `table` (256 bytes) maps a u8 one."""

    dims: Dims
    emit: Callable[[View, F32 | None, bytes | None], None]
    is_image: bool  # N, C, H, W, written as NHWC; else rows (..., n)
    channel_axis: int | None  # None: no float bias
    stored: View | None = None

    def takes(self, out: View) -> bool:
        """Whether the product can be written to `out`: its channels must be contiguous, rows evenly spaced."""
        if self.is_image:
            return out.strides[1] == 1 or out.dims[1] == 1
        return all(s == p or d == 1 for s, p, d in zip(out.strides, row_major(out.dims), out.dims, strict=False))

    def as_channels(self, value: F32) -> F32 | None:
        """Returns `value`, added to the product, as one number a channel, or None if it is not that."""
        if self.channel_axis is None:
            return None
        axis = self.channel_axis % len(self.dims)
        shape = (1,) * (len(self.dims) - value.ndim) + value.shape
        if len(shape) != len(self.dims) or any(s != 1 for i, s in enumerate(shape) if i != axis):
            return None
        return np.broadcast_to(value.reshape(-1), (self.dims[axis],)).astype(np.float32)


@dataclass(eq=False)
class Join:
    args: tuple[Expr, ...]
    axis: int
    dims: Dims


@dataclass(eq=False)
class Moved:
    """An expression seen through a change of view that has not been applied: quantisation may be done before it."""

    arg: Expr
    change: Callable[[View], View | None]
    dims: Dims


Expr: TypeAlias = "Leaf | Literal | Call | Acc | Join | Moved"


@dataclass
class QuantisedConstant:
    """An initializer behind a DequantizeLinear: weights or bias of an int8 op. `scale` and `zero` are per `axis`, or
    scalar."""

    values: Array
    scale: F32
    zero: npt.NDArray[np.int32]
    axis: int
    key: str
    _float: F32 | None = field(default=None, repr=False)

    @property
    def floats(self) -> F32:
        if self._float is None:
            shape = [1] * self.values.ndim
            if self.scale.size > 1:
                shape[self.axis] = self.scale.size
            centred = self.values.astype(np.int32) - self.zero.reshape(
                shape if self.zero.size > 1 else (1,) * self.values.ndim
            )
            self._float = centred.astype(np.float32) * self.scale.reshape(
                shape if self.scale.size > 1 else (1,) * self.values.ndim
            )
        return self._float


def literal(value: float) -> Literal:
    return Literal(np.array(value, np.float32))


def call(op: str, *args: Expr) -> Expr:
    """Returns `op(args)` with numpy's broadcasting; constants are folded where the fold is exact."""
    try:
        dims = tuple(np.broadcast_shapes(*(arg.dims for arg in args)))
    except ValueError as error:
        raise UnsupportedModelError(f"{op}: shapes {[list(a.dims) for a in args]} do not broadcast") from error
    if op in FOLDABLE and all(isinstance(arg, Literal) for arg in args):
        with np.errstate(all="ignore"):
            return Literal(np.asarray(FOLDABLE[op](*(a.value for a in args if isinstance(a, Literal))), np.float32))
    return Call(op, args, dims)


FOLDABLE: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Min": np.minimum,
    "Max": np.maximum,
    "Square": np.square,
}


def number(node: Node, name: str, default: float) -> float:
    value = node.attributes.get(name, default)
    if not isinstance(value, (int, float)):
        raise UnsupportedModelError(f"attribute {name!r} of node {node.label!r} ({node.op}) is not a number")
    return float(value)


def _clip(node: Node, args: list[Expr | None]) -> Expr:
    x = args[0]
    assert x is not None
    low = args[1] if len(args) > 1 else None
    high = args[2] if len(args) > 2 else None
    if "min" in node.attributes:
        low = literal(number(node, "min", 0))
    if "max" in node.attributes:
        high = literal(number(node, "max", 0))
    if low is not None:
        x = call("Max", x, low)
    if high is not None:
        x = call("Min", x, high)
    return x


def _hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return call("Max", literal(0), call("Min", literal(1), call("Add", call("Mul", literal(alpha), x), literal(beta))))


def _gelu(node: Node, x: Expr) -> Expr:
    half = call("Mul", x, literal(0.5))
    if node.attributes.get("approximate", b"none") == b"tanh":
        cubed = call("Mul", call("Mul", call("Square", x), x), literal(0.044715))
        inner = call("Mul", call("Add", x, cubed), literal(math.sqrt(2 / math.pi)))
        return call("Mul", half, call("Add", call("Tanh", inner), literal(1)))
    return call("Mul", half, call("Add", call("Erf", call("Mul", x, literal(math.sqrt(0.5)))), literal(1)))


def _power(node: Node, x: Expr, exponent: Expr) -> Expr:
    known: dict[float, Callable[[], Expr]] = {
        1.0: lambda: x,
        2.0: lambda: call("Square", x),
        0.5: lambda: call("Sqrt", x),
        3.0: lambda: call("Mul", call("Square", x), x),
        -1.0: lambda: call("Div", literal(1), x),
        -0.5: lambda: call("Div", literal(1), call("Sqrt", x)),
    }
    if isinstance(exponent, Literal) and exponent.value.size == 1 and float(exponent.value.reshape(())) in known:
        return known[float(exponent.value.reshape(()))]()
    raise UnsupportedModelError(f"node {node.label!r} (Pow): the exponent must be one of {sorted(known)}")


def _unary(name: str) -> Callable[[Node, list[Expr]], Expr]:
    return lambda node, args: call(name, args[0])


def _binary(name: str) -> Callable[[Node, list[Expr]], Expr]:
    def build(node: Node, args: list[Expr]) -> Expr:
        made = args[0]
        for arg in args[1:]:
            made = call(name, made, arg)
        return made

    return build


def _leaky(node: Node, args: list[Expr]) -> Expr:
    x, alpha = args[0], literal(number(node, "alpha", 0.01))
    return call("Add", call("Max", x, literal(0)), call("Mul", alpha, call("Min", x, literal(0))))


def _prelu(node: Node, args: list[Expr]) -> Expr:
    return call("Add", call("Max", args[0], literal(0)), call("Mul", args[1], call("Min", args[0], literal(0))))


def _batch_norm(node: Node, args: list[Expr]) -> Expr:
    x, rest = args[0], args[1:5]
    shape = (1, -1) + (1,) * (len(x.dims) - 2)
    vectors = [arg.value.reshape(shape) for arg in rest if isinstance(arg, Literal)]
    if len(vectors) != 4:
        raise UnsupportedModelError(f"node {node.label!r} (BatchNormalization): its parameters are not constants")
    scale, bias, mean, variance = vectors
    factor = scale / np.sqrt(variance + np.float32(number(node, "epsilon", 1e-5)))
    return call("Add", call("Mul", x, Literal(factor)), Literal(bias - mean * factor))


# ONNX op -> expression. An optional input that is left out comes as None only to Clip.
ELEMENTWISE: dict[str, Callable[[Node, list[Expr]], Expr]] = {
    "Add": _binary("Add"),
    "Sub": _binary("Sub"),
    "Mul": _binary("Mul"),
    "Div": _binary("Div"),
    "Min": _binary("Min"),
    "Max": _binary("Max"),
    "Sum": _binary("Add"),
    "Neg": _unary("Neg"),
    "Abs": _unary("Abs"),
    "Sqrt": _unary("Sqrt"),
    "Exp": _unary("Exp"),
    "Erf": _unary("Erf"),
    "Tanh": _unary("Tanh"),
    "Sigmoid": _unary("Sigmoid"),
    "Identity": lambda node, args: args[0],
    "Dropout": lambda node, args: args[0],
    "Reciprocal": lambda node, args: call("Div", literal(1), args[0]),
    "Relu": lambda node, args: call("Max", args[0], literal(0)),
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "HardSigmoid": lambda node, args: _hard_sigmoid(args[0], number(node, "alpha", 0.2), number(node, "beta", 0.5)),
    "HardSwish": lambda node, args: call("Mul", args[0], _hard_sigmoid(args[0], 1 / 6, 0.5)),
    "Gelu": lambda node, args: _gelu(node, args[0]),
    "Pow": lambda node, args: _power(node, args[0], args[1]),
    "BatchNormalization": _batch_norm,
}


def elementwise(node: Node, args: list[Expr | None]) -> Expr:
    """Returns the expression of an element-wise ONNX node."""
    if node.op == "Clip":
        return _clip(node, args)
    if any(arg is None for arg in args):
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}) leaves an input out")
    return ELEMENTWISE[node.op](node, [arg for arg in args if arg is not None])


def leaves(expr: Expr) -> list[Expr]:
    """Returns the Leaf, Acc, Join and Moved nodes below `expr`, each once, in the order they are met."""
    found: list[Expr] = []
    seen: set[int] = set()
    todo = [expr]
    while todo:
        now = todo.pop()
        if id(now) in seen:
            continue
        seen.add(id(now))
        if isinstance(now, Call) and now.stored is None:
            todo.extend(reversed(now.args))
        elif not isinstance(now, Literal):
            found.append(now)
    return found


def is_scalar_chain(expr: Expr) -> bool:
    """Whether all constants below `expr` are single numbers, so that it means the same for every element."""
    seen: set[int] = set()
    todo = [expr]
    while todo:
        now = todo.pop()
        if id(now) in seen:
            continue
        seen.add(id(now))
        if isinstance(now, Call) and now.stored is None:
            todo.extend(now.args)
        elif isinstance(now, Literal) and now.value.size != 1:
            return False
    return True


def rebuild(expr: Expr, swap: dict[int, Expr], dims: Dims, memo: dict[int, Expr] | None = None) -> Expr:
    """Returns `expr` with the leaves in `swap` (by id) replaced; calls get the shapes of their new arguments."""
    memo = {} if memo is None else memo
    if id(expr) in swap:
        return swap[id(expr)]
    if id(expr) in memo:
        return memo[id(expr)]
    made = expr
    if isinstance(expr, Call) and expr.stored is None:
        made = call(expr.op, *(rebuild(arg, swap, dims, memo) for arg in expr.args))
    memo[id(expr)] = made
    return made


def monotone_in(expr: Expr, acc: Expr) -> bool:
    """Whether `expr` is `acc` under Max and Min with constants: quantisation, which is monotone too, may go first."""
    while expr is not acc:
        if not (isinstance(expr, Call) and expr.op in ("Max", "Min") and expr.stored is None):
            return False
        inner = [arg for arg in expr.args if not isinstance(arg, Literal)]
        if len(inner) != 1 or any(isinstance(arg, Literal) and arg.value.size != 1 for arg in expr.args):
            return False
        expr = inner[0]
    return True


def quantise(values: Array, quant: Quant) -> npt.NDArray[np.uint8]:
    """Returns float32 `values` as u8, rounded to even and saturated, as QuantizeLinear does."""
    scaled = np.clip(values.astype(np.float32) / np.float32(quant.scale), -quant.zero, 255 - quant.zero)
    return np.asarray(np.rint(scaled) + quant.zero, np.uint8)
