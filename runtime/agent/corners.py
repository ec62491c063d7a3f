"""How many corners a figure has: those of what would be a rubber band around it.

From 60 directions, the outermost pixel of each; what stands out little over its neighbours is no corner. What is about
as far in all directions is round.
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
from runtime.agent.geometry import Box

ROUND = 9  # corners of what has none
_DIRECTIONS = 60
_TURNS = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
_OUT = np.stack([np.cos(_TURNS), np.sin(_TURNS)])
_LEAST, _LARGEST, _MOST = 9, 40_000, 24  # pixels of a side, of area; figures that are looked at
_DIFFERS = 48  # of 255 in some channel
_MOST_CORNERS = 8
_HEIGHT, _LEAST_HEIGHT = 0.06, 1.0  # of a figure's side, and in pixels, by which a corner stands out
_ROUNDNESS = 0.93  # of the farthest direction, the nearest; 0.92 of an octagon
_NESTED, _OFF = 0.7, 6  # of an outline's sides, those of its hole; pixels by which the stroke's two sides may differ
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
    if figures:
        made[figures] = made[figures][_outlines([elements[index].box for index in figures])]
    return made


def _outlines(boxes: Sequence[Box]) -> NDArray[np.int64]:
    """Returns for each box the first whose hole it is, else its own place: the corners of a hole are rounded off by the
    stroke around it, and count wrong."""
    places = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    starts, sizes = places[:, :2], places[:, 2:]
    before = starts[:, None] - starts[None]  # (boxes, outlines, 2): pixels from an outline's edge to a box's
    after = (starts + sizes)[None] - (starts + sizes)[:, None]
    is_hole = (before >= 0) & (after >= 0) & (abs(before - after) <= _OFF) & (sizes[:, None] >= _NESTED * sizes[None])
    holes: NDArray[np.bool_] = np.asarray(is_hole.all(axis=2) & (before + after > 0).any(axis=2))
    outlines: NDArray[np.int64] = np.where(holes.any(axis=1), holes.argmax(axis=1), np.arange(len(boxes)))
    return outlines


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
    points = (points - points.min(axis=0)) / np.maximum(1.0, np.ptp(points, axis=0))  # a figure fills a square of 1 x 1
    outermost = (points @ _OUT).argmax(axis=0)  # (directions,)
    if _is_round(points[outermost]):
        return ROUND
    hull = points[list(dict.fromkeys(outermost.tolist()))].tolist()
    count = len(_without_flat(hull, max(_HEIGHT, _LEAST_HEIGHT / size)))
    return ROUND if count > _MOST_CORNERS else count if count >= 3 else 0


def _is_round(outermost: NDArray[np.float64]) -> bool:
    """Whether the outermost points (directions, 2) are about equally far from the middle, Steiner's point."""
    far = (outermost.T * _OUT).sum(axis=0)
    far = far - (2 * (far * _OUT).mean(axis=1)) @ _OUT
    return bool(far.min() >= _ROUNDNESS * far.max())


def _without_flat(hull: list[list[float]], height: float) -> list[list[float]]:
    """Returns a convex polygon without the corners that stand out by less than `height` over the line between
    their neighbours, the flattest first: the two of a blunt corner become one."""
    kept = list(hull)
    heights = [_height(kept, place) for place in range(len(kept))]
    while len(kept) > 2 and min(heights) < height:
        flattest = heights.index(min(heights))
        del kept[flattest], heights[flattest]
        for place in (flattest - 1, flattest % len(kept)):
            heights[place] = _height(kept, place)
    return kept


def _height(polygon: list[list[float]], place: int) -> float:
    """Returns by how much a corner stands out over the line between its neighbours."""
    before, corner, after = polygon[place - 1], polygon[place], polygon[(place + 1) % len(polygon)]
    across, down = after[0] - before[0], after[1] - before[1]
    return abs(across * (corner[1] - before[1]) - down * (corner[0] - before[0])) / max(1e-9, math.hypot(across, down))
