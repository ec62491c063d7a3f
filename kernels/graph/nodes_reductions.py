"""ONNX nodes that sum, average or compare over axes: pools, means, softmax, layer norm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels.graph import constants
from kernels.graph.compiler import Compiler
from kernels.graph.constants import axis_of, integer, integers
from kernels.graph.emit import Ref, reference, single_operand, table_of
from kernels.graph.errors import UnsupportedModelError
from kernels.graph.expressions import (
    F32,
    Expr,
    Leaf,
    Literal,
    number,
)
from kernels.graph.nodes_layout import constant_args
from kernels.graph.nodes_quantised import u8_operand, window_of
from kernels.graph.onnx_reader import Node
from kernels.graph.products import (
    NO_HALO,
    image,
    rows_of,
)
from kernels.graph.views import (
    Quant,
    View,
    count,
    reshape,
    row_major,
    transpose,
)

POOL_MEAN, POOL_MAX = range(2)


SOFTMAX, LAYER_NORM, ROW_MEAN, ROW_SUM, ROW_MAX = range(5)


def on_global_mean(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    if len(expr.dims) != 4 or 0 in expr.dims:
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}) of shape {list(expr.dims)}")
    c.values[node.outputs[0]] = Leaf(image_mean(c, expr))


def image_mean(c: Compiler, expr: Expr) -> View:
    """Returns the mean of each channel (n, c, 1, 1) as f32."""
    n, channels, h, w = expr.dims
    out = c.emitter.new((n, channels, 1, 1), "f32")
    view, table = u8_operand(expr), None
    if view is None:  # a function of one u8 tensor: its 256 values, summed without ever being written
        view = single_operand(expr)
        table = table_of(expr, view, None) if view is not None else None
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
    band = max(1, min(h, (40_000 if table is None else 10_000) // max(1, w * channels)))
    bands = -(-h // band)
    c.emitter.add("mean", count(expr.dims) * (0.06 if table is None else 0.4) + n * 200, n * bands, [ready.buffer],
                  [sums.buffer, out.buffer],
                  x=reference(ready), x_image=ready.strides[0], x_row=ready.strides[2], height=h, width=w, c=channels,
                  in_scale=float(view.quant.scale), in_zero=view.quant.zero, sums=reference(sums), out=reference(out),
                  table=Ref(c.emitter.constants.put(table)) if table is not None else -1, bands=bands, band_rows=band,
                  images=n)  # fmt: skip
    return out


def on_pool(c: Compiler, node: Node, args: list[object]) -> None:
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
    if any(p >= k for p, k in zip(window.pads, kernel * 2, strict=False)):
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
    c.emitter.add("pool", count(out.dims) * kernel[0] * kernel[1] * 0.3, images * lines * px, [ready.buffer],
                  [out.buffer],
                  x=reference(ready),
                  x_image=ready.strides[0] * item_in, x_row=ready.strides[2] * item_in, x_px=ready.strides[3] * item_in,
                  height=view.dims[2], width=view.dims[3], kind=POOL_MAX if is_max else POOL_MEAN,
                  in_float=int(view.dtype == "f32"),
                  in_scale=float(quant.scale), in_zero=quant.zero, kh=kernel[0], kw=kernel[1],
                  stride_y=window.stride[0],
                  stride_x=window.stride[1], pad_y=window.pads[0], pad_x=window.pads[1],
                  count_pad=integer(node, "count_include_pad", 0), out=reference(out),
                  out_image=out.strides[0] * item_out,
                  out_line=out.strides[2] * item_out, out_px=out.strides[3] * item_out,
                  out_float=int(out.dtype == "f32"),
                  out_scale=float(quant.scale), out_zero=quant.zero, images=images, lines=lines, line_px=px,
                  c=channels)  # fmt: skip
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
    c.emitter.add("rows", rows * row * (1.2 if kind <= LAYER_NORM else 0.3), -(-rows // unit), [x.buffer],
                  [out.buffer], x=reference(x),
                  out=reference(out), rows=rows, row=row, x_stride=row, out_stride=row if kind <= LAYER_NORM else 1,
                  w=reference(c.emitter.constant(w)) if w is not None else -1,
                  b=reference(c.emitter.constant(b)) if b is not None else -1,
                  epsilon=float(np.float32(epsilon)), kind=kind, unit_rows=unit)  # fmt: skip


def _packed_rows(c: Compiler, expr: Expr) -> View:
    view = c.floats(expr)
    if view.strides == row_major(view.dims) or all(
        s == p or d == 1 for s, p, d in zip(view.strides, row_major(view.dims), view.dims, strict=False)
    ):
        return rows_of(c.emitter, view)
    out = c.emitter.new(view.dims, "f32")
    c.emitter.copy(view, out)
    return out


def on_softmax(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    rank = len(expr.dims)
    axis = axis_of(node, integer(node, "axis", -1 if c.graph.opset >= 13 else 1), rank)
    if c.graph.opset < 13 and axis != rank - 1 and count(expr.dims[axis + 1 :]) != 1:
        raise UnsupportedModelError(f"node {node.label!r} (Softmax) before opset 13 over several axes")
    last = rank - 1
    perm = (*tuple(i for i in range(rank) if i != axis), axis)
    if axis != last:
        moved = c.move(expr, node, lambda v: transpose(v, perm))
        expr = c.expr(moved, node)
    x = _packed_rows(c, expr)
    out = c.emitter.new(x.dims, "f32")
    _rows_op(c, x, out, SOFTMAX)
    back = tuple(perm.index(i) for i in range(rank))
    c.values[node.outputs[0]] = c.move(Leaf(out), node, lambda v: transpose(v, back)) if axis != last else Leaf(out)


def on_layer_norm(c: Compiler, node: Node, args: list[object]) -> None:
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
    assert seen is not None
    assert target is not None
    vectors = [w.value.reshape(-1) if isinstance(w, Literal) else None for w in weights] + [None, None]
    _rows_op(c, seen, target, LAYER_NORM, vectors[0], vectors[1], number(node, "epsilon", 1e-5))
    c.values[node.outputs[0]] = Leaf(out)


def on_reduce(c: Compiler, node: Node, args: list[object]) -> None:
    expr = c.expr(args[0], node)
    rank = len(expr.dims)
    axes = constants.axes_of(node, constant_args(args), rank)
    axes = tuple(range(rank)) if axes is None else tuple(sorted(set(axes)))
    keep = integer(node, "keepdims", 1)
    wanted = tuple(1 if i in axes else d for i, d in enumerate(expr.dims) if keep or i not in axes)
    if node.op == "ReduceMean" and rank == 4 and axes == (2, 3) and 0 not in expr.dims:
        c.values[node.outputs[0]] = c.move(Leaf(image_mean(c, expr)), node, lambda v: reshape(v, wanted))
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
