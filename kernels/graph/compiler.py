"""One compilation: the values of a graph by name, and how a float expression gets into memory.

Nodes are visited once, in order. Float values stay expressions (expressions.py) until something needs them in memory;
what each op means is in the handlers (nodes_*.py), which this is given as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kernels.graph import constants, planning
from kernels.graph.constants import evaluate_constant, integer
from kernels.graph.emit import ARENA, CALLER, SLACK, Blob, Emitter, Machine, single_operand, table_of
from kernels.graph.errors import GraphError, MalformedModelError, UnsupportedModelError
from kernels.graph.expressions import (
    ELEMENTWISE,
    Acc,
    Call,
    Expr,
    Join,
    Leaf,
    Literal,
    Moved,
    QuantisedConstant,
    elementwise,
    is_scalar_chain,
    leaves,
    monotone_in,
    quantise,
    rebuild,
)
from kernels.graph.onnx_reader import Array, Graph, Node, check_dims
from kernels.graph.uses import sole_readers, wanted_halos
from kernels.graph.views import (
    Buffer,
    Dims,
    Quant,
    View,
    count,
    memory_order,
    row_major,
    slice_axis,
)

Handler = Callable[["Compiler", Node, list[object]], None]


DTYPE_NAMES = {"float32": "f32", "uint8": "u8", "int8": "u8"}


@dataclass(frozen=True)
class Pending:
    """A quantised product that waits for the table which is all that reads it: acc, requantised by `quant`, through
    `table`."""

    acc: Acc
    quant: Quant
    table: bytes | None


class Compiler:
    """One compilation. `weights` is shared by the plans of a model: packed weights go in once."""

    def __init__(
        self,
        graph: Graph,
        handlers: Mapping[str, Handler],
        shapes: Mapping[str, Dims],
        weights: Blob,
        machine: Machine,
    ) -> None:
        self.graph = graph
        self.handlers = handlers
        self.emitter = Emitter(weights, machine)
        self.flipped = machine.flipped
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
            planning.check()
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
        args: list[object] = [self.values[name] if name else None for name in node.inputs]
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
        handler = self.handlers.get(node.op)
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
        swap: dict[int, Expr] = {
            id(leaf): Leaf(self.floats(leaf)) for leaf in below if isinstance(leaf, (Acc, Join, Moved))
        }
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
        """Ends an int8 product in `out` itself; returns False where `expr` does more to it than a product can end
        with."""
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
            if isinstance(expr, Leaf) and self.emitter.planes(expr.view, out):
                return
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
        if isinstance(value, Leaf) and self._becomes(value.view, out):
            pass
        elif isinstance(value, View):
            self.emitter.copy(value, out, bytes((v + 128) & 255 for v in range(256)) if dtype == "int8" else None)
        else:
            self.store(value, out)
        self.outputs.append((name, out))

    def _becomes(self, view: View, out: View) -> bool:
        """Has what is written to `view` written to the caller's `out` instead, where nothing reads it: readers may
        read past a tensor's end, and only the arena has room there."""
        buffer = view.buffer
        packed = all(d == 1 or a == b for d, a, b in zip(view.dims, view.strides, out.strides, strict=True))
        alike = packed and (view.dtype, view.offset, view.up) == (out.dtype, 0, (1, 1))
        whole = buffer.region == ARENA and buffer.size == out.buffer.size + SLACK and not any(buffer.halo)
        if not alike or not whole or view.quant is not None or any(buffer in op.reads for op in self.emitter.ops):
            return False
        buffer.region, buffer.offset = out.buffer.region, out.buffer.offset
        return True

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


# how many inputs an op cannot do without, where it is not one
REQUIRED = {"Constant": 0, "BatchNormalization": 5, "Range": 3, "Where": 3} | dict.fromkeys(
    (
        *("Add", "Conv", "ConvTranspose", "DequantizeLinear", "Div", "Equal", "Expand", "Gather", "Gemm"),
        *("LayerNormalization", "MatMul", "Mul", "Pow", "PRelu", "QuantizeLinear", "Reshape", "Sub"),
    ),
    2,
)
