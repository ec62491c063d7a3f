"""How many corners a figure has: those of what would be a rubber band around it.

From 60 directions, the outermost pixel of each; pixels near each other are one corner, and a corner is outermost from
several directions. A circle has a new one in each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.frames.boxes import NAME_BYTES, names
from runtime.agent.contents import ContentCache
from runtime.agent.elements import Element

ROUND = 9  # corners of what has none
_DIRECTIONS = 60
_TURNS = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
_OUT = np.stack([np.cos(_TURNS), np.sin(_TURNS)])
_LEAST, _LARGEST, _MOST = 9, 40_000, 24  # pixels of a side, of area; figures that are looked at
_DIFFERS = 48  # of 255 in some channel
_SEEN_FROM = 3  # directions of which a corner is the outermost
_KEY = os.urandom(NAME_BYTES)
_KNOWN = ContentCache[int](512)
_KINDS = frozenset({"figure", "shape", "circle", "patch", "line"})


def corners_of(pixels: NDArray[np.uint8], elements: Sequence[Element]) -> NDArray[np.int64]:
    """Returns for each element the corners of the figure that it is: 3 to 8, ROUND, or 0 for none."""
    made = np.zeros(len(elements), dtype=np.int64)
    figures = [index for index, one in enumerate(elements) if _is_figure(one)][:_MOST]
    height, width = pixels.shape[:2]
    boxes = [elements[index].box.grown(1, width, height) for index in figures]
    for index, box, name in zip(figures, boxes, names(pixels, boxes, _KEY), strict=True):
        known = _KNOWN.get(name)
        if known is None:
            crop = pixels[box.y : box.bottom, box.x : box.right, :3].astype(np.int16)
            known = _corners(crop, max(elements[index].box[2:]))
            _KNOWN.put(name, known)
        made[index] = known
    return made


def _is_figure(one: Element) -> bool:
    return (
        one.kind in _KINDS and len(one.text) <= 2 and min(one.box.w, one.box.h) >= _LEAST and one.box.area <= _LARGEST
    )


def forget() -> None:
    """Drops what is kept of the figures seen last."""
    _KNOWN.clear()


def _corners(crop: NDArray[np.int16], size: int) -> int:
    at_corners = np.sort(np.stack([crop[0, 0], crop[0, -1], crop[-1, 0], crop[-1, -1]]), axis=0)
    ink = (np.abs(2 * crop - at_corners[1] - at_corners[2]) >= 2 * _DIFFERS).any(axis=2)
    rows = np.flatnonzero(ink.any(axis=1))
    if len(rows) < _LEAST // 2:
        return 0
    inside = ink[rows]
    left, right = inside.argmax(axis=1), inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    points = np.stack([np.concatenate([left, right]), np.concatenate([rows, rows])], axis=1).astype(np.float64)
    outermost = points[(points @ _OUT).argmax(axis=0)].tolist()  # (directions, 2)
    near = max(2.0, 0.1 * size)
    runs: list[int] = []
    first = anchor = outermost[0]
    for point in outermost:
        if runs and math.dist(point, anchor) <= near:
            runs[-1] += 1
        else:
            runs.append(1)
            anchor = point
    if len(runs) > 1 and math.dist(first, anchor) <= near:
        runs[0] += runs.pop()
    count = sum(run >= _SEEN_FROM for run in runs)
    return ROUND if count > 8 or len(runs) > 12 else count if count >= 3 else 0
