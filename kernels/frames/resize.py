"""What a model sees of a screen: resized by area, normalised and quantised to planes of 8-bit integers, in one pass.

    frame BGRX (h, w, 4) ──► resize_area      ──► (3, h', w')          the whole frame
                             resize_and_hash  ──► the same, and every tile's hash, reading the frame once
                             crop_resize      ──► (n, 3, h', w')       many boxes, each to the same size

A plane's value is `round((level - mean) / scale) + zero_point`, clamped to the type; levels are 0..255. An axis that
shrinks is averaged over the exact area under each output pixel (antialiased, at any ratio up to 64), one that grows is
linear between pixel centres. The arithmetic is 16-bit fixed point, the same bits on every instruction set
(kernels/frames/resize.h); it is within half a quantisation step and 0.05 levels / scale of the exact value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.frames.arguments import Frame, check_frame, gate_address, native, raise_if_preempted
from kernels.frames.tiles import HASH_BYTES, Hashes, expanded_key, grid
from kernels.gate.word import GateToken

SHRINK_MAX: int = native.SHRINK_MAX  # times that an axis may shrink

Planes = NDArray[Any]  # int8 or uint8

# Planes in the order of the output, named by the channel of the frame (B, G, R) that each takes.
ORDERS = {"rgb": (2, 1, 0), "bgr": (0, 1, 2)}


def resize_area(
    frame: Frame,
    size: tuple[int, int],
    *,
    mean: float | Sequence[float] = 0.0,
    scale: float | Sequence[float] = 1.0,
    zero_point: int = 0,
    dtype: DTypeLike = np.int8,
    order: str = "rgb",
    out: Planes | None = None,
    gate: GateToken | None = None,
    variant: str | None = None,
) -> Planes:
    """Returns (3, h, w) of `dtype` (int8 or uint8) for `size` = (h, w), from `frame`, BGRX uint8 (h, w, 4).

    `mean` (levels) and `scale` (levels per step) are one number or three in the order of the planes, `order`: "rgb"
    or "bgr". A model that wants (level / 255 - m) / s quantised with the step q has mean 255 m and scale 255 s q.
    `out` takes the result instead of a new array (C-contiguous). `variant` forces an instruction set.
    Raises TypeError or ValueError for a wrong argument, GateClosed if `gate` closed meanwhile.
    """
    check_frame(frame)
    down, along = _axes(frame, size)
    quantise, planes = _prepare((3, *size), mean, scale, zero_point, dtype, order, out)
    status = native.resize(frame, down, along, quantise, planes.view(np.uint8), gate_address(gate), variant)
    raise_if_preempted(status)
    return planes


def resize_and_hash(
    frame: Frame,
    size: tuple[int, int],
    key: bytes,
    *,
    mean: float | Sequence[float] = 0.0,
    scale: float | Sequence[float] = 1.0,
    zero_point: int = 0,
    dtype: DTypeLike = np.int8,
    order: str = "rgb",
    out: Planes | None = None,
    gate: GateToken | None = None,
    variant: str | None = None,
) -> tuple[Planes, Hashes]:
    """Returns what `resize_area` and `kernels.frames.tiles.tile_hashes` do, in one pass over the frame."""
    check_frame(frame)
    down, along = _axes(frame, size)
    quantise, planes = _prepare((3, *size), mean, scale, zero_point, dtype, order, out)
    hashes = np.empty((*grid(*frame.shape[:2]), HASH_BYTES), np.uint8)
    address = gate_address(gate)
    material = expanded_key(key)
    status = native.resize_and_hash(
        frame, down, along, quantise, material, planes.view(np.uint8), hashes, address, variant
    )
    raise_if_preempted(status)
    return planes, hashes


def crop_resize(
    frame: Frame,
    boxes: NDArray[np.int32],
    size: tuple[int, int],
    *,
    mean: float | Sequence[float] = 0.0,
    scale: float | Sequence[float] = 1.0,
    zero_point: int = 0,
    dtype: DTypeLike = np.int8,
    order: str = "rgb",
    out: Planes | None = None,
    gate: GateToken | None = None,
    variant: str | None = None,
) -> Planes:
    """Returns (n, 3, h, w): each of `boxes`, int32 (n, 4) of x, y, w, h in pixels of `frame`, resized to `size`.

    The other arguments are those of `resize_area`. Raises ValueError for a box that is empty, leaves the frame, or
    would shrink more than 64-fold: it says which.
    """
    check_frame(frame)
    if not isinstance(boxes, np.ndarray) or boxes.dtype != np.int32 or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise TypeError("boxes is an int32 array (n, 4) of x, y, w, h")
    _check_size(size)
    quantise, planes = _prepare((len(boxes), 3, *size), mean, scale, zero_point, dtype, order, out)
    address = gate_address(gate)
    contiguous = np.ascontiguousarray(boxes)
    raise_if_preempted(native.crop_resize(frame, contiguous, quantise, planes.view(np.uint8), address, variant))
    return planes


def _check_size(size: tuple[int, int]) -> None:
    h, w = size
    if not (1 <= h <= 32768 and 1 <= w <= 32768):
        raise ValueError(f"size is (h, w), each 1..32768, got {size}")


@lru_cache(maxsize=32)
def _axis(n_in: int, n_out: int, is_horizontal: bool) -> native.Axis:
    return native.Axis(n_in, n_out, is_horizontal)


def _axes(frame: Frame, size: tuple[int, int]) -> tuple[native.Axis, native.Axis]:
    _check_size(size)
    return _axis(frame.shape[0], size[0], False), _axis(frame.shape[1], size[1], True)


def _prepare(
    shape: tuple[int, ...],
    mean: float | Sequence[float],
    scale: float | Sequence[float],
    zero_point: int,
    dtype: DTypeLike,
    order: str,
    out: Planes | None,
) -> tuple[native.Quantise, Planes]:
    wanted = np.dtype(dtype)
    quantise = _quantise(_three(mean, "mean"), _three(scale, "scale"), zero_point, wanted, order)
    if out is None:
        return quantise, np.empty(shape, wanted)
    if out.shape != shape or out.dtype != wanted or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out must be a writeable C-contiguous {wanted} array {shape}, got {out.dtype} {out.shape}")
    return quantise, out


def _three(value: float | Sequence[float], name: str) -> tuple[float, float, float]:
    values = [float(value)] * 3 if isinstance(value, (int, float)) else [float(one) for one in value]
    if len(values) != 3 or not all(map(isfinite, values)):
        raise ValueError(f"{name} is one number or three, finite; got {value!r}")
    return values[0], values[1], values[2]


@lru_cache(maxsize=32)
def _quantise(
    mean: tuple[float, float, float],
    scale: tuple[float, float, float],
    zero_point: int,
    dtype: np.dtype[Any],
    order: str,
) -> native.Quantise:
    """Finds the fixed-point form: q = (H * multiplier >> 15 + offset) >> shift, H = 128 levels (resize.h)."""
    if dtype not in (np.int8, np.uint8):
        raise ValueError(f"dtype is int8 or uint8, got {dtype}")
    if order not in ORDERS:
        raise ValueError(f"order is one of {', '.join(ORDERS)}, got {order!r}")
    if min(scale) <= 0:
        raise ValueError(f"scale (levels per step) must be positive, got {scale}")
    gains = [1.0 / one for one in scale]
    offsets = [zero_point - m * gain for m, gain in zip(mean, gains, strict=True)]
    # As many fractional bits as 16-bit lanes hold; for uint8, 255 << 7 is the most that saturation keeps right.
    for shift in range(8 if dtype == np.int8 else 7, -1, -1):
        multipliers = [round(gain * 2 ** (shift + 8)) for gain in gains]
        moved = [round(offset * 2**shift + 2**shift / 2) for offset in offsets]
        if max(multipliers) <= 32767 and max(map(abs, moved)) <= 32767:
            break
    else:
        raise ValueError(f"mean {mean}, scale {scale}, zero_point {zero_point} leave the range of 16-bit fixed point")
    channels = ORDERS[order]
    plane_of = [channels.index(channel) for channel in range(3)]
    by_channel = [[values[plane] for plane in plane_of] for values in (multipliers, moved)]
    return native.Quantise(by_channel[0], by_channel[1], shift, dtype == np.uint8, plane_of)
