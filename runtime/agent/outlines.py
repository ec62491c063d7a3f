"""Tells closed outlines apart: does a connected edge component run along the sides of its box, or around an ellipse?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.runs import bounds, find_runs, label
from runtime.agent.geometry import Box

_SIDE_STRAIGHT = 0.55  # of each side of a box; rounded corners take the rest (a 13-pixel box to tick has 8)
_SIDE_COVERED = 0.7  # of each side of a hole
_LEAST_HOLE = 7  # pixels; smaller enclosed places are the insides of letters
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)


def outline_kind(across: NDArray[np.bool_], down: NDArray[np.bool_]) -> str:
    """Returns "box", "ring" or "" for the edges (h, w) bool inside a component's bounding box.

    `across` marks pixels unlike their right neighbour, `down` those unlike the one below. The sides of a box are
    straight: level edges above and below, upright ones left and right; a word's rim is neither.
    """
    height, width = across.shape
    level, upright = down & ~across, across & ~down
    sides = (level[:3].mean(axis=1), level[-3:].mean(axis=1), upright[:, :3].mean(axis=0), upright[:, -3:].mean(axis=0))
    if min(float(side.max()) for side in sides) >= _SIDE_STRAIGHT:
        return "box"
    if abs(height - width) <= max(2, width // 10) and width >= 10 and _is_ring(across | down):
        return "ring"
    return ""


def _is_ring(edges: NDArray[np.bool_]) -> bool:
    height, width = edges.shape
    corner = max(1, round(0.1 * min(height, width)))
    corners = (edges[:corner, :corner], edges[:corner, -corner:], edges[-corner:, :corner], edges[-corner:, -corner:])
    if any(part.any() for part in corners):
        return False
    hits = np.zeros(len(_ANGLES), dtype=np.bool_)
    for inset in (0.5, 1.5, 2.5):
        x = np.round(width / 2 - 0.5 + (width / 2 - inset) * _COS).astype(np.int64).clip(0, width - 1)
        y = np.round(height / 2 - 0.5 + (height / 2 - inset) * _SIN).astype(np.int64).clip(0, height - 1)
        hits |= edges[y, x]
    return bool(hits.mean() >= 0.9) and not _is_crossed(edges)


def _is_crossed(edges: NDArray[np.bool_]) -> bool:
    """Whether strokes run from the middle to the rim, as in a cross or a star; a dot in the middle does not."""
    height, width = edges.shape
    y, x = np.ogrid[:height, :width]
    radius = np.hypot((y - height / 2 + 0.5) / (height / 2), (x - width / 2 + 0.5) / (width / 2))
    between = edges[(radius >= 0.45) & (radius <= 0.7)]
    return bool(between.size and between.mean() > 0.45)


def enclosed_boxes(edges: NDArray[np.bool_]) -> list[Box]:
    """Returns the rectangular holes in the edges (h, w) bool of one component: fields and cells that share borders.

    A hole is a connected edge-free place that does not reach the crop's rim. It counts as a rectangle when its four
    sides are straight.
    """
    height, width = edges.shape
    runs = find_runs(~edges)
    labels = label(runs, diagonal=False)
    boxes = bounds(runs, labels)
    found: list[Box] = []
    for number, (x, y, w, h, pixels) in enumerate(boxes.tolist()):
        reaches_rim = x == 0 or y == 0 or x + w == width or y + h == height
        if reaches_rim or w < _LEAST_HOLE or h < _LEAST_HOLE or 2 * pixels < w * h:
            continue
        mine = labels == number
        lengths = runs.end[mine] - runs.start[mine]
        rows = runs.row[mine]
        top = lengths[rows <= y + 1].max() / w
        bottom = lengths[rows >= y + h - 2].max() / w
        left = np.count_nonzero(runs.start[mine] <= x + 1) / h
        right = np.count_nonzero(runs.end[mine] >= x + w - 1) / h
        if min(top, bottom, left, right) >= _SIDE_COVERED:
            found.append(Box(x, y, w, h))
    return found
