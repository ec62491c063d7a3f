"""Brings one line of text to the size that a recogniser takes: cubic and antialiased, rows first, then columns.

    pixels (h, w, 3) u8 ──► (48, w, 3) ──► (48, W, 3) ──► (3, 48, W) float32 in -1 … 1

Interpolation: Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.75; widened by
the ratio when it shrinks, so that large text is averaged and small text (most of a screen) is not smeared. A few taps
are added up by hand: a matrix product would wake the BLAS threads, which spin while others need the core.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runtime.agent.geometry import Box

_SHARPNESS = -0.75
_MARGIN = 0.12  # of the height of the ink, on every side: what the recogniser saw around its text when it was trained


def line_image(pixels: NDArray[np.uint8], box: Box, height: int, widest: int) -> NDArray[np.float32]:
    """Returns float32 (3, `height`, W) in -1 … 1, channels blue, green, red, for the line at `box` of BGRX `pixels`.

    W keeps the line's shape, at most `widest`. Where the margin leaves the screen, its edge is repeated.
    """
    margin = max(1, round(_MARGIN * box.h))
    rows = np.arange(box.y - margin, box.bottom + margin).clip(0, pixels.shape[0] - 1)
    columns = np.arange(box.x - margin, box.right + margin).clip(0, pixels.shape[1] - 1)
    crop = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, :3]
    crop = crop[(rows - rows[0])[:, None], (columns - columns[0])[None, :]].astype(np.float32)
    width = min(widest, max(8, round(len(columns) * height / len(rows))))
    tall = resampled(crop, height)
    wide = resampled(tall.transpose(1, 0, 2), width)
    image: NDArray[np.float32] = wide.transpose(2, 1, 0).clip(0, 255) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(image, dtype=np.float32)


def resampled(values: NDArray[np.float32], target: int) -> NDArray[np.float32]:
    """Returns float32 (target, …) for `values` (n, …): the first axis resampled."""
    places, weights = _taps(len(values), target)
    total = weights[:, 0, None, None] * values[places[:, 0]]
    for tap in range(1, places.shape[1]):
        total += weights[:, tap, None, None] * values[places[:, tap]]
    return total


@lru_cache(maxsize=2048)
def _taps(size: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns (target, k): which of `size` source pixels go into each target pixel, and how much; rows sum to 1."""
    ratio = size / target
    reach = max(1.0, ratio)
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    first = np.floor(centres - 2 * reach).astype(np.int64) + 1
    taps = first[:, None] + np.arange(int(np.ceil(4 * reach)) + 1)[None, :]
    distance = np.abs(taps - centres[:, None]) / reach
    near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
    far = ((_SHARPNESS * distance - 5 * _SHARPNESS) * distance + 8 * _SHARPNESS) * distance - 4 * _SHARPNESS
    values = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    used = np.flatnonzero(np.abs(values).max(axis=0) > 0)
    values, taps = values[:, used], taps[:, used]
    values /= values.sum(axis=1, keepdims=True)
    return taps.clip(0, size - 1), values.astype(np.float32)
