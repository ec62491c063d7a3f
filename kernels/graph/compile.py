"""Compiles an ONNX graph for given input shapes: quantise-dequantise patterns become a flat list of fused int8 ops.

    QuantizeLinear(expression of one tensor)      a table of 256 bytes, at the end of the op that makes the tensor if it can be
    QuantizeLinear(expression of several)         one pass of the element-wise machine
    Conv, MatMul, Gemm, ConvTranspose on DequantizeLinear    an int8 product that ends in requantisation (or in float)
    Transpose, Slice, Reshape, nearest Resize...  a different view of the same memory, or a copy
    Shape and what is computed from it            numbers

Nodes are visited once, in order. Float values stay expressions (expressions.py) until something needs them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kernels.graph import constants
from kernels.graph.constants import axis_of, evaluate_constant, integer, integers
from kernels.graph.emit import CALLER, Blob, Emitter, reference, single_operand, table_of
from kernels.graph.errors import GraphError, MalformedModelError, UnsupportedModelError
from kernels.graph.expressions import (
    ELEMENTWISE,
    F32,
    Acc,
    Call,
    Expr,
    Join,
    Leaf,
    Literal,
    Moved,
    QuantisedConstant,
    call,
    elementwise,
    is_scalar_chain,
    leaves,
    monotone_in,
    number,
    quantise,
    rebuild,
)
from kernels.graph.onnx_reader import Array, Graph, Node, check_dims
from kernels.graph.products import (
    NO_HALO,
    Window,
    conv,
    conv_f32,
    depthwise,
    image,
    moving_product,
    product,
    product_f32,
    rows_of,
)
from kernels.graph.views import (
    Buffer,
    Dims,
    Quant,
    View,
    broadcast,
    count,
    enlarge,
    memory_order,
    reshape,
    row_major,
    slice_axis,
    transpose,
)

Halo = tuple[int, int, int, int]
POOL_MEAN, POOL_MAX = range(2)
SOFTMAX, LAYER_NORM, ROW_MEAN, ROW_SUM, ROW_MAX = range(5)
DTYPE_NAMES = {"float32": "f32", "uint8": "u8", "int8": "u8"}


@dataclass(frozen=True)
class Pending:
    """A quantised product that waits for the table which is all that reads it: acc, requantised by `quant`, through `table`."""

    acc: Acc
    quant: Quant
    table: bytes | None


class Compiler:
    """One compilation. `weights` is shared by the plans of a model: packed weights go in once."""

    def __init__(
        self, graph: Graph, shapes: Mapping[str, Dims], weights: Blob, macs_per_ns: float, flipped: bool
    ) -> None:
        self.graph = graph
        self.emitter = Emitter(weights, macs_per_ns)
        self.flipped = flipped
        self.values: dict[str, Expr | View | Array | QuantisedConstant] = dict(graph.initializers)
        self.halos = wanted_halos(graph)
        self.inputs: list[tuple[str, View]] = []
        self.outputs: list[tuple[str, View]] = []
        self.sole = sole_readers(graph)
        self.pending: dict[int, Pending] = {}  # by id of the buffer that stands for the result
        for index, info in enumerate(graph.inputs):
            self._input(index, info.name, np.dtype(info.dtype).name, shapes[info.name])

    def _input(self, index: int, name: str, dtype: str, dims: Dims) -> None:
        if dtype not in DTYPE_NAMES:
            raise UnsupportedModelError(f"input {name!r} is {dtype}; float32, uint8 and int8 are taken")
        check_dims(dims, f"input {name!r}")
        kind = DTYPE_NAMES[dtype]
        view = View(Buffer(CALLER + index, count(dims) * (4 if kind == "f32" else 1), 0), dims, row_major(dims), kind)
        self.inputs.append((name, view))
        if dtype == "int8":
            moved = self.emitter.new(dims, "u8")
            self.emitter.copy(view, moved, bytes((v + 128) & 255 for v in range(256)))
            view = moved
        self.values[name] = Leaf(view) if kind == "f32" else view

    def run(self) -> Emitter:
        for node in self.graph.nodes:
            try:
                self._node(node)
            except GraphError as error:
                if node.label in error.message:
                    raise
                raise type(error)(f"node {node.label!r} ({node.op}): {error.message}") from error
            except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
                # the one net under all handlers: an altered model may be wrong in ways that no check above foresaw
                raise MalformedModelError(f"node {node.label!r} ({node.op}) is not well-formed: {error}") from error
        for index, info in enumerate(self.graph.outputs):
            self._output(CALLER + len(self.graph.inputs) + index, info.name, np.dtype(info.dtype).name)
        return self.emitter

    def _node(self, node: Node) -> None:
        if node.domain not in ("", "ai.onnx") and node.op not in ("QuantizeLinear", "DequantizeLinear", "Gelu"):
            raise UnsupportedModelError(
                f"node {node.label!r}: the op {node.domain}.{node.op} is of another domain than ONNX's own"
            )
        args = [self.values[name] if name else None for name in node.inputs]
        needed = REQUIRED.get(node.op, 1)
        if len(args) < needed or any(arg is None for arg in args[:needed]) or not any(node.outputs):
            raise MalformedModelError(f"node {node.label!r}: the op {node.op} needs {needed} inputs and an output")
        if node.op == "Constant":
            self.values[node.outputs[0]] = constant_value(node)
            return
        if node.op == "Shape":
            dims = dims_of(args[0])
            first, last = integer(node, "start", 0), integer(node, "end", len(dims))
            self.values[node.outputs[0]] = np.array(dims[first:last], np.int64)
            return
        given = [arg for arg in args if isinstance(arg, np.ndarray)]
        if given and len(given) == len([a for a in args if a is not None]) and node.op in constants.EVALUATED:
            self.values[node.outputs[0]] = evaluate_constant(
                node, [a if isinstance(a, np.ndarray) else None for a in args]
            )
            return
        handler = HANDLERS.get(node.op)
        if handler is not None:
            handler(self, node, args)
        elif node.op in ELEMENTWISE or node.op == "Clip":
            self.values[node.outputs[0]] = elementwise(node, [None if a is None else self.expr(a, node) for a in args])
        else:
            raise UnsupportedModelError(
                f"node {node.label!r}: the op {node.op} is not among those of the native engine"
            )

    # values

    def expr(self, value: object, node: Node) -> Expr:
        """Returns `value` as a float expression."""
        if isinstance(value, np.ndarray):
            if value.dtype not in (np.float32, np.float16, np.float64):
                raise UnsupportedModelError(
                    f"node {node.label!r} ({node.op}) computes with {value.dtype}; float32 is taken"
                )
            return Literal(value.astype(np.float32))
        if isinstance(value, QuantisedConstant):
            return Literal(value.floats)
        if isinstance(value, (Leaf, Literal, Call, Acc, Join, Moved)):
            return value
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}) computes with integers")

    def floats(self, expr: Expr) -> View:
        """Returns `expr` in memory as f32, computed once."""
        if isinstance(expr, Leaf) and expr.view.dtype == "f32":
            return expr.view
        if isinstance(expr, (Call, Acc)) and expr.stored is not None:
            return expr.stored
        if isinstance(expr, Literal):
            return self.emitter.constant(expr.value)
        if isinstance(expr, Moved):
            return self._moved(self.floats(expr.arg), expr.change)
        order = self._order(expr)
        out = self.emitter.new(expr.dims, "f32", order)
        self.store(expr, out)
        if isinstance(expr, (Call, Acc)):
            expr.stored = out
        return out

    def _order(self, expr: Expr) -> tuple[int, ...]:
        """Returns the memory order that suits a result: that of the first operand as large as it."""
        if isinstance(expr, Acc):
            return (0, 2, 3, 1) if len(expr.dims) == 4 and expr.is_image else tuple(range(len(expr.dims)))
        for leaf in leaves(expr):
            if isinstance(leaf, Leaf) and leaf.dims == expr.dims:
                return memory_order(leaf.view)
            if isinstance(leaf, Moved) and leaf.dims == expr.dims:
                return memory_order(self._moved(self.floats(leaf), lambda view: view))
            if isinstance(leaf, (Acc, Join)) and leaf.dims == expr.dims:
                return self._order(leaf if isinstance(leaf, Acc) else leaf.args[0])
            if isinstance(leaf, Call) and leaf.stored is not None and leaf.dims == expr.dims:
                return memory_order(leaf.stored)
        return tuple(range(len(expr.dims)))

    def quantised(self, expr: Expr, quant: Quant, name: str) -> View:
        """Returns `expr` in memory as u8 by `quant`."""
        if isinstance(expr, Leaf) and expr.view.dtype == "u8" and expr.view.quant == quant:
            return expr.view
        waiting = self._waiting(expr, quant)
        if waiting is not None and name in self.sole:
            stand_in = self.emitter.new(expr.dims, "u8", self._order(waiting.acc), quant)
            self.pending[id(stand_in.buffer)] = waiting
            return stand_in
        halo = self.halos.get(name)
        if halo is not None and len(expr.dims) == 4:
            out = self.emitter.new(expr.dims, "u8", (0, 2, 3, 1), quant, halo)
        else:
            out = self.emitter.new(expr.dims, "u8", self._order(waiting.acc if waiting else expr), quant)
        if waiting is not None and waiting.acc.takes(out):
            waiting.acc.emit(replace(out, quant=waiting.quant), None, waiting.table)
        else:
            self.store(expr, out)
        return out

    def _waiting(self, expr: Expr, quant: Quant) -> Pending | None:
        """Returns `expr` quantised as a product that ends in a table, if it is that."""
        if isinstance(expr, Acc) and expr.stored is None:
            return Pending(expr, quant, None)
        below = leaves(expr)
        if len(below) != 1 or expr.dims != below[0].dims:
            return None
        leaf = below[0]
        if isinstance(leaf, Acc) and leaf.stored is None and monotone_in(expr, leaf):
            # quantising first is the same, as both are monotone; then the rest is a table
            identity = Leaf(View(Buffer(CALLER, 256), (256,), (1,), "u8", 0, quant))
            table = table_of(rebuild(expr, {id(leaf): identity}, (256,)), identity.view, quant)
            return Pending(leaf, quant, None if table == bytes(range(256)) else table)
        if isinstance(leaf, Leaf) and id(leaf.view.buffer) in self.pending and single_operand(expr) is not None:
            before = self.pending[id(leaf.view.buffer)]
            table = table_of(expr, leaf.view, quant)
            if before.table is not None:
                table = bytes(table[v] for v in before.table)
            return Pending(before.acc, before.quant, table)
        return None

    def realise(self, view: View) -> None:
        """Emits the product that `view` stands for, if it does."""
        waiting = self.pending.pop(id(view.buffer), None)
        if waiting is not None:
            waiting.acc.emit(replace(view, quant=waiting.quant), None, waiting.table)

    def store(self, expr: Expr, out: View) -> None:
        """Emits what writes `expr` to `out`, u8 by out.quant or f32."""
        if isinstance(expr, Join):
            self._store_join(expr, out)
            return
        if isinstance(expr, Moved):
            inside = self.quantised(expr.arg, out.quant, "") if out.quant is not None else self.floats(expr.arg)
            self.emitter.copy(self._moved(inside, expr.change), out)
            return
        below = leaves(expr)
        for leaf in below:
            if isinstance(leaf, Leaf):
                self.realise(leaf.view)
        accs = [leaf for leaf in below if isinstance(leaf, Acc)]
        if len(below) == 1 and accs and accs[0].stored is None and self._store_product(expr, accs[0], out):
            return
        swap: dict[int, Expr] = {id(leaf): Leaf(self.floats(leaf)) for leaf in below if isinstance(leaf, (Acc, Join, Moved))}
        if swap:
            expr = rebuild(expr, swap, expr.dims)
        source = single_operand(expr)
        if isinstance(expr, Leaf) and expr.view.dtype == out.dtype and expr.view.quant == out.quant:
            self.emitter.copy(expr.view, out)
        elif isinstance(expr, Literal):
            self.emitter.copy(self._literal(expr, out), out)
        elif source is not None and (out.dtype == "u8" or not isinstance(expr, Leaf)):
            self.emitter.copy(source, out, table_of(expr, source, out.quant))
        else:
            self._store_elements(self._hoisted(expr), out)

    def _literal(self, expr: Literal, out: View) -> View:
        array: Array = np.broadcast_to(expr.value, out.dims)
        return self.emitter.constant(quantise(array, out.quant) if out.quant else array, out.dtype)

    def _store_join(self, expr: Join, out: View) -> None:
        at = 0
        for arg in expr.args:
            part = slice_axis(out, expr.axis, at, arg.dims[expr.axis], 1)
            assert part is not None
            self.store(arg, part)
            at += arg.dims[expr.axis]

    def _store_product(self, expr: Expr, acc: Acc, out: View) -> bool:
        """Ends an int8 product in `out` itself; returns False where `expr` does more to it than a product can end with."""
        if not acc.takes(out):
            return False
        if expr is acc:
            acc.emit(out, None, None)
            return True
        if out.quant is not None:
            waiting = self._waiting(expr, out.quant)
            if waiting is not None:
                acc.emit(out, None, waiting.table)
            return waiting is not None
        if out.quant is None and isinstance(expr, Call) and expr.op == "Add":
            vector = [arg for arg in expr.args if isinstance(arg, Literal)]
            if len(vector) == 1 and acc in expr.args:
                bias = acc.as_channels(vector[0].value)
                if bias is not None:
                    acc.emit(out, bias, None)
                    return True
        return False

    def _store_elements(self, expr: Expr, out: View) -> None:
        """Runs the element-wise machine, through a copy where its operands lie in another memory order than `out`."""
        full = next(
            (
                leaf.view
                for leaf in leaves(expr)
                if isinstance(leaf, Leaf) and leaf.dims == out.dims and leaf.view.up == (1, 1)
            ),
            None,
        )
        if full is not None and count(out.dims) > 1:
            a = tuple(axis for axis in memory_order(full) if out.dims[axis] > 1)
            b = tuple(axis for axis in memory_order(out) if out.dims[axis] > 1)
            packed = full.strides[a[-1]] == 1
            if a != b or out.strides[b[-1]] != 1:
                order = memory_order(full) if packed else tuple(range(len(out.dims)))
                middle = self.emitter.new(out.dims, out.dtype, order, out.quant)
                self._store_elements(expr, middle)
                self.emitter.copy(middle, out)
                return
        want = memory_order(out)
        swap: dict[int, Expr] = {}
        for leaf in leaves(expr):
            if isinstance(leaf, Leaf) and leaf.dims == out.dims and leaf.view.up == (1, 1):
                have = tuple(axis for axis in memory_order(leaf.view) if out.dims[axis] > 1)
                innermost = have and leaf.view.strides[have[-1]] == 1
                if have != tuple(axis for axis in want if out.dims[axis] > 1) or not innermost:
                    moved = self.emitter.new(out.dims, leaf.view.dtype, want, leaf.view.quant)
                    self.emitter.copy(leaf.view, moved)
                    swap[id(leaf)] = Leaf(moved)
        self.emitter.ewise(rebuild(expr, swap, expr.dims) if swap else expr, out)

    def _hoisted(self, expr: Expr) -> Expr:
        """Returns `expr` with its calls on smaller shapes computed first, once, instead of for every element."""
        swap: dict[int, Expr] = {}
        todo: list[Expr] = [expr]
        seen: set[int] = set()
        while todo:
            now = todo.pop()
            if id(now) in seen or not isinstance(now, Call) or now.stored is not None:
                continue
            seen.add(id(now))
            if count(now.dims) < count(expr.dims) and any(not isinstance(leaf, Literal) for leaf in leaves(now)):
                swap[id(now)] = Leaf(self.floats(now))
            else:
                todo.extend(now.args)
        return rebuild(expr, swap, expr.dims) if swap else expr

    def _output(self, region: int, name: str, dtype: str) -> None:
        value = self.values[name]
        if isinstance(value, (np.ndarray, QuantisedConstant)):
            raise UnsupportedModelError(f"output {name!r} does not depend on the inputs")
        dims = dims_of(value)
        kind = DTYPE_NAMES.get(dtype)
        if kind is None or (kind == "u8") != isinstance(value, View):
            raise UnsupportedModelError(f"output {name!r} is {dtype}; float32, uint8 and int8 are taken")
        out = View(Buffer(region, count(dims) * (4 if kind == "f32" else 1), 0), dims, row_major(dims), kind)
        if isinstance(value, View):
            self.emitter.copy(value, out, bytes((v + 128) & 255 for v in range(256)) if dtype == "int8" else None)
        else:
            self.store(value, out)
        self.outputs.append((name, out))

    def move(self, value: object, node: Node, change: Callable[[View], View | None]) -> Expr | View:
        """Returns `value` seen through `change`, which may refuse a view; then it is copied first."""
        if isinstance(value, View):
            return self._moved(value, change)
        expr = self.expr(value, node)
        if isinstance(expr, Leaf):
            return Leaf(self._moved(expr.view, change))
        below = leaves(expr)
        simple = all(isinstance(leaf, Leaf) and leaf.dims == expr.dims for leaf in below)
        if simple and below and is_scalar_chain(expr) and len(below) == 1:
            swap: dict[int, Expr] = {
                id(leaf): Leaf(self._moved(leaf.view, change)) for leaf in below if isinstance(leaf, Leaf)
            }
            moved = swap[id(below[0])]
            return rebuild(expr, swap, moved.dims)
        seen = self._moved_dims(expr.dims, change)
        # only what grows is worth quantising before it is moved; the rest is computed once, and then viewed for nothing
        if seen is None or count(seen) <= count(expr.dims) or isinstance(expr, Join):
            return Leaf(self._moved(self.floats(expr), change))
        return Moved(expr, change, seen)

    def _moved_dims(self, dims: Dims, change: Callable[[View], View | None]) -> Dims | None:
        """Returns the shape that `change` makes of a packed tensor, or None if it refuses it."""
        found = change(View(Buffer(CALLER, 0), dims, row_major(dims), "f32"))
        return None if found is None else found.dims

    def _moved(self, view: View, change: Callable[[View], View | None]) -> View:
        self.realise(view)
        found = change(view)
        if found is None:
            packed = self.emitter.new(view.dims, view.dtype, quant=view.quant)
            self.emitter.copy(view, packed)
            found = change(packed)
        if found is None:
            raise UnsupportedModelError(f"a view of shape {list(view.dims)} that even a copy does not allow")
        return found


def dims_of(value: object) -> Dims:
    if isinstance(value, np.ndarray):
        return tuple(value.shape)
    if isinstance(value, QuantisedConstant):
        return tuple(value.values.shape)
    dims = getattr(value, "dims", None)
    assert isinstance(dims, tuple)
    return dims


def constant_value(node: Node) -> Array:
    for name, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        if name in node.attributes:
            return np.array(node.attributes[name], dtype)
    value = node.attributes.get("value")
    if not isinstance(value, np.ndarray):
        raise UnsupportedModelError(f"node {node.label!r} (Constant) holds no tensor or number")
    return value


def wanted_halos(graph: Graph) -> dict[str, Halo]:
    """Returns the border that the readers of each quantised tensor want around it, by the name that QuantizeLinear gives it.

    A tensor that any image op reads is in the table, with no border if it wants none: it is laid out as an image.
    """
    through = {node.outputs[0]: node.inputs[0] for node in graph.nodes
               if node.op == "DequantizeLinear" and node.inputs and node.outputs}  # fmt: skip
    found: dict[str, Halo] = {}
    for node in graph.nodes:
        if node.op in ("Conv", "ConvTranspose", "GlobalAveragePool", "AveragePool", "MaxPool") and node.inputs:
            name = through.get(node.inputs[0], node.inputs[0])
            pads = node.attributes.get("pads", (0, 0, 0, 0))
            is_conv = node.op == "Conv" and isinstance(pads, tuple) and len(pads) == 4
            halo = tuple(int(p) for p in pads) if is_conv and isinstance(pads, tuple) else NO_HALO
            if min(halo) < 0 or max(halo) > 4096:
                continue
            old = found.get(name, NO_HALO)
            found[name] = (max(old[0], halo[0]), max(old[1], halo[1]), max(old[2], halo[2]), max(old[3], halo[3]))
    return found


def sole_readers(graph: Graph) -> set[str]:
    """Returns the quantised tensors that end, by whatever element-wise ops with constants, in one QuantizeLinear and nothing else.

    Such a tensor need never be in memory: what makes it can go on through a table.
    """
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in set(node.inputs):
            consumers.setdefault(name, []).append(node)
    results = {info.name for info in graph.outputs}
    fixed = set(graph.initializers) | {
        node.outputs[0] for node in graph.nodes if node.op == "Constant" and node.outputs
    }
    found: set[str] = set()
    for node in graph.nodes:
        if node.op != "QuantizeLinear" or not node.outputs or node.outputs[0] in results:
            continue
        reach, todo, ends, plain = {node.outputs[0]}, [node.outputs[0]], set(), True
        nodes: dict[int, Node] = {}
        while todo and plain and len(nodes) < 64:
            for reader in consumers.get(todo.pop(), ()):
                if id(reader) in nodes:
                    continue
                nodes[id(reader)] = reader
                if reader.op == "QuantizeLinear":
                    ends.add(reader.outputs[0])
                elif reader.op in ELEMENTWISE or reader.op in ("Clip", "DequantizeLinear"):
                    reach.update(reader.outputs)
                    todo.extend(reader.outputs)
                else:
                    plain = False
        closed = all(name in reach or name in fixed or not name for reader in nodes.values() for name in reader.inputs)
        if plain and closed and len(ends) == 1 and not todo and not reach & results:
            found.add(node.outputs[0])
    return found


def quant_of(node: Node, scale: object, zero: object) -> tuple[Quant, int]:
    """Returns the per-tensor quantisation of an activation, as u8, and what its integers were shifted by (128 for s8)."""
    if not isinstance(scale, np.ndarray) or scale.size != 1:
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): activations are quantised by one constant scale")
    point = np.zeros(1, np.uint8) if zero is None else zero
    if not isinstance(point, np.ndarray) or point.size != 1 or point.dtype not in (np.uint8, np.int8):
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): activations are u8 or s8 with one constant zero point"
        )
    value = float(np.float32(scale.reshape(-1)[0]))
    if not (np.isfinite(value) and value > 0):
        raise MalformedModelError(f"node {node.label!r} ({node.op}) has the scale {value}")
    shift = 128 if point.dtype == np.int8 else 0
    return Quant(value, int(point.reshape(-1)[0]) + shift), shift


def _quantize(c: Compiler, node: Node, args: list[object]) -> None:
    quant, _ = quant_of(node, args[1], args[2] if len(args) > 2 else None)
    expr = c.expr(args[0], node)
    if isinstance(expr, Literal):
        expr = Leaf(c.emitter.constant(expr.value))
    c.values[node.outputs[0]] = c.quantised(expr, quant, node.outputs[0])


def _dequantize(c: Compiler, node: Node, args: list[object]) -> None:
    x, scale, zero = args[0], args[1], args[2] if len(args) > 2 else None
    if isinstance(x, np.ndarray):
        if not isinstance(scale, np.ndarray) or (zero is not None and not isinstance(zero, np.ndarray)):
            raise UnsupportedModelError(f"node {node.label!r} ({node.op}): scale and zero point are not constants")
        if x.dtype not in (np.int8, np.uint8, np.int32):
            raise UnsupportedModelError(f"node {node.label!r} ({node.op}) of {x.dtype}")
        axis = axis_of(node, integer(node, "axis", 1), x.ndim) if scale.size > 1 else 0
        points = np.zeros(1, np.int32) if zero is None else zero.reshape(-1).astype(np.int32)
        if scale.size > 1 and (x.ndim == 0 or scale.size != x.shape[axis] or points.size not in (1, scale.size)):
            raise MalformedModelError(f"node {node.label!r} ({node.op}): {scale.size} scales for shape {list(x.shape)}")
        if not np.all(np.isfinite(scale)) or (points.size > 1 and scale.size == 1):
            raise MalformedModelError(
                f"node {node.label!r} ({node.op}): scales are not finite, or fewer than zero points"
            )
        c.values[node.outputs[0]] = QuantisedConstant(
            x, scale.reshape(-1).astype(np.float32), points, axis, node.inputs[0]
        )
        return
    if not isinstance(x, View):
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}) of a float tensor")
    quant, shift = quant_of(node, scale, zero)
    if x.quant is not None and x.quant.zero != quant.zero and any(x.buffer.halo):
        x = replace(x, buffer=x.buffer)
        x.buffer.halo = NO_HALO  # the border holds another zero point
    c.values[node.outputs[0]] = Leaf(replace(x, quant=quant))


def window_of(node: Node, kernel: tuple[int, int], size: tuple[int, int]) -> Window:
    """Returns the window of a two-dimensional convolution or pooling over an image of `size`."""
    given = integers(node, "kernel_shape", kernel)
    stride, dilation = integers(node, "strides", (1, 1)), integers(node, "dilations", (1, 1))
    pads = integers(node, "pads", (0, 0, 0, 0))
    if given != kernel or len(stride) != 2 or len(dilation) != 2 or len(pads) != 4:
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): kernel {given}, weights {kernel}, strides {stride}, pads {pads}"
        )
    if not all(1 <= v <= 4096 for v in (*stride, *dilation, *kernel)) or not all(0 <= v <= 4096 for v in pads):
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): strides {stride}, dilations {dilation} or pads {pads} out of range"
        )
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        total = [
            max(0, (-(-s // st) - 1) * st + d * (k - 1) + 1 - s) for s, st, d, k in zip(size, stride, dilation, kernel)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*less, *more) if auto == b"SAME_UPPER" else (*more, *less)
    elif auto not in (b"NOTSET", b"VALID", b""):
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): auto_pad {auto!r}")
    return Window(kernel, (stride[0], stride[1]), (dilation[0], dilation[1]), (pads[0], pads[1], pads[2], pads[3]))


def bias_of(node: Node, bias: object, scale: F32, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Returns a product's bias as int32 in units of `scale` (x's times w's)."""
    if bias is None:
        return np.zeros(n, np.int32)
    if isinstance(bias, QuantisedConstant) and bias.values.dtype == np.int32:
        own = np.broadcast_to(bias.scale, (n,)) if bias.scale.size in (1, n) else None
        if (
            bias.values.size == n
            and own is not None
            and np.allclose(own, scale, rtol=1e-5, atol=0)
            and not bias.zero.any()
        ):
            return bias.values.reshape(n)
        bias = bias.floats
    elif isinstance(bias, QuantisedConstant):
        bias = bias.floats
    if not isinstance(bias, np.ndarray) or bias.size not in (1, n):
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): its bias is not a constant of {n} values")
    with np.errstate(divide="ignore", invalid="ignore"):
        units = np.broadcast_to(bias.reshape(-1).astype(np.float64), (n,)) / scale.astype(np.float64)
    if not np.all(np.abs(units) < 2**31):
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): its bias does not fit int32 in units of its scales"
        )
    return np.rint(units).astype(np.int32)


def u8_operand(value: object) -> View | None:
    """Returns the u8 tensor that `value` dequantises, or None."""
    if isinstance(value, Leaf) and value.view.dtype == "u8" and value.view.quant is not None:
        return value.view
    return None


def _conv(c: Compiler, node: Node, args: list[object]) -> None:
    x, w, bias = args[0], args[1], args[2] if len(args) > 2 else None
    view = u8_operand(x)
    if view is None or not isinstance(w, QuantisedConstant) or w.values.dtype == np.int32:
        _conv_float(c, node, args)
        return
    if len(view.dims) != 4 or w.values.ndim != 4 or (w.scale.size > 1 and w.axis != 0):
        raise UnsupportedModelError(
            f"node {node.label!r} (Conv): two-dimensional, with weights scaled by output channel, is taken"
        )
    n, per_group, kh, kw = w.values.shape
    group = integer(node, "group", 1)
    if group < 1 or n % group or per_group * group != view.dims[1] or 0 in w.values.shape:
        raise MalformedModelError(
            f"node {node.label!r} (Conv): {group} groups of weights {list(w.values.shape)} over shape {list(view.dims)}"
        )
    window = window_of(node, (kh, kw), (view.dims[2], view.dims[3]))
    scale = np.broadcast_to(np.float32(view.quant.scale if view.quant else 1) * w.scale, (n,))
    int_bias = bias_of(node, bias, scale, n)
    oh, ow = window.out_size(view.dims[2], view.dims[3])
    dims = (view.dims[0], n, oh, ow)
    source = view

    def emit(out: View, float_bias: F32 | None, table: bytes | None) -> None:
        ready = image(c.emitter, source, window.pads)
        if group == 1:
            conv(c.emitter, ready, w, int_bias, window, out, float_bias, table, c.flipped)
        elif group == n == view.dims[1] and out.dtype == "u8" and float_bias is None:
            depthwise(c.emitter, ready, w, int_bias, window, out, table)
        else:
            _grouped(c, ready, w, int_bias, window, out, float_bias, table, group)

    c.values[node.outputs[0]] = Acc(dims, emit, is_image=True, channel_axis=1)


def _grouped(c: Compiler, x: View, w: QuantisedConstant, bias: np.ndarray[tuple[int, ...], np.dtype[np.int32]], window: Window, out: View,
             float_bias: F32 | None, table: bytes | None, group: int) -> None:  # fmt: skip
    """A grouped convolution: one dense one a group, on slices of the channels."""
    n, per_group = w.values.shape[0] // group, w.values.shape[1]
    for g in range(group):
        part, target = slice_axis(x, 1, g * per_group, per_group, 1), slice_axis(out, 1, g * n, n, 1)
        assert part is not None and target is not None
        rows = slice(g * n, (g + 1) * n)
        own = QuantisedConstant(w.values[rows], w.scale[rows] if w.scale.size > 1 else w.scale,
                                w.zero[rows] if w.zero.size > 1 else w.zero, 0, f"{w.key}/{g}")  # fmt: skip
        conv(
            c.emitter,
            part,
            own,
            bias[rows],
            window,
            target,
            float_bias[rows] if float_bias is not None else None,
            table,
            c.flipped,
        )


def _conv_float(c: Compiler, node: Node, args: list[object]) -> None:
    x, w = c.expr(args[0], node), args[1]
    weights = w.floats if isinstance(w, QuantisedConstant) else w
    bias = (
        args[2].floats
        if len(args) > 2 and isinstance(args[2], QuantisedConstant)
        else args[2]
        if len(args) > 2
        else None
    )
    if not isinstance(weights, np.ndarray) or weights.ndim != 4 or len(x.dims) != 4 or weights.dtype != np.float32:
        raise UnsupportedModelError(
            f"node {node.label!r} (Conv): two-dimensional float32 with constant weights is taken"
        )
    if bias is not None and (not isinstance(bias, np.ndarray) or bias.size != weights.shape[0]):
        raise MalformedModelError(
            f"node {node.label!r} (Conv): its bias is not a constant of {weights.shape[0]} values"
        )
    group = integer(node, "group", 1)
    n, per_group, kh, kw = weights.shape
    if group < 1 or n % group or per_group * group != x.dims[1] or 0 in weights.shape:
        raise MalformedModelError(
            f"node {node.label!r} (Conv): {group} groups of weights {list(weights.shape)} over shape {list(x.dims)}"
        )
    window = window_of(node, (kh, kw), (x.dims[2], x.dims[3]))
    ready = image(c.emitter, c.floats(x), window.pads)
    oh, ow = window.out_size(x.dims[2], x.dims[3])
    out = c.emitter.new((x.dims[0], n, oh, ow), "f32", (0, 2, 3, 1))
    for g in range(group):
        part, target = (
            slice_axis(ready, 1, g * per_group, per_group, 1),
            slice_axis(out, 1, g * (n // group), n // group, 1),
        )
        assert part is not None and target is not None
        rows = slice(g * (n // group), (g + 1) * (n // group))
        conv_f32(c.emitter, part, weights[rows], bias.reshape(-1)[rows] if bias is not None else None, window, target)
    c.values[node.outputs[0]] = Leaf(out)


def _conv_transpose(c: Compiler, node: Node, args: list[object]) -> None:
    """A transposed convolution whose windows do not overlap: one 1x1 convolution for each tap, each to its own pixels."""
    x, w, bias = args[0], args[1], args[2] if len(args) > 2 else None
    view = u8_operand(x)
    if view is None or not isinstance(w, QuantisedConstant) or w.values.ndim != 4 or len(view.dims) != 4:
        raise UnsupportedModelError(
            f"node {node.label!r} (ConvTranspose): two-dimensional int8 with constant weights is taken"
        )
    c_in, n, kh, kw = w.values.shape
    stride, pads = integers(node, "strides", (1, 1)), integers(node, "pads", (0, 0, 0, 0))
    plain = integer(node, "group", 1) == 1 and not any(pads) and not any(integers(node, "output_padding", (0, 0)))
    if (
        stride != (kh, kw)
        or not plain
        or c_in != view.dims[1]
        or node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    ):
        raise UnsupportedModelError(
            f"node {node.label!r} (ConvTranspose): strides equal to the kernel, no padding, one group are taken"
        )
    if "output_shape" in node.attributes or kh * kw > 64:
        raise UnsupportedModelError(
            f"node {node.label!r} (ConvTranspose): an output_shape, or a kernel of over 64 taps"
        )
    if w.scale.size > 1 and w.axis != 1:
        # scaled by input channel: the quantiser's default axis. Not a product of integers with one scale a result.
        _conv_transpose_float(c, node, view, w, bias)
        return
    scale = np.broadcast_to(np.float32(view.quant.scale if view.quant else 1) * w.scale, (n,))
    int_bias = bias_of(node, bias, scale, n)
    dims = (view.dims[0], n, view.dims[2] * kh, view.dims[3] * kw)
    source = view

    def emit(out: View, float_bias: F32 | None, table: bytes | None) -> None:
        ready = image(c.emitter, source, NO_HALO)
        if out.strides[3] == n:  # a row of taps writes neighbouring pixels: its columns are just more channels
            columns = (kw,)
        else:
            columns = (1,) * kw
        for j in range(kh):
            rows = slice_axis(out, 2, j, view.dims[2], kh)
            assert rows is not None
            for i, wide in enumerate(columns):
                taps = w.values[:, :, j, i : i + wide].transpose(2, 1, 0).reshape(wide * n, c_in, 1, 1)
                tap = QuantisedConstant(
                    taps,
                    np.tile(w.scale, wide) if w.scale.size > 1 else w.scale,
                    np.tile(w.zero, wide) if w.zero.size > 1 else w.zero,
                    0,
                    f"{w.key}/{j},{i},{wide}",
                )
                part = slice_axis(rows, 3, i, view.dims[3], kw)
                assert part is not None
                part = replace(part, dims=(part.dims[0], wide * n, *part.dims[2:]))
                more = np.tile(float_bias, wide) if float_bias is not None else None
                conv(c.emitter, ready, tap, np.tile(int_bias, wide), Window((1, 1)), part, more, table, c.flipped)

    c.values[node.outputs[0]] = Acc(dims, emit, is_image=True, channel_axis=1)


def _conv_transpose_float(c: Compiler, node: Node, view: View, w: QuantisedConstant, bias: object) -> None:
    c_in, n, kh, kw = w.values.shape
    weights = w.floats
    floats = bias.floats if isinstance(bias, QuantisedConstant) else bias
    if floats is not None and (not isinstance(floats, np.ndarray) or floats.size != n):
        raise MalformedModelError(f"node {node.label!r} (ConvTranspose): its bias is not a constant of {n} values")
    ready = image(c.emitter, c.floats(Leaf(view)), NO_HALO)
    out = c.emitter.new((view.dims[0], n, view.dims[2] * kh, view.dims[3] * kw), "f32", (0, 2, 3, 1))
    for j in range(kh):
        for i in range(kw):
            rows = slice_axis(out, 2, j, view.dims[2], kh)
            part = slice_axis(rows, 3, i, view.dims[3], kw) if rows is not None else None
            assert part is not None
            tap = weights[:, :, j, i].T.reshape(n, c_in, 1, 1)
            conv_f32(c.emitter, ready, tap, floats.reshape(-1) if floats is not None else None, Window((1, 1)), part)
    c.values[node.outputs[0]] = Leaf(out)


def _matmul(c: Compiler, node: Node, args: list[object]) -> None:
    a, b = args[0], args[1]
    dims_a, dims_b = dims_of(a), dims_of(b)
    if len(dims_a) < 2 or len(dims_b) < 2 or dims_a[-1] != dims_b[-2] or 0 in dims_a or 0 in dims_b:
        raise UnsupportedModelError(f"node {node.label!r} (MatMul) of shapes {list(dims_a)} and {list(dims_b)}")
    _product(c, node, a, b, None)


def _gemm(c: Compiler, node: Node, args: list[object]) -> None:
    a, b, bias = args[0], args[1], args[2] if len(args) > 2 else None
    if number(node, "alpha", 1.0) != 1.0 or (bias is not None and number(node, "beta", 1.0) != 1.0):
        raise UnsupportedModelError(f"node {node.label!r} (Gemm): alpha and beta of 1 are taken")
    if integer(node, "transA", 0):
        a = c.move(a, node, lambda view: transpose(view, (1, 0)))
    if integer(node, "transB", 0):
        if isinstance(b, QuantisedConstant) and b.values.ndim == 2:
            b = QuantisedConstant(b.values.T, b.scale, b.zero, 1 - b.axis, b.key + "/t")
        elif isinstance(b, np.ndarray):
            b = b.T
        else:
            b = c.move(b, node, lambda view: transpose(view, (1, 0)))
    dims_a, dims_b = dims_of(a), dims_of(b)
    if len(dims_a) != 2 or len(dims_b) != 2 or dims_a[1] != dims_b[0] or 0 in dims_a or 0 in dims_b:
        raise MalformedModelError(f"node {node.label!r} (Gemm) of shapes {list(dims_a)} and {list(dims_b)}")
    _product(c, node, a, b, bias)


def _product(c: Compiler, node: Node, a: object, b: object, bias: object) -> None:
    view, dims_a, dims_b = u8_operand(a), dims_of(a), dims_of(b)
    k, n = dims_b[-2:]
    try:
        dims = tuple(np.broadcast_shapes(dims_a[:-2], dims_b[:-2])) + (dims_a[-2], n)
    except ValueError as error:
        raise MalformedModelError(
            f"node {node.label!r} ({node.op}) of shapes {list(dims_a)} and {list(dims_b)}"
        ) from error
    if view is not None and isinstance(b, QuantisedConstant) and b.values.dtype != np.int32 and count(dims_b[:-2]) == 1:
        if b.scale.size == 1 or b.axis == len(dims_b) - 1:
            flat = QuantisedConstant(b.values.reshape(k, n), b.scale, b.zero, 1, b.key)
            scale = np.broadcast_to(np.float32(view.quant.scale if view.quant else 1) * flat.scale, (n,))
            int_bias = bias_of(node, bias, scale, n)
            source = view

            def emit(out: View, float_bias: F32 | None, table: bytes | None) -> None:
                product(c.emitter, source, flat, int_bias, out, float_bias, table, c.flipped)

            c.values[node.outputs[0]] = Acc(dims, emit, is_image=False, channel_axis=-1)
            return
    other = u8_operand(b)
    if view is not None and other is not None and bias is None:
        left, right = view, other

        def emit_moving(out: View, float_bias: F32 | None, table: bytes | None) -> None:
            assert float_bias is None
            moving_product(c.emitter, left, right, out, c.flipped, table)

        c.values[node.outputs[0]] = Acc(dims, emit_moving, is_image=False, channel_axis=None)
        return
    x, y = c.floats(c.expr(a, node)), c.floats(c.expr(b, node))
    out = c.emitter.new(dims, "f32")
    product_f32(c.emitter, x, y, out)
    c.values[node.outputs[0]] = Leaf(out) if bias is None else call("Add", Leaf(out), c.expr(bias, node))


def _transpose(c: Compiler, node: Node, args: list[object]) -> None:
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


def _reshape(c: Compiler, node: Node, args: list[object]) -> None:
    if not isinstance(args[1], np.ndarray):
        raise UnsupportedModelError(f"node {node.label!r} (Reshape): its shape depends on the data")
    _reshape_to(c, node, args[0], constants.target_shape(node, dims_of(args[0]), args[1]))


def _flatten(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    axis = integer(node, "axis", 1)
    axis = axis if axis == len(dims) else axis_of(node, axis, len(dims))
    _reshape_to(c, node, args[0], (count(dims[:axis]), count(dims[axis:])))


def _constant_args(args: list[object]) -> list[Array | None]:
    return [None, *(arg if isinstance(arg, np.ndarray) else None for arg in args[1:])]


def _squeeze(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    axes = constants.axes_of(node, _constant_args(args), len(dims))
    axes = tuple(i for i, d in enumerate(dims) if d == 1) if axes is None else axes
    if any(dims[axis] != 1 for axis in axes):
        raise MalformedModelError(f"node {node.label!r} (Squeeze): axes {axes} of shape {list(dims)} are not all 1")
    _reshape_to(c, node, args[0], tuple(d for i, d in enumerate(dims) if i not in axes))


def _unsqueeze(c: Compiler, node: Node, args: list[object]) -> None:
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


def _slice(c: Compiler, node: Node, args: list[object]) -> None:
    dims = dims_of(args[0])
    if len(args) > 1:
        rest = _constant_args(args)
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


def _split(c: Compiler, node: Node, args: list[object]) -> None:
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
    for name, size in zip(node.outputs, sizes):
        c.values[name] = c.move(args[0], node, lambda v, a=at, n=size: slice_axis(v, axis, a, n, 1))  # type: ignore[misc]
        at += size


def _gather(c: Compiler, node: Node, args: list[object]) -> None:
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


def _concat(c: Compiler, node: Node, args: list[object]) -> None:
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


def _expand(c: Compiler, node: Node, args: list[object]) -> None:
    if not isinstance(args[1], np.ndarray):
        raise UnsupportedModelError(f"node {node.label!r} (Expand): its shape depends on the data")
    dims = tuple(np.broadcast_shapes(dims_of(args[0]), tuple(int(v) for v in args[1].reshape(-1))))
    check_dims(dims, f"the result of node {node.label!r}")
    c.values[node.outputs[0]] = c.move(args[0], node, lambda view: broadcast(view, dims) if view.up == (1, 1) else None)


def _resize(c: Compiler, node: Node, args: list[object]) -> None:
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
        factors = [int(s) / d for s, d in zip(sizes.reshape(-1), dims)]
    elif isinstance(scales, np.ndarray) and scales.size == 4:
        factors = [float(v) for v in scales.reshape(-1)]
    else:
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): its scales or sizes are not four constants")
    nearest = node.attributes.get("mode", b"nearest") == b"nearest"
    where = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    rounding = node.attributes.get("nearest_mode", b"round_prefer_floor")
    # for whole factors these all pick pixel floor(i / factor)
    same = (where, rounding) in ((b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor"), (b"half_pixel", b"round_prefer_ceil"),
                                 (b"pytorch_half_pixel", b"round_prefer_floor")) or node.op == "Upsample"  # fmt: skip
    whole = (
        len(dims) == 4 and factors[:2] == [1.0, 1.0] and all(f >= 1 and f == int(f) and f <= 64 for f in factors[2:])
    )
    if not (nearest and same and whole):
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): nearest neighbour by whole factors is taken, got {node.attributes} {factors}"
        )
    fy, fx = int(factors[2]), int(factors[3])
    check_dims((dims[0], dims[1], dims[2] * fy, dims[3] * fx), f"the result of node {node.label!r}")
    c.values[node.outputs[0]] = args[0] if (fy, fx) == (1, 1) else c.move(args[0], node, lambda v: enlarge(v, fy, fx))  # type: ignore[assignment]


def _global_mean(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    if len(expr.dims) != 4 or 0 in expr.dims:
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}) of shape {list(expr.dims)}")
    c.values[node.outputs[0]] = Leaf(_image_mean(c, expr))


def _image_mean(c: Compiler, expr: Expr) -> View:
    """Returns the mean of each channel (n, c, 1, 1) as f32."""
    n, channels, h, w = expr.dims
    out = c.emitter.new((n, channels, 1, 1), "f32")
    view = u8_operand(expr)
    if view is None or h * w >= 1 << 24 or w * h * 255 >= 1 << 32:
        flat = c.floats(expr)
        moved = c.emitter.new((n, channels, h * w), "f32")
        seen = reshape(flat, (n, channels, h * w))
        if seen is not None:
            c.emitter.copy(seen, moved)
        else:
            c.emitter.copy(flat, replace(moved, dims=flat.dims, strides=row_major(flat.dims)))
        _rows_op(c, moved, out, ROW_MEAN)
        return out
    ready = image(c.emitter, view, NO_HALO)
    sums = c.emitter.new((n, channels), "i32")
    assert view.quant is not None
    packed = ready.strides[3] == channels
    if not packed:
        ready2 = c.emitter.new(view.dims, "u8", (0, 2, 3, 1), view.quant)
        c.emitter.copy(ready, ready2)
        ready = ready2
    band = max(1, min(h, 40_000 // max(1, w * channels)))
    bands = -(-h // band)
    c.emitter.add("mean", count(expr.dims) * 0.06 + n * 200, n * bands, [ready.buffer], [sums.buffer, out.buffer],
                  x=reference(ready), x_image=ready.strides[0], x_row=ready.strides[2], height=h, width=w, c=channels,
                  in_scale=float(view.quant.scale), in_zero=view.quant.zero, sums=reference(sums), out=reference(out),
                  bands=bands, band_rows=band, images=n)  # fmt: skip
    return out


def _pool(c: Compiler, node: Node, args: list[object]) -> None:
    value = args[0]
    view = value if isinstance(value, View) else u8_operand(value) or c.floats(c.expr(value, node))
    if len(view.dims) != 4 or 0 in view.dims:
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}) of shape {list(view.dims)}")
    kernel = integers(node, "kernel_shape")
    if (
        len(kernel) != 2
        or integer(node, "ceil_mode", 0)
        or integers(node, "dilations", (1, 1)) != (1, 1)
        or len(node.outputs) > 1
    ):
        raise UnsupportedModelError(
            f"node {node.label!r} ({node.op}): two-dimensional, no ceil_mode, no dilation is taken"
        )
    window = window_of(node, (kernel[0], kernel[1]), (view.dims[2], view.dims[3]))
    if any(p >= k for p, k in zip(window.pads, kernel * 2)):
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): padding as wide as the window")
    oh, ow = window.out_size(view.dims[2], view.dims[3])
    ready = image(c.emitter, view, NO_HALO)
    is_max = node.op == "MaxPool"
    # the maximum of u8 is u8 of the same quantisation; a mean goes out as float
    out = c.emitter.new(
        (view.dims[0], view.dims[1], oh, ow),
        view.dtype if is_max else "f32",
        (0, 2, 3, 1),
        view.quant if is_max else None,
    )
    item_in, item_out = 4 if view.dtype == "f32" else 1, 4 if out.dtype == "f32" else 1
    quant = view.quant or Quant(1.0, 0)
    images, channels, lines, px = out.dims
    c.emitter.add("pool", count(out.dims) * kernel[0] * kernel[1] * 1.0, images * lines, [ready.buffer], [out.buffer], x=reference(ready),
                  x_image=ready.strides[0] * item_in, x_row=ready.strides[2] * item_in, x_px=ready.strides[3] * item_in,
                  height=view.dims[2], width=view.dims[3], kind=POOL_MAX if is_max else POOL_MEAN, in_float=int(view.dtype == "f32"),
                  in_scale=float(quant.scale), in_zero=quant.zero, kh=kernel[0], kw=kernel[1], stride_y=window.stride[0],
                  stride_x=window.stride[1], pad_y=window.pads[0], pad_x=window.pads[1],
                  count_pad=integer(node, "count_include_pad", 0), out=reference(out), out_image=out.strides[0] * item_out,
                  out_line=out.strides[2] * item_out, out_px=out.strides[3] * item_out, out_float=int(out.dtype == "f32"),
                  out_scale=float(quant.scale), out_zero=quant.zero, images=images, lines=lines, line_px=px, c=channels)  # fmt: skip
    c.values[node.outputs[0]] = out if isinstance(value, View) else Leaf(out)


def _rows_op(
    c: Compiler, x: View, out: View, kind: int, w: F32 | None = None, b: F32 | None = None, epsilon: float = 0.0
) -> None:
    """Adds a kernel over the rows of `x` (..., row), packed; `out` packed likewise, or one number a row."""
    row = x.dims[-1]
    rows = count(x.dims[:-1])
    if not row:
        raise UnsupportedModelError(f"a reduction over nothing: shape {list(x.dims)}")
    unit = max(1, 4096 // row)
    c.emitter.add("rows", rows * row * (1.2 if kind <= LAYER_NORM else 0.3), -(-rows // unit), [x.buffer], [out.buffer], x=reference(x),
                  out=reference(out), rows=rows, row=row, x_stride=row, out_stride=row if kind <= LAYER_NORM else 1,
                  w=reference(c.emitter.constant(w)) if w is not None else -1, b=reference(c.emitter.constant(b)) if b is not None else -1,
                  epsilon=float(np.float32(epsilon)), kind=kind, unit_rows=unit)  # fmt: skip


def _packed_rows(c: Compiler, expr: Expr) -> View:
    view = c.floats(expr)
    if view.strides == row_major(view.dims) or all(
        s == p or d == 1 for s, p, d in zip(view.strides, row_major(view.dims), view.dims)
    ):
        return rows_of(c.emitter, view)
    out = c.emitter.new(view.dims, "f32")
    c.emitter.copy(view, out)
    return out


def _softmax(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    rank = len(expr.dims)
    axis = axis_of(node, integer(node, "axis", -1 if c.graph.opset >= 13 else 1), rank)
    if c.graph.opset < 13 and axis != rank - 1 and count(expr.dims[axis + 1 :]) != 1:
        raise UnsupportedModelError(f"node {node.label!r} (Softmax) before opset 13 over several axes")
    last = rank - 1
    perm = tuple(i for i in range(rank) if i != axis) + (axis,)
    if axis != last:
        moved = c.move(expr, node, lambda v: transpose(v, perm))
        expr = c.expr(moved, node)
    x = _packed_rows(c, expr)
    out = c.emitter.new(x.dims, "f32")
    _rows_op(c, x, out, SOFTMAX)
    back = tuple(perm.index(i) for i in range(rank))
    c.values[node.outputs[0]] = c.move(Leaf(out), node, lambda v: transpose(v, back)) if axis != last else Leaf(out)


def _layer_norm(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    axis = axis_of(node, integer(node, "axis", -1), len(expr.dims))
    weights = [c.expr(arg, node) if arg is not None else None for arg in args[1:3]]
    row = count(expr.dims[axis:])
    if len(node.outputs) > 1 or any(
        not isinstance(w, Literal) or w.value.size != row for w in weights if w is not None
    ):
        raise UnsupportedModelError(
            f"node {node.label!r} (LayerNormalization): constant scale and bias of {row}, one output are taken"
        )
    x = _packed_rows(c, expr)
    out = c.emitter.new(x.dims, "f32")
    seen, target = reshape(x, (*expr.dims[:axis], row)), reshape(out, (*expr.dims[:axis], row))
    assert seen is not None and target is not None
    vectors = [w.value.reshape(-1) if isinstance(w, Literal) else None for w in weights] + [None, None]
    _rows_op(c, seen, target, LAYER_NORM, vectors[0], vectors[1], number(node, "epsilon", 1e-5))
    c.values[node.outputs[0]] = Leaf(out)


def _reduce(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    rank = len(expr.dims)
    axes = constants.axes_of(node, _constant_args(args), rank)
    axes = tuple(range(rank)) if axes is None else tuple(sorted(set(axes)))
    keep = integer(node, "keepdims", 1)
    wanted = tuple(1 if i in axes else d for i, d in enumerate(expr.dims) if keep or i not in axes)
    if node.op == "ReduceMean" and rank == 4 and axes == (2, 3) and 0 not in expr.dims:
        c.values[node.outputs[0]] = c.move(Leaf(_image_mean(c, expr)), node, lambda v: reshape(v, wanted))
        return
    kept = tuple(i for i in range(rank) if i not in axes)
    if axes != tuple(range(rank - len(axes), rank)):
        moved = c.move(expr, node, lambda v: transpose(v, kept + axes))
        expr = c.expr(moved, node)
    x = _packed_rows(c, expr)
    seen = reshape(x, (*(expr.dims[: len(kept)]), count(expr.dims[len(kept) :])))
    assert seen is not None
    out = c.emitter.new(wanted, "f32")
    _rows_op(c, seen, out, {"ReduceMean": ROW_MEAN, "ReduceSum": ROW_SUM, "ReduceMax": ROW_MAX}[node.op])
    c.values[node.outputs[0]] = Leaf(out)


def _cast(c: Compiler, node: Node, args: list[object]) -> None:
    if integer(node, "to", 1) != 1 or isinstance(args[0], View):
        raise UnsupportedModelError(
            f"node {node.label!r} (Cast) to type {integer(node, 'to', 1)}: float to float32 is taken"
        )
    c.values[node.outputs[0]] = c.expr(args[0], node)


HANDLERS: dict[str, Callable[[Compiler, Node, list[object]], None]] = {
    "AveragePool": _pool,
    "Cast": _cast,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DequantizeLinear": _dequantize,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_mean,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "QuantizeLinear": _quantize,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}

SUPPORTED = (
    frozenset(HANDLERS) | frozenset(ELEMENTWISE) | frozenset(constants.EVALUATED) | {"Clip", "Constant", "Shape"}
)

# how many inputs an op cannot do without, where it is not one
REQUIRED = {"Constant": 0, "BatchNormalization": 5, "Range": 3, "Where": 3} | dict.fromkeys(
    (
        *("Add", "Conv", "ConvTranspose", "DequantizeLinear", "Div", "Equal", "Expand", "Gather", "Gemm"),
        *("LayerNormalization", "MatMul", "Mul", "Pow", "PRelu", "QuantizeLinear", "Reshape", "Sub"),
    ),
    2,
)
