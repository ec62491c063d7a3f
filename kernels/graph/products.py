"""Emits convolutions and matrix products, int8 and float: from views to the strides and chunks that the kernels
read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.graph.emit import CALLER, CONV_UNIT_NS, TILE_SLACK, Emitter, Ref, fits_int32, reference
from kernels.graph.errors import UnsupportedModelError
from kernels.graph.expressions import F32, QuantisedConstant
from kernels.graph.pack import LANES, column_fold, depthwise_columns, pack_dense, pack_depthwise, row_pair
from kernels.graph.views import Buffer, Dims, View, count

Int32 = npt.NDArray[np.int32]
NO_HALO = (0, 0, 0, 0)
VECTOR_MACS_PER_NS = 150.0  # at most, where tiles do not help: depthwise, and products of few inputs
FEW_INPUTS = 48
RIGID_TILE = 32  # pixels of two AMX tiles, which cannot be made smaller


@dataclass(frozen=True)
class Window:
    """How a kernel moves over an image: (y, x) each; pads are top, left, bottom, right."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = NO_HALO

    def out_size(self, h: int, w: int) -> tuple[int, int]:
        top, left, bottom, right = self.pads
        sizes = []
        for size, pad, k, s, d in zip(
            (h, w), (top + bottom, left + right), self.kernel, self.stride, self.dilation, strict=False
        ):
            span = d * (k - 1) + 1
            if size + pad < span:
                raise UnsupportedModelError(f"a window of {span} over {size} + {pad} padding")
            sizes.append((size + pad - span) // s + 1)
        return sizes[0], sizes[1]


def image(emitter: Emitter, view: View, halo: tuple[int, int, int, int]) -> View:
    """Returns `view` (N, C, H, W) in arena memory as NHWC with at least that border of zero points around it."""
    n, c, h, w = view.dims
    _sn, sc, _sh, _sw = view.strides
    packed = view.up == (1, 1) and (sc == 1 or c == 1) and view.buffer.region < CALLER
    if packed and halo == NO_HALO:
        return view
    bordered = view.buffer.interior == (h, w) and all(
        have >= want for have, want in zip(view.buffer.halo, halo, strict=False)
    )
    if packed and bordered:
        return view
    out = emitter.new((n, c, h, w), view.dtype, (0, 2, 3, 1), view.quant, halo)
    emitter.copy(view, out)
    return out


def weight_zero(w: QuantisedConstant) -> int:
    zero = np.unique(w.zero)
    if zero.size != 1:
        raise UnsupportedModelError(f"weights {w.key!r} have a zero point for each channel; one for all is taken")
    return int(zero[0])


def signed_weights(w: QuantisedConstant) -> tuple[npt.NDArray[np.int8], int]:
    """Returns weights as s8 and their zero point; u8 ones are shifted by 128, which is exact."""
    zero = weight_zero(w)
    if w.values.dtype == np.uint8:
        return (w.values.astype(np.int16) - 128).astype(np.int8), zero - 128
    if w.values.dtype != np.int8:
        raise UnsupportedModelError(f"weights {w.key!r} are {w.values.dtype}; int8 and uint8 are taken")
    return w.values.astype(np.int8, copy=False), zero


@dataclass(frozen=True)
class Requantise:
    """The end of an int8 product for all its channels: acc + bias, times scale."""

    bias: Int32
    scale: F32  # x's scale * w's scales: real = acc * scale


def requantisation(x: View, w: npt.NDArray[np.int8], w_zero: int, scale: F32, bias: Int32, flipped: bool) -> Requantise:
    """Folds the zero point of `x` into the bias. `w` is (n, k)."""
    assert x.quant is not None
    sums = w.sum(axis=1, dtype=np.int64)
    magnitudes = np.abs(w).view(np.uint8).sum(axis=1, dtype=np.int64)  # as u8 also of -128
    zero = x.quant.zero
    folded = bias.astype(np.int64) - zero * (sums - w.shape[1] * w_zero)
    # |acc| <= 255 * (sum |w| + k |w_zero|) whatever the input: it must stay an int32
    bound = np.abs(folded) + 255 * (magnitudes + w.shape[1] * abs(w_zero)) + 128 * np.abs(sums)
    if bound.size and not fits_int32(float(bound.max())):
        raise UnsupportedModelError("a product whose int32 sums could overflow")
    if flipped:  # kernels that read activations as s8 see x - 128
        folded = folded + 128 * sums
    return Requantise(folded.astype(np.int32), scale.astype(np.float32))


def end_params(emitter: Emitter, end: Requantise, out: View, float_bias: F32 | None, table: bytes | None,
               x_scale: float,
               w_scale: F32) -> dict[str, int | float | Ref]:  # fmt: skip
    """Returns the parameters of the end of a product: what becomes of the accumulators."""
    constants = emitter.constants
    if out.quant is not None:
        # onnxruntime: (x_scale * w_scale) / y_scale, in float32
        scale = (np.float32(x_scale) * w_scale.astype(np.float32)) / np.float32(out.quant.scale)
    else:
        scale = end.scale
    if scale.size and not np.all(np.isfinite(scale)):
        raise UnsupportedModelError("a product whose scales do not divide to a finite number")
    if scale.size and float(np.abs(scale).max()) * 2.0**31 > 2.0**62:
        raise UnsupportedModelError("a product whose scales are too far apart")
    return {
        "bias": Ref(constants.put(pad_lanes(end.bias).tobytes())),
        "scale": Ref(constants.put(pad_lanes(np.broadcast_to(scale, end.bias.shape)).tobytes())),
        "lut": Ref(constants.put(table)) if table is not None else -1,
        "float_bias": Ref(constants.put(pad_lanes(float_bias).tobytes())) if float_bias is not None else -1,
        "out_zero": out.quant.zero if out.quant else 0,
    }


def pad_lanes(vector: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Returns `vector` with zeros up to a multiple of 64 elements, which kernels read whole."""
    return np.concatenate([vector, np.zeros(-len(vector) % 64, vector.dtype)])


def conv(emitter: Emitter, x: View, w: QuantisedConstant, bias: Int32, window: Window, out: View,
         float_bias: F32 | None,
         table: bytes | None, flipped: bool) -> None:  # fmt: skip
    """Emits a dense int8 convolution. `x` (N, C, H, W) NHWC with its border; w.values (n, c, kh, kw); `out` NHWC u8
    or f32."""
    assert x.quant is not None
    values, zero = signed_weights(w)
    n, c, kh, kw = values.shape
    merged = window.dilation[1] == 1 and x.strides[3] == c
    ordered_w = values.transpose(0, 2, 3, 1)
    packed = _packed(emitter, f"{w.key} dense {int(merged)}", lambda: pack_dense(ordered_w, merged))
    scale = np.broadcast_to(np.float32(x.quant.scale) * w.scale, (n,))
    end = requantisation(x, values.reshape(n, -1), zero, scale, bias, flipped)
    sn, _, sh, sw = x.strides
    top, left, _, _ = window.pads
    start = reference(x)
    item = 4 if out.dtype == "f32" else 1
    images, _, h, width = out.dims
    lines, px = (h, width)
    x_line, x_px = sh * window.stride[0], sw * window.stride[1]
    out_image, out_line, out_px = (s * item for s in (out.strides[0], out.strides[2], out.strides[3]))
    if lines == 1 or (x_line == px * x_px and out_line == px * out_px):
        lines, px = 1, lines * px
        if images == 1 or (sn == px * x_px and out_image == px * out_px):
            images, px = 1, images * px
    _dense(emitter, [x.buffer], out, n, images, lines, px, {
        "x": Ref(start.buffer, start.at - top * sh - left * sw), "x_image": sn, "x_line": x_line, "x_px": x_px,
        "runs_y": kh, "run_y": window.dilation[0] * sh, "runs_x": 1 if merged else kw, "run_x": window.dilation[1] * sw,
        "run_bytes": kw * c if merged else c, "w": packed, "w_image": 0, "bias_image": 0, "w_zero": zero,
        "out": reference(out), "out_image": out_image, "out_line": out_line, "out_px": out_px,
        **end_params(emitter, end, out, float_bias, table, x.quant.scale, np.broadcast_to(w.scale, (n,))),
    })  # fmt: skip


def _dense(emitter: Emitter, reads: list[Buffer], out: View, n: int, images: int, lines: int, px: int,
           params: dict[str, int | float | Ref]) -> None:  # fmt: skip
    """Adds the op, cut into units of about CONV_UNIT_NS."""
    taps = int(params["runs_y"]) * int(params["runs_x"]) * -(-int(params["run_bytes"]) // 4) * 4  # type: ignore[arg-type]
    rate = emitter.machine.macs_per_ns
    rate = min(rate, VECTOR_MACS_PER_NS) if taps < FEW_INPUTS else rate
    px_ns = max(1.0, taps * (-(-n // 8) * 8) / rate + n * 0.08)
    n_chunk, tile, lanes = n, emitter.machine.tile_px, 48
    if tile == RIGID_TILE:
        lanes = 64
        tile = px if tile < px < tile + tile // 2 else tile  # what is left would be too few pixels for a tile
    chunk = max(1, int(CONV_UNIT_NS / px_ns))
    if chunk < tile and n > 96:  # rather fewer channels than few pixels: a tile of pixels shares each load of weights
        n_chunk = max(lanes, int(n * chunk / tile) // lanes * lanes)
        chunk = tile
    chunk = min(px, max(tile, chunk // tile * tile))
    if px > chunk:
        chunk = -(-px // -(-px // chunk))  # even chunks
        if px > 4 * tile:
            chunk = min(px, -(-chunk // tile) * tile)
        elif tile == RIGID_TILE:
            chunk = min(px, -(-chunk // (tile // 2)) * (tile // 2))
    line_chunks, n_chunks = -(-px // chunk), -(-n // n_chunk)
    emitter.add("conv", images * lines * px * px_ns, images * lines * line_chunks * n_chunks, reads, [out.buffer],
                **params,
                is_float=int(out.dtype == "f32"), images=images, lines=lines, line_px=px, n=n, chunk_px=chunk,
                line_chunks=line_chunks, n_chunk=n_chunk, n_chunks=n_chunks)  # fmt: skip


def depthwise(emitter: Emitter, x: View, w: QuantisedConstant, bias: Int32, window: Window, out: View,
    table: bytes | None) -> None:  # fmt: skip
    """Emits a depthwise int8 convolution. w.values (c, 1, kh, kw)."""
    assert x.quant is not None
    values, zero = signed_weights(w)
    if zero != 0:
        raise UnsupportedModelError(f"depthwise weights {w.key!r} have a zero point; 0 is taken")
    c, _, kh, kw = values.shape
    flat = values.reshape(c, kh, kw)
    scale = np.broadcast_to(np.float32(x.quant.scale) * w.scale, (c,))
    end = requantisation(x, values.reshape(c, -1), 0, scale, bias, False)  # no depthwise kernel flips
    start = reference(x)
    sn, _, sh, sw = x.strides
    top, left, _, _ = window.pads
    images, _, lines, px = out.dims
    pair = row_pair(kh, window.stride[0], window.dilation[0])
    fold = column_fold(c, window.stride[1], sw == c and out.strides[3] == c)
    px_ns = 2 * c * (kh * kw / min(emitter.machine.macs_per_ns, VECTOR_MACS_PER_NS) * 5 + 0.02)  # of two lines
    chunk = px if fold > 1 else min(px, max(1, int(CONV_UNIT_NS / px_ns)))
    chunk = chunk // 2 * 2 or 1 if chunk < px else px
    chunks = -(-px // chunk)
    emitter.add(
        "depthwise",
        images * -(-lines // 2) * px * px_ns,
        images * -(-lines // 2) * chunks,
        [x.buffer],
        [out.buffer],
        x=Ref(start.buffer, start.at - top * sh - left * sw),
        x_image=sn,
        x_row=sh,
        x_px=sw,
        kh=kh,
        kw=kw,
        stride_y=window.stride[0],
        stride_x=window.stride[1],
        dilation_y=window.dilation[0],
        dilation_x=window.dilation[1],
        w=_packed(emitter, f"{w.key} depthwise", lambda: pack_depthwise(flat)),
        w_packed=_packed(emitter, f"{w.key} columns {pair} {fold}", lambda: depthwise_columns(flat, pair, fold)),
        pair=pair,
        fold=fold,
        out=reference(out),
        out_image=out.strides[0],
        out_line=out.strides[2],
        out_px=out.strides[3],
        images=images,
        lines=lines,
        line_px=px,
        c=c,
        chunk_px=chunk,
        line_chunks=chunks,
        **without(
            end_params(emitter, end, out, None, table, x.quant.scale, np.broadcast_to(w.scale, (c,))), "float_bias"
        ),
    )


def _packed(emitter: Emitter, name: str, pack: Callable[[], bytes]) -> Ref:
    """Returns the packed weights `name`, packed now unless they are there already."""
    return Ref(emitter.weights.known.get(name) or emitter.weights.put(pack(), name))


def without(params: dict[str, int | float | Ref], name: str) -> dict[str, int | float | Ref]:
    return {key: value for key, value in params.items() if key != name}


def rows_of(emitter: Emitter, view: View) -> View:
    """Returns `view` (..., m, k) in arena memory with k contiguous, copied if it has to be."""
    if view.up == (1, 1) and view.strides[-1] == 1 and view.buffer.region < CALLER:
        return view
    out = emitter.new(view.dims, view.dtype, quant=view.quant)
    emitter.copy(view, out)
    return out


def product(emitter: Emitter, a: View, w: QuantisedConstant, bias: Int32, out: View, float_bias: F32 | None,
            table: bytes | None, flipped: bool) -> None:  # fmt: skip
    """Emits a (..., m, k) x w (k, n), w constant with w.values (k, n); out (..., m, n), rows contiguous."""
    assert a.quant is not None
    a = rows_of(emitter, a)
    flat, target = flatten_rows(a), flatten_rows(out)
    if flat is None or target is None:
        packed = emitter.new(a.dims, a.dtype, quant=a.quant)
        emitter.copy(a, packed)
        flat = flatten_rows(packed)
    if flat is None or target is None:
        raise UnsupportedModelError("a product with a result that is not packed")
    k, n = w.values.shape
    as_image = replace(flat, dims=(1, k, 1, flat.dims[0]), strides=(0, 1, 0, flat.strides[0]))
    out_image = replace(target, dims=(1, n, 1, target.dims[0]), strides=(0, 1, 0, target.strides[0]))
    columns = QuantisedConstant(w.values.T.reshape(n, k, 1, 1), w.scale, w.zero, 0, w.key + "/columns")
    conv(emitter, as_image, columns, bias, Window((1, 1)), out_image, float_bias, table, flipped)


def flatten_rows(view: View) -> View | None:
    """Returns `view` (..., m, k) as (rows, k) if its rows are evenly spaced."""
    axes = [(d, s) for d, s in zip(view.dims[:-1], view.strides[:-1], strict=False) if d != 1]
    for (_, outer), (d, inner) in itertools.pairwise(axes):
        if outer != d * inner:
            return None
    rows = count(view.dims[:-1])
    step = axes[-1][1] if axes else view.dims[-1]
    return replace(view, dims=(rows, view.dims[-1]), strides=(step, view.strides[-1]))


def moving_product(emitter: Emitter, a: View, b: View, out: View, flipped: bool, table: bytes | None) -> None:
    """Emits a (..., m, k) x b (..., k, n), both u8 activations; out (..., m, n) packed."""
    a_quant, b_quant = a.quant, b.quant
    assert a_quant is not None
    assert b_quant is not None
    *batch, m, n = out.dims
    k = a.dims[-1]
    if 255 * 255 * k * 4 >= 2**31:
        raise UnsupportedModelError(f"a product of two activations over {k} elements could overflow")
    a = rows_of(emitter, _batched(a, tuple(batch)))
    b = _batched(b, tuple(batch))
    images = count(tuple(batch))
    a_step = _even_step(a)
    if a_step is None:
        packed = emitter.new(a.dims, a.dtype, quant=a.quant)
        emitter.copy(a, packed)
        a, a_step = packed, m * k
    outer = [(d, s) for d, s in zip(b.dims[:-2], b.strides[:-2], strict=False) if d != 1]
    if len(outer) > 2 or b.up != (1, 1) or b.buffer.region >= CALLER:
        packed = emitter.new(b.dims, b.dtype, quant=b.quant)
        emitter.copy(b, packed)
        b = packed
        outer = [(images, k * n)]
    outer = [(1, 0)] * (2 - len(outer)) + outer
    groups, blocks = -(-k // 4), -(-n // LANES)
    w = View(
        emitter.new((images * blocks * groups * 64 + TILE_SLACK,), "u8").buffer,
        (images, blocks * groups * 64),
        (blocks * groups * 64, 1),
        "u8",
    )
    bias = emitter.new((images, blocks * LANES), "i32")
    emitter.add("pack", images * blocks * groups * 64 * 0.7, images * blocks, [b.buffer], [w.buffer, bias.buffer],
                x=reference(b), x0=outer[0][1], x1=outer[1][1], x_k=b.strides[-2], x_n=b.strides[-1], d0=outer[0][0],
                d1=outer[1][0], k=k, n=n, w=reference(w), w_image=blocks * groups * 64, bias=reference(bias),
                bias_image=blocks * LANES * 4, x_zero=b_quant.zero, a_zero=a_quant.zero,
                a_flip=int(flipped))  # fmt: skip
    item = 4 if out.dtype == "f32" else 1
    scale = np.full(n, np.float32(a_quant.scale), np.float32) * np.float32(b_quant.scale)
    end = Requantise(np.zeros(n, np.int32), scale)
    params = end_params(emitter, end, out, None, table, a_quant.scale, np.full(n, b_quant.scale, np.float32))
    params["bias"] = reference(bias)
    _dense(emitter, [a.buffer, w.buffer, bias.buffer], out, n, images, 1, m, {
        "x": reference(a), "x_image": a_step, "x_line": 0, "x_px": a.strides[-2], "runs_y": 1, "run_y": 0, "runs_x": 1,
        "run_x": 0, "run_bytes": k, "w": reference(w), "w_image": blocks * groups * 64,
        "bias_image": blocks * LANES * 4,
        "w_zero": b_quant.zero - 128, "out": reference(out), "out_image": m * n * item, "out_line": 0,
        "out_px": n * item, **params,
    })  # fmt: skip


def _batched(view: View, batch: Dims) -> View:
    missing = len(batch) - (len(view.dims) - 2)
    dims, strides = (1,) * missing + view.dims, (0,) * missing + view.strides
    return replace(
        view,
        dims=batch + dims[-2:],
        strides=tuple(0 if d != w else s for d, w, s in zip(dims, batch, strides, strict=False)) + strides[-2:],
    )


def _even_step(view: View) -> int | None:
    """Returns the distance between the matrices of `view` (..., m, k) if it is even, else None."""
    axes = [(d, s) for d, s in zip(view.dims[:-2], view.strides[:-2], strict=False) if d != 1]
    for (_, outer), (d, inner) in itertools.pairwise(axes):
        if outer != d * inner:
            return None
    return axes[-1][1] if axes else 0


def conv_f32(emitter: Emitter, x: View, w: F32, bias: F32 | None, window: Window, out: View) -> None:
    """Emits a float convolution; `x` NHWC with its border, w (n, c, kh, kw), out NHWC; or, 1x1, planes to planes."""
    n, c, kh, kw = w.shape
    buffer = emitter.constants.put(np.ascontiguousarray(w.transpose(2, 3, 1, 0)).tobytes())
    sn, _, sh, sw = x.strides
    top, left, _, _ = window.pads
    images, _, lines, px = out.dims
    start = reference(x)
    emitter.add("conv_f32", count(out.dims) * c * kh * kw * 0.15, images * lines, [x.buffer], [out.buffer],
                x=Ref(start.buffer, start.at - 4 * (top * sh + left * sw)), x_image=sn, x_line=sh * window.stride[0],
                x_px=sw * window.stride[1], x_k=x.strides[1] if c > 1 else 1, runs_y=kh,
                run_y=window.dilation[0] * sh, runs_x=kw,
                run_x=window.dilation[1] * sw, run_floats=c, w=Ref(buffer), w_image=0, w_k=n, w_n=1,
                bias=Ref(emitter.constants.put(bias.astype(np.float32).tobytes())) if bias is not None else -1,
                out=reference(out), out_image=out.strides[0], out_line=out.strides[2], out_px=out.strides[3],
                images=images,
                lines=lines, line_px=px, n=n, image_d1=1, x_image1=0, w_image1=0, out_image1=0,
                out_n=out.strides[1] if n > 1 else 1)  # fmt: skip


def product_f32(emitter: Emitter, a: View, b: View, out: View) -> None:
    """Emits a float product (..., m, k) x (..., k, n), at most two batch axes after merging; `out` packed."""
    *batch, m, n = out.dims
    a, b = _batched(a, tuple(batch)), _batched(b, tuple(batch))
    outer = [(d, sa, sb) for d, sa, sb in zip(batch, a.strides, b.strides, strict=False) if d != 1]
    if len(outer) > 2:
        raise UnsupportedModelError(f"a float product with {len(outer)} batch axes; at most two are taken")
    outer = [(1, 0, 0)] * (2 - len(outer)) + outer
    (d0, a0, b0), (d1, a1, b1) = outer
    k = a.dims[-1]
    emitter.add("conv_f32", count(out.dims) * k * 0.15, d0 * d1 * m, [a.buffer, b.buffer], [out.buffer],
                x=reference(a), x_image=a0,
                x_line=a.strides[-2], x_px=0, x_k=a.strides[-1], runs_y=1, run_y=0, runs_x=1, run_x=0, run_floats=k,
                w=reference(b), w_image=b0, w_k=b.strides[-2], w_n=b.strides[-1], bias=-1, out=reference(out),
                out_image=d1 * m * n, out_line=n, out_px=0, images=d0 * d1, lines=m, line_px=1, n=n, image_d1=d1,
                x_image1=a1,
                w_image1=b1, out_image1=m * n, out_n=1)  # fmt: skip
