"""The model that kernels/frames/runs.py is held to: the same functions by numpy alone, a whole array at a time.

Labels settle by pointer jumping over the graph of touching runs (Shiloach and Vishkin, "An O(log n) parallel
connectivity algorithm", 1982), which numpy does a whole array at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.runs import Runs

Ints = NDArray[np.int64]


def find_runs(mask: NDArray[np.bool_], bridge: int = 0) -> Runs:
    """Returns the runs of `mask` (h, w) bool, joining those of one row that are at most `bridge` pixels apart."""
    height, width = mask.shape
    padded = np.zeros((height, width + 1), dtype=np.int8)
    padded[:, :width] = mask
    flat = padded.ravel()
    steps = np.flatnonzero(np.diff(flat, prepend=np.int8(0)))
    start, end = steps[0::2], steps[1::2]
    row = start // (width + 1)
    if bridge and len(start) > 1:
        apart = (start[1:] - end[:-1] > bridge) | (row[1:] != row[:-1])
        first = np.concatenate(([True], apart))
        last = np.concatenate((apart, [True]))
        start, end, row = start[first], end[last], row[first]
    base = row * (width + 1)
    return Runs(row, start - base, end - base)


def label(runs: Runs, width: int, diagonal: bool = True) -> Ints:
    """Returns one component number (0 … k-1, in reading order of their first runs) for each run.

    With `diagonal` false only pixels above one another touch, so that a diagonal line of the other kind parts them.
    """
    count = len(runs.row)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    pitch = width + 4  # wide enough that a diagonal neighbour at the right edge is not the next row's first pixel
    starts = runs.row * pitch + runs.start
    ends = runs.row * pitch + runs.end
    below = pitch
    # of the next row: from the first run that ends at (or, without diagonals, after) our start …
    low = np.searchsorted(ends, starts + below, side="left" if diagonal else "right")
    # … to the last one that starts at (or before) our end, which is exclusive
    high = np.searchsorted(starts, ends + below, side="right" if diagonal else "left")
    fan = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(count), fan)
    lower = np.arange(len(upper)) - np.repeat(np.cumsum(fan) - fan, fan) + np.repeat(low, fan)
    parent = np.arange(count)
    while True:
        least = np.minimum(parent[upper], parent[lower])
        before = parent.copy()
        np.minimum.at(parent, parent[upper], least)
        np.minimum.at(parent, parent[lower], least)
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
        if np.array_equal(parent, before):
            break
    return np.unique(parent, return_inverse=True)[1].astype(np.int64)


def bounds(runs: Runs, labels: Ints) -> Ints:
    """Returns (k, 5) int64 rows x, y, w, h, pixels: the box of each component and how many pixels it has."""
    count = int(labels.max()) + 1 if len(labels) else 0
    left = np.full(count, np.iinfo(np.int64).max)
    top = left.copy()
    right = np.zeros(count, dtype=np.int64)
    bottom = right.copy()
    np.minimum.at(left, labels, runs.start)
    np.minimum.at(top, labels, runs.row)
    np.maximum.at(right, labels, runs.end)
    np.maximum.at(bottom, labels, runs.row + 1)
    pixels = np.bincount(labels, weights=runs.end - runs.start, minlength=count).astype(np.int64)
    return np.stack([left, top, right - left, bottom - top, pixels], axis=1)


def paint(runs: Runs, chosen: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns a mask (h, w) with the pixels of the runs where `chosen` (n,) bool is set."""
    height, width = shape
    steps = np.zeros(height * (width + 1) + 1, dtype=np.int8)
    base = runs.row[chosen] * (width + 1)
    np.add.at(steps, base + runs.start[chosen], np.int8(1))
    np.add.at(steps, base + runs.end[chosen], np.int8(-1))
    filled = np.cumsum(steps[:-1], dtype=np.int8).astype(np.bool_)
    return filled.reshape(height, width + 1)[:, :width]
