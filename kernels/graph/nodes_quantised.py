"""Quantisation, convolutions and products: ONNX nodes that end in int8 kernels, or in float ones where they are not
quantised."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

import numpy as np

from kernels.graph.compiler import Compiler, dims_of
from kernels.graph.constants import axis_of, integer, integers
from kernels.graph.errors import MalformedModelError, UnsupportedModelError
from kernels.graph.expressions import (
    F32,
    Acc,
    Leaf,
    Literal,
    QuantisedConstant,
    call,
    number,
)
from kernels.graph.onnx_reader import Node
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
)
from kernels.graph.views import (
    Quant,
    View,
    count,
    slice_axis,
    transpose,
)

FEW_PLANES = 8


def quant_of(node: Node, scale: object, zero: object) -> tuple[Quant, int]:
    """Returns the per-tensor quantisation of an activation, as u8, and what its integers were shifted by (128 for
    s8)."""
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


def on_quantize(c: Compiler, node: Node, args: list[object]) -> None:
    quant, _ = quant_of(node, args[1], args[2] if len(args) > 2 else None)
    expr = c.expr(args[0], node)
    if isinstance(expr, Literal):
        expr = Leaf(c.emitter.constant(expr.value))
    c.values[node.outputs[0]] = c.quantised(expr, quant, node.outputs[0])


def on_dequantize(c: Compiler, node: Node, args: list[object]) -> None:
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
    quant, _shift = quant_of(node, scale, zero)
    if x.quant is not None and x.quant.zero != quant.zero and any(x.buffer.halo):
        x = replace(x, buffer=x.buffer)
        x.buffer.halo = NO_HALO  # the border holds another zero point
    c.values[node.outputs[0]] = Leaf(replace(x, quant=quant))


def is_weight(value: object) -> TypeGuard[QuantisedConstant]:
    """Whether `value` is constant int8 weights."""
    return isinstance(value, QuantisedConstant) and value.values.dtype != np.int32


def u8_operand(value: object) -> View | None:
    """Returns the u8 tensor that `value` dequantises, or None."""
    if isinstance(value, Leaf) and value.view.dtype == "u8" and value.view.quant is not None:
        return value.view
    return None


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
            return bias.values.reshape(n).astype(np.int32, copy=False)
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
            max(0, (-(-s // st) - 1) * st + d * (k - 1) + 1 - s)
            for s, st, d, k in zip(size, stride, dilation, kernel, strict=False)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*less, *more) if auto == b"SAME_UPPER" else (*more, *less)
    elif auto not in (b"NOTSET", b"VALID", b""):
        raise UnsupportedModelError(f"node {node.label!r} ({node.op}): auto_pad {auto!r}")
    return Window(kernel, (stride[0], stride[1]), (dilation[0], dilation[1]), (pads[0], pads[1], pads[2], pads[3]))


def on_conv(c: Compiler, node: Node, args: list[object]) -> None:
    x, w, bias = args[0], args[1], args[2] if len(args) > 2 else None
    view = u8_operand(x)
    if view is None or not isinstance(w, QuantisedConstant) or w.values.dtype == np.int32:
        on_conv_float(c, node, args)
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


def _grouped(c: Compiler, x: View, w: QuantisedConstant, bias: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
             window: Window, out: View,
             float_bias: F32 | None, table: bytes | None, group: int) -> None:  # fmt: skip
    """A grouped convolution: one dense one a group, on slices of the channels."""
    n, per_group = w.values.shape[0] // group, w.values.shape[1]
    for g in range(group):
        part, target = slice_axis(x, 1, g * per_group, per_group, 1), slice_axis(out, 1, g * n, n, 1)
        assert part is not None
        assert target is not None
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


def on_conv_float(c: Compiler, node: Node, args: list[object]) -> None:
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
    floats = c.floats(x)
    oh, ow = window.out_size(x.dims[2], x.dims[3])
    planes = _makes_few_planes(floats, n // group, window)
    ready = floats if planes else image(c.emitter, floats, window.pads)
    out = c.emitter.new((x.dims[0], n, oh, ow), "f32", (0, 1, 2, 3) if planes else (0, 2, 3, 1))
    for g in range(group):
        part, target = (
            slice_axis(ready, 1, g * per_group, per_group, 1),
            slice_axis(out, 1, g * (n // group), n // group, 1),
        )
        assert part is not None
        assert target is not None
        rows = slice(g * (n // group), (g + 1) * (n // group))
        conv_f32(c.emitter, part, weights[rows], bias.reshape(-1)[rows] if bias is not None else None, window, target)
    c.values[node.outputs[0]] = Leaf(out)


def _makes_few_planes(x: View, n: int, window: Window) -> bool:
    """Whether a float convolution looks at one pixel and makes few planes of others: they are not turned first."""
    plain = window.kernel == (1, 1) and window.stride == (1, 1) and not any(window.pads)
    return plain and 1 < n <= FEW_PLANES and x.up == (1, 1) and x.strides[3] == 1 and x.dims[1] > 1


def on_conv_transpose(c: Compiler, node: Node, args: list[object]) -> None:
    """A transposed convolution whose windows do not overlap: one 1x1 convolution for each tap, each to its own
    pixels."""
    x, w, bias = args[0], args[1], args[2] if len(args) > 2 else None
    weights = w.values if isinstance(w, QuantisedConstant) else w
    is_known = isinstance(w, QuantisedConstant) or (isinstance(w, np.ndarray) and w.dtype == np.float32)
    if not isinstance(weights, np.ndarray) or not is_known or weights.ndim != 4 or len(dims_of(x)) != 4:
        raise UnsupportedModelError(
            f"node {node.label!r} (ConvTranspose): two-dimensional int8 or float32 with constant weights is taken"
        )
    c_in, n, kh, kw = weights.shape
    stride, pads = integers(node, "strides", (1, 1)), integers(node, "pads", (0, 0, 0, 0))
    plain = integer(node, "group", 1) == 1 and not any(pads) and not any(integers(node, "output_padding", (0, 0)))
    if (
        stride != (kh, kw)
        or not plain
        or c_in != dims_of(x)[1]
        or 0 in weights.shape
        or node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    ):
        raise UnsupportedModelError(
            f"node {node.label!r} (ConvTranspose): strides equal to the kernel, no padding, one group are taken"
        )
    if "output_shape" in node.attributes or kh * kw > 64:
        raise UnsupportedModelError(
            f"node {node.label!r} (ConvTranspose): an output_shape, or a kernel of over 64 taps"
        )
    view = u8_operand(x)
    if view is None or not isinstance(w, QuantisedConstant) or (w.scale.size > 1 and w.axis != 1):
        # floats, or scaled by input channel (a quantiser's default axis): not integers with one scale a result
        floats = w.floats if isinstance(w, QuantisedConstant) else weights
        _conv_transpose_float(c, node, c.floats(c.expr(x, node)), floats, bias)
        return
    scale = np.broadcast_to(np.float32(view.quant.scale if view.quant else 1) * w.scale, (n,))
    int_bias = bias_of(node, bias, scale, n)
    dims = (view.dims[0], n, view.dims[2] * kh, view.dims[3] * kw)
    source = view

    def emit(out: View, float_bias: F32 | None, table: bytes | None) -> None:
        ready = image(c.emitter, source, NO_HALO)
        # a row of taps writes neighbouring pixels: where these are packed, its columns are just more channels
        columns = (kw,) if out.strides[3] == n else (1,) * kw
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


def _conv_transpose_float(c: Compiler, node: Node, view: View, weights: F32, bias: object) -> None:
    c_in, n, kh, kw = weights.shape
    floats = bias.floats if isinstance(bias, QuantisedConstant) else bias
    if floats is not None and (not isinstance(floats, np.ndarray) or floats.size != n):
        raise MalformedModelError(f"node {node.label!r} (ConvTranspose): its bias is not a constant of {n} values")
    ready = image(c.emitter, view, NO_HALO)
    out = c.emitter.new((view.dims[0], n, view.dims[2] * kh, view.dims[3] * kw), "f32", (0, 2, 3, 1))
    for j in range(kh):
        for i in range(kw):
            rows = slice_axis(out, 2, j, view.dims[2], kh)
            part = slice_axis(rows, 3, i, view.dims[3], kw) if rows is not None else None
            assert part is not None
            tap = weights[:, :, j, i].T.reshape(n, c_in, 1, 1)
            conv_f32(c.emitter, ready, tap, floats.reshape(-1) if floats is not None else None, Window((1, 1)), part)
    c.values[node.outputs[0]] = Leaf(out)


def on_matmul(c: Compiler, node: Node, args: list[object]) -> None:
    a, b = args[0], args[1]
    dims_a, dims_b = dims_of(a), dims_of(b)
    if len(dims_a) < 2 or len(dims_b) < 2 or dims_a[-1] != dims_b[-2] or 0 in dims_a or 0 in dims_b:
        raise UnsupportedModelError(f"node {node.label!r} (MatMul) of shapes {list(dims_a)} and {list(dims_b)}")
    _product(c, node, a, b, None)


def on_gemm(c: Compiler, node: Node, args: list[object]) -> None:
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
        dims = (*tuple(np.broadcast_shapes(dims_a[:-2], dims_b[:-2])), dims_a[-2], n)
    except ValueError as error:
        raise MalformedModelError(
            f"node {node.label!r} ({node.op}) of shapes {list(dims_a)} and {list(dims_b)}"
        ) from error
    if (
        view is not None
        and is_weight(b)
        and count(dims_b[:-2]) == 1
        and (b.scale.size == 1 or b.axis == len(dims_b) - 1)
    ):
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
