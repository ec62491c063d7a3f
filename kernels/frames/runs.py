"""Connected components of a boolean picture, by runs: a fraction of a millisecond for a 1080p screen.

    mask row:  . X X X . . X X .      runs: (start, end) pairs, end exclusive; gaps up to `bridge` are closed first
    two runs of neighbouring rows belong together when they touch, diagonals included (8-connectivity)

Labels are a union-find over the runs, in one pass (kernels/frames/runs.c).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.frames.arguments import native

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Horizontal runs of set pixels in reading order: pixels [start, end) of `row`. All int64, shape (n,)."""

    row: Ints
    start: Ints
    end: Ints


def find_runs(mask: NDArray[np.bool_], bridge: int = 0) -> Runs:
    """Returns the runs of `mask` (h, w) bool, joining those of one row that are at most `bridge` pixels apart."""
    pixels = np.ascontiguousarray(mask, np.bool_).view(np.uint8)
    room = native.runs_count(pixels) if pixels.size else 0
    row, start, end = (np.empty(room, np.int64) for _ in range(3))
    count = native.runs_find(pixels, bridge, row, start, end) if room else 0
    return Runs(row[:count], start[:count], end[:count])


def label(runs: Runs, diagonal: bool = True) -> Ints:
    """Returns one component number (0 … k-1, in reading order of their first runs) for each run.

    With `diagonal` false only pixels above one another touch, so that a diagonal line of the other kind parts them.
    """
    labels = np.empty(len(runs.row), np.int64)
    if len(labels):
        native.runs_label(runs.row, runs.start, runs.end, diagonal, labels)
    return labels


def bounds(runs: Runs, labels: Ints) -> Ints:
    """Returns (k, 5) int64 rows x, y, w, h, pixels: the box of each component and how many pixels it has.

    Raises ValueError unless the labels are the numbers 0 … k-1.
    """
    boxes = np.empty((int(labels.max()) + 1 if len(labels) else 0, 5), np.int64)
    if len(labels):
        native.runs_bounds(runs.row, runs.start, runs.end, labels, boxes)
    return boxes


def paint(runs: Runs, chosen: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns a mask (h, w) with the pixels of the runs where `chosen` (n,) bool is set.

    Raises ValueError if one of them leaves the mask.
    """
    mask = np.zeros(shape, np.bool_)
    if len(runs.row):
        picked = np.ascontiguousarray(chosen, np.bool_).view(np.uint8)
        native.runs_paint(runs.row, runs.start, runs.end, picked, mask.view(np.uint8))
    return mask
