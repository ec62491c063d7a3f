"""What the boxes of a screen are to each other, every one against every other (kernels/frames/relations.h).

Boxes are rows of x, y, w, h in pixels. All raise TypeError or ValueError for other arguments.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels.frames.arguments import native

COUNTS = 9


def count_like(boxes: ArrayLike, kinds: ArrayLike, fills: ArrayLike, lines: ArrayLike) -> NDArray[np.int32]:
    """Returns (n, COUNTS): how many boxes of its kind (n) there are

    0, 1 in its row: left of it, in all · 2, 3 with its left edge: above it, in all · 4, 5 of its size: in all, before
    it · 6 of its fill (n, 3) · 7 before it · 8 before it in its line (n; -1: none), of any kind
    """
    found = _boxes(boxes)
    counts = np.zeros((len(found), COUNTS), np.int32)
    if len(found):
        native.count_like(
            found,
            np.ascontiguousarray(kinds, np.int32),
            np.ascontiguousarray(fills, np.uint8),
            np.ascontiguousarray(lines, np.int32),
            counts,
        )
    return counts


def nearest(boxes: ArrayLike, chosen: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns for each box which of the `chosen` (n, bool) is nearest in its row, else anywhere (0 if there is none),
    and whether it is in its row."""
    found = _boxes(boxes)
    places, beside = np.zeros(len(found), np.int64), np.zeros(len(found), np.uint8)
    if len(found):
        native.nearest(found, np.ascontiguousarray(chosen, np.bool_).view(np.uint8), places, beside)
    return places, beside.view(np.bool_)


def smallest_around(boxes: ArrayLike, holders: ArrayLike, is_larger: bool = False) -> NDArray[np.int64]:
    """Returns for each box that of the `holders` (n, bool) which holds its centre and has the least area, -1 without
    one; where `is_larger`, of those with more area than its own."""
    found = _boxes(boxes)
    places = np.full(len(found), -1, np.int64)
    if len(found):
        native.smallest_around(found, np.ascontiguousarray(holders, np.bool_).view(np.uint8), is_larger, places)
    return places


def box_pairs(
    places: NDArray[np.float32], spelled: NDArray[np.int64], links: NDArray[np.float32], pairs: NDArray[np.float32]
) -> None:
    """Fills the channels of `pairs` (26 or more, n, n; zero before) that tell what boxes are to each other
    (runtime/agent/pairs.py): `places` (n, 4) in hundreds of pixels, `spelled` (n) equal for equal texts and 0 for none,
    `links` (n, 2) a number and a counterpart's place, -1 for none."""
    native.box_pairs(np.ascontiguousarray(places, np.float32), spelled, np.ascontiguousarray(links, np.float32), pairs)


def _boxes(boxes: ArrayLike) -> NDArray[np.int32]:
    return np.ascontiguousarray(boxes, np.int32).reshape(-1, 4)
