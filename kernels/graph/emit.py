"""Collects the ops of one plan: tensors become buffers, constants a blob, views the integers that the kernels read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kernels.graph import _graph
from kernels.graph.errors import UnsupportedModelError
from kernels.graph.expressions import F32, Call, Expr, Leaf, Literal, is_scalar_chain, leaves
from kernels.graph.onnx_reader import Array
from kernels.graph.views import ITEM_BYTES, Buffer, Dims, Quant, View, broadcast, count, memory_order, ordered, split_up

ARENA, WEIGHTS, CONSTANTS, CALLER = 0, 1, 2, 3  # regions; the caller's inputs and outputs follow
ALIGN = 64
SLACK = 128  # vectors may read this far past the end of a buffer
TILE_SLACK = 1024  # and tiles this far past packed weights
CHUNK = 4096  # elements of an element-wise unit
CONV_UNIT_NS = 8000
POLL_SHARE_NS = 20_000
FLAT, SCALAR, PERIODIC, REPEAT = range(4)  # enum ih_leaf_mode
LEAF = struct.Struct("<10qfi")  # ih_ewise_leaf
MAX_BUFFER = 1 << 31
TABLE_CALLS = 3  # instructions that cost more than looking their result up


@dataclass(frozen=True)
class Machine:
    """What a plan has to know of the instruction set that it is made for."""

    macs_per_ns: float
    tile_px: int = 24
    flipped: bool = False
    """The kernels read activations as s8."""


@dataclass(frozen=True, eq=False)
class Ref:
    """A place in a buffer, in bytes."""

    buffer: Buffer
    at: int = 0


@dataclass
class Op:
    kind: str
    params: dict[str, int | float | Ref]
    reads: list[Buffer]
    writes: list[Buffer]
    # What the clean-up passes may fold into another op
    source: View | None = None
    target: View | None = None
    table: bytes | None = None
    # The element-wise machine's leaves; their places are written into the table once the arena is planned
    leaf_table: Buffer | None = None
    leaves: list[Ref] = field(default_factory=list)


@dataclass
class Blob:
    """Constants of one region, each stored once, aligned. `start`: bytes before `data` that are kept elsewhere."""

    region: int
    data: bytearray = field(default_factory=bytearray)
    known: dict[str | bytes, Buffer] = field(default_factory=dict)
    start: int = 0

    @property
    def size(self) -> int:
        return self.start + len(self.data)

    def put(self, content: bytes, key: str | None = None) -> Buffer:
        """Returns where `content` lies; `key` names it where hashing the content itself would cost too much."""
        name = content if key is None else key
        found = self.known.get(name)
        if found is None:
            self.data.extend(bytes(-self.size % ALIGN))
            found = Buffer(self.region, len(content), self.size)
            self.data.extend(content)
            self.known[name] = found
        return found


def reference(view: View) -> Ref:
    return Ref(view.buffer, view.offset * ITEM_BYTES[view.dtype])


def fits_int32(bound: float) -> bool:
    return bound < 2**31


class Emitter:
    """The ops of one plan, in order."""

    def __init__(self, weights: Blob, machine: Machine) -> None:
        self.ops: list[Op] = []
        self.weights = weights
        self.constants = Blob(CONSTANTS)
        self.machine = machine

    # tensors

    def new(self, dims: Dims, dtype: str, order: tuple[int, ...] | None = None, quant: Quant | None = None,
            halo: tuple[int, int, int, int] = (0, 0, 0, 0)) -> View:  # fmt: skip
        """Returns a new arena tensor. `halo` (top, left, bottom, right) asks for a border of zero points around an
        image, which is then NHWC."""
        if order is None:
            order = tuple(range(len(dims)))
        top, left, bottom, right = halo
        strides, offset, elements = ordered(dims, order), 0, count(dims)
        if any(halo):
            n, c, h, w = dims
            pitch = (left + w + right) * c
            strides, offset = ((top + h + bottom) * pitch, 1, pitch, c), top * pitch + left * c
            elements = n * strides[0]
        size = elements * ITEM_BYTES[dtype]
        if size > MAX_BUFFER:
            raise UnsupportedModelError(
                f"a tensor of shape {list(dims)} needs {size} bytes; at most {MAX_BUFFER} are taken"
            )
        buffer = Buffer(ARENA, size + SLACK, halo=halo, interior=(dims[2], dims[3]) if any(halo) else (0, 0))
        view = View(buffer, dims, strides, dtype, offset, quant)
        if any(halo) and elements:
            n, c, h, w = dims
            item = ITEM_BYTES[dtype]  # the kernel counts bytes
            self.add("halo", 1.0 * n * (2 * (top + bottom) * strides[2] * item // 64 + 8 * h), n, [], [view.buffer],
                     out=reference(view), images=n, image=strides[0] * item, height=h, width=w, px=c * item, top=top,
                     bottom=bottom, left=left, right=right, value=quant.zero if quant else 0)  # fmt: skip
        return view

    def constant(self, array: Array, dtype: str = "f32") -> View:
        packed = np.ascontiguousarray(array)
        buffer = self.constants.put(packed.tobytes())
        return View(buffer, packed.shape, ordered(packed.shape, tuple(range(packed.ndim))), dtype)

    # ops

    def add(self, kind: str, total_ns: float, units: int, reads: Iterable[Buffer], writes: Iterable[Buffer], /,
            **params: int | float | Ref) -> Op:  # fmt: skip
        unit_ns = max(1, int(total_ns / max(1, units)))
        op = Op(kind, {"units": units, "unit_ns": unit_ns, **params}, list(reads), list(writes))
        self.ops.append(op)
        return op

    def copy(self, x: View, out: View, table: bytes | None = None) -> None:
        """Copies `x` to `out` (same dims), through `table` (256 entries of out's type) when there is one."""
        up = x.up
        a, b = (split_up(x, up), split_up(out, up)) if up != (1, 1) else (x, out)
        axes = [(d, sa, sb) for d, sa, sb in zip(a.dims, a.strides, b.strides, strict=False) if d != 1] or [(1, 1, 1)]
        axes.sort(key=lambda axis: (-axis[2], -axis[1]))
        merged: list[tuple[int, int, int]] = []
        for d, sa, sb in axes:
            if merged and merged[-1][1] == sa * d and merged[-1][2] == sb * d:
                merged[-1] = (merged[-1][0] * d, sa, sb)
            else:
                merged.append((d, sa, sb))
        # the row: contiguous on both sides, else the longest that is contiguous on one
        row = max(
            merged,
            key=lambda m: ((m[1] == 1) + (m[2] == 1) >= 2 and m[0] >= 8, (m[1] == 1 or m[2] == 1) and m[0] >= 8, m[0]),
        )
        outer = [m for m in merged if m is not row]
        if len(outer) > 5:
            raise UnsupportedModelError(f"a copy over {len(merged)} axes that do not merge")
        outer = [(1, 0, 0)] * (5 - len(outer)) + outer
        chunk = min(row[0], CHUNK * 4)
        chunks = -(-row[0] // chunk)
        rows = count(tuple(m[0] for m in outer))
        names = ("0", "1", "2", "3", "4")
        dims = {f"d{k}": m[0] for k, m in zip(names, outer, strict=False)}
        ins = {f"s{k}": m[1] for k, m in zip(names, outer, strict=False)}
        outs = {f"o{k}": m[2] for k, m in zip(names, outer, strict=False)}
        lut = Ref(self.constants.put(table)) if table is not None else -1
        per_element = 0.05 if row[1] == 1 and row[2] == 1 and table is None else 0.5
        op = self.add("copy", rows * (3 + row[0] * per_element), rows * chunks, [x.buffer], [out.buffer],
                      x=reference(x),
                      out=reference(out), size=ITEM_BYTES[x.dtype], lut=lut, lut_size=ITEM_BYTES[out.dtype],
                      **dims, row=row[0], **ins, s_row=row[1], **outs, o_row=row[2], chunk=chunk,
                      chunks=chunks)  # fmt: skip
        op.source, op.target, op.table = x, out, table

    def planes(self, x: View, out: View) -> bool:
        """Quantises f32 planes (n, c, h, w) straight into u8 pixels; returns False where they do not lie so."""
        if x.dtype != "f32" or out.dtype != "u8" or len(x.dims) != 4 or x.up != (1, 1) or out.up != (1, 1):
            return False
        n, c, h, w = x.dims
        if not 2 <= c <= 4 or x.strides[3] != 1 or (out.strides[1], out.strides[3]) != (1, c):
            return False
        assert out.quant is not None
        self.add("planes", 0.4 * count(x.dims), n * h, [x.buffer], [out.buffer], x=reference(x), x_image=x.strides[0],
                 x_plane=x.strides[1], x_line=x.strides[2], images=n, c=c, lines=h, width=w, out=reference(out),
                 out_image=out.strides[0], out_line=out.strides[2], out_scale=float(out.quant.scale),
                 out_zero=out.quant.zero)  # fmt: skip
        return True

    def ewise(self, expr: Expr, out: View) -> None:
        """Evaluates `expr`, whose leaves are in memory, into `out`."""
        program = Program(self)
        program.tabled = table_chains(expr)
        result = program.build(expr)
        views = [broadcast(view, out.dims) for view in program.views]
        ups = {view.up for view in views if view.up != (1, 1)}
        if len(ups) > 1:
            raise UnsupportedModelError("enlargements by different factors meet in one expression")
        target = out
        if ups:
            up = ups.pop()
            views, target = [split_up(view, up) for view in views], split_up(out, up)
        extents, modes, strides, (segment, segment_step) = collapse(target, views)
        spreads = iter(range(sum(mode == PERIODIC for mode, _, _ in modes)))
        if sum(mode == PERIODIC for mode, _, _ in modes) > _graph.EWISE_SPREADS:
            raise UnsupportedModelError(
                f"an element-wise expression with more than {_graph.EWISE_SPREADS} repeated operands"
            )
        *outer, row = extents
        chunk = min(row, CHUNK)
        chunks = -(-row // chunk)
        rows = count(tuple(outer))
        table = b"".join(
            LEAF.pack(i, *steps, mode, period, times, *self._load(view, table),
                      next(spreads) if mode == PERIODIC else 0)
            for i, (view, table, steps, (mode, period, times)) in enumerate(
                zip(views, program.tables, strides[1:], modes, strict=True)
            )
        )  # fmt: skip
        leaf_table = Ref(self.constants.put(table, key=f"leaves of op {len(self.ops)}"))
        code = Ref(self.constants.put(program.code()))
        quant = out.quant or Quant(1.0, 0)
        op = self.add("ewise",
                      count(out.dims) * (0.15 * len(program.instructions) + 0.2 * len(views) + 0.3) + rows * 30,
                      rows * chunks, [view.buffer for view in views], [out.buffer], program=code,
                      instructions=len(program.instructions), leaves=len(views), leaf_table=leaf_table,
                      d0=outer[0], d1=outer[1], d2=outer[2], d3=outer[3], row=row, out=reference(out), o0=strides[0][0],
                      o1=strides[0][1], o2=strides[0][2], o3=strides[0][3], result=result,
                      out_kind=int(out.dtype == "u8"),
                      out_scale=float(quant.scale), out_zero=quant.zero, chunk=chunk, chunks=chunks, segment=segment,
                      segment_step=segment_step)  # fmt: skip
        op.leaf_table = leaf_table.buffer
        op.leaves = [reference(view) for view in views]

    def _load(self, view: View, table: bytes | None) -> tuple[int, int, float]:
        """Returns is_u8, zero and scale of a leaf: how its bytes become floats, if it holds bytes."""
        if table is not None:
            buffer = self.constants.put(table)
            return 2, buffer.region << 56 | buffer.offset, 1.0
        quant = view.quant or Quant(1.0, 0)
        return int(view.dtype == "u8"), quant.zero, quant.scale


class Program:
    """The instructions of an expression; leaves and literals come first, one register each, results are given
    registers that
    are free again."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.views: list[View] = []
        self.tables: list[bytes | None] = []  # of each view: what its bytes are loaded through
        self.tabled: dict[int, View] = {}  # calls that are a table of this tensor, by id
        self.instructions: list[tuple[int, int, int, int]] = []

    def build(self, expr: Expr) -> int:
        """Returns the register that holds the result."""
        order: list[Expr] = []
        uses: dict[int, int] = {}
        self._sort(expr, order, uses)
        register: dict[int, int] = {}
        for node in order:
            if self._is_computed(node):
                continue
            self.tables.append(table_of(node, self.tabled[id(node)], None) if id(node) in self.tabled else None)
            register[id(node)] = len(self.views)
            self.views.append(self._view(node))
        free: list[int] = []
        top = len(self.views)
        for node in order:
            if not self._is_computed(node):
                continue
            assert isinstance(node, Call)
            operands = [register[id(arg)] for arg in node.args]
            if free:  # before the operands are freed: a result never shares a register with them
                to = free.pop()
            else:
                to, top = top, top + 1
            for arg in dict.fromkeys(id(a) for a in node.args):
                uses[arg] -= 1
                if not uses[arg] and register[arg] >= len(self.views):
                    free.append(register[arg])
            if top > _graph.EWISE_REGS:
                raise UnsupportedModelError(f"an element-wise expression needs more than {_graph.EWISE_REGS} registers")
            self.instructions.append((_graph.EWISE_OPS[node.op], to, operands[0], operands[-1]))
            register[id(node)] = to
        return register[id(expr)]

    def _sort(self, expr: Expr, order: list[Expr], uses: dict[int, int]) -> None:
        todo: list[tuple[Expr, bool]] = [(expr, False)]
        done: set[int] = set()
        while todo:
            node, expanded = todo.pop()
            if id(node) in done:
                continue
            args = node.args if isinstance(node, Call) and self._is_computed(node) else ()
            if expanded or not args:
                done.add(id(node))
                order.append(node)
                for arg in dict.fromkeys(id(a) for a in args):
                    uses[arg] = uses.get(arg, 0) + 1
            else:
                todo.append((node, True))
                todo.extend((arg, False) for arg in reversed(args))

    def _is_computed(self, node: Expr) -> bool:
        return isinstance(node, Call) and node.stored is None and id(node) not in self.tabled

    def _view(self, node: Expr) -> View:
        if id(node) in self.tabled:
            return self.tabled[id(node)]
        if isinstance(node, Leaf):
            return node.view
        if isinstance(node, Literal):
            return self.emitter.constant(np.asarray(node.value, np.float32))
        stored = getattr(node, "stored", None)
        assert isinstance(stored, View)
        return stored

    def code(self) -> bytes:
        return struct.pack(f"<{4 * len(self.instructions)}h", *(v for i in self.instructions for v in i))


def collapse(out: View, views: Sequence[View]) -> tuple[list[int], list[Mode], list[list[int]], tuple[int, int]]:
    """Merges the axes of `out` and of `views` (broadcast to it) into four outer ones and a row.

    Returns the five extents, each view's Mode along the row, the outer strides of out and of each view, and
    (segment, step): the row of a u8 result lies in stretches of `segment` elements `step` apart, 0 if it is contiguous.
    """
    axes = [axis for axis in memory_order(out) if out.dims[axis] != 1]
    if axes and out.strides[axes[-1]] != 1:
        raise UnsupportedModelError("an element-wise result whose innermost axis is not contiguous")
    row, segment, step = 1, 0, 0
    modes = [(SCALAR, 1, 1)] * len(views)
    rest = list(axes)
    while rest:
        axis = rest[-1]
        d, stride = out.dims[axis], out.strides[axis]
        in_line = (stride == row and not segment) or (segment and stride == step * (row // segment))
        cut = row > 1 and not segment and not in_line and out.dtype == "u8" and stride > row
        if not in_line and not cut:
            break
        grown = [grow(mode, view.strides[axis], d, row) for mode, view in zip(modes, views, strict=False)]
        if any(mode is None for mode in grown):
            break
        if cut:
            segment, step = row, stride
        modes = [mode for mode in grown if mode is not None]
        row *= d
        rest.pop()
    if len(rest) > 4 or (axes and row == 1):
        raise UnsupportedModelError("an element-wise expression over axes in too many memory orders")
    extents = [1] * (4 - len(rest)) + [out.dims[axis] for axis in rest] + [row]
    strides = [[0] * (4 - len(rest)) + [v.strides[axis] for axis in rest] for v in (out, *views)]
    return extents, modes, strides, (segment, step)


Mode = tuple[int, int, int]  # how a leaf is read along a row: kind, period, how often each period is repeated (REPEAT)


def grow(mode: Mode, stride: int, dim: int, row: int) -> Mode | None:
    """Returns how a leaf is read when an axis is merged into its row of `row` elements, or None when it cannot be."""
    kind, period, times = mode
    if row == 1:
        return (FLAT, 1, 1) if stride == 1 else (SCALAR, 1, 1) if stride == 0 else None
    if kind == FLAT:
        return mode if stride == row else (PERIODIC, row, 1) if stride == 0 else None
    if kind == PERIODIC:
        return mode if stride == 0 else (REPEAT, period, row // period) if stride == period else None
    if kind == REPEAT:
        return mode if stride * times == row else None
    return mode if stride == 0 else None


def table_of(expr: Expr, view: View, out: Quant | None) -> bytes:
    """Returns the 256 results of `expr`, whose only operand is the u8 tensor `view`, as u8 by `out` or as float32."""
    assert view.quant is not None
    source = np.arange(256, dtype=np.uint8)
    program = Program(Emitter(Blob(WEIGHTS), Machine(1.0)))
    result = program.build(expr)
    constants = [None if leaf.dtype == "u8" else 0 for leaf in program.views]
    literals = literal_values(expr, program)
    leaves_in = [source if c is None else value for c, value in zip(constants, literals, strict=False)]
    quant = out or Quant(1.0, 0)
    return bytes(
        _graph.evaluate(program.code(), leaves_in, float(np.float32(view.quant.scale)), view.quant.zero, result,
                        out is not None,
                        float(np.float32(quant.scale)), quant.zero)
    )  # fmt: skip


def table_chains(expr: Expr) -> dict[int, View]:
    """Returns the calls below `expr` that are a function of one u8 tensor and take at least TABLE_CALLS instructions,
    the largest of them only: id -> tensor. Looking the result up is then less work than computing it."""
    order: list[Expr] = []
    Program(Emitter(Blob(WEIGHTS), Machine(1.0)))._sort(expr, order, {})
    chains: dict[int, tuple[View | None, int]] = {}  # of what is a chain: its tensor, if any, and how many calls
    for node in order:
        if isinstance(node, Leaf) and node.view.dtype == "u8" and node.view.quant is not None:
            chains[id(node)] = node.view, 0
        elif isinstance(node, Literal) and node.value.size == 1:
            chains[id(node)] = None, 0
        elif isinstance(node, Call) and node.stored is None and all(id(arg) in chains for arg in node.args):
            below = [chains[id(arg)] for arg in node.args]
            views = {id(view): view for view, _ in below if view is not None}
            if len(views) < 2:
                calls = min(TABLE_CALLS, 1 + sum(calls for _, calls in below))
                chains[id(node)] = next(iter(views.values()), None), calls
    found: dict[int, View] = {}
    inside: set[int] = set()
    for node in reversed(order):  # callers first
        view, calls = chains.get(id(node), (None, 0))
        if node is expr or view is None or calls < TABLE_CALLS or node.dims != view.dims:
            continue
        assert isinstance(node, Call)
        if id(node) not in inside:
            found[id(node)] = view
        inside.update(id(arg) for arg in node.args)
    return found


def literal_values(expr: Expr, program: Program) -> list[F32]:
    """Returns the value of each literal among the program's leaves, in their order (zeros for the others)."""
    order: list[Expr] = []
    program._sort(expr, order, {})
    found = [node for node in order if not (isinstance(node, Call) and node.stored is None)]
    return [np.asarray(node.value if isinstance(node, Literal) else 0.0, np.float32).reshape(-1) for node in found]


def single_operand(expr: Expr) -> View | None:
    """Returns the one u8 tensor that `expr` is a function of, element for element, or None."""
    below = leaves(expr)
    if len(below) != 1 or not isinstance(below[0], Leaf) or not is_scalar_chain(expr):
        return None
    view = below[0].view
    return view if view.dtype == "u8" and view.quant is not None and expr.dims == view.dims else None


def moved(view: View, **changes: object) -> View:
    return replace(view, **changes)  # type: ignore[arg-type]
