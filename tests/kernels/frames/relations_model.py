"""What the boxes of a screen are to each other in numpy: what kernels/frames/relations.h means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def count_like(boxes: Ints, kinds: Ints, fills: NDArray[np.uint8], lines: Ints) -> Ints:
    x, y, w, h = boxes.T
    of_kind = kinds[:, None] == kinds
    in_row, in_column = _in_row(boxes) & of_kind, (np.abs(x[:, None] - x) <= 3) & of_kind
    of_size = (np.abs(w[:, None] - w) <= 3) & (np.abs(h[:, None] - h) <= 3) & of_kind
    colours = fills.astype(np.int64)
    of_fill = (np.abs(colours[:, None] - colours).sum(axis=2) <= 24) & of_kind
    order = np.arange(len(boxes))
    is_before = order < order[:, None]
    of_line = (lines[:, None] == lines) & (lines >= 0)[:, None]
    masks = (
        in_row & (x < x[:, None]), in_row, in_column & (y < y[:, None]), in_column, of_size, of_size & is_before,
        of_fill, of_kind & is_before, of_line & is_before,
    )  # fmt: skip
    return np.stack([mask.sum(axis=1) for mask in masks], axis=1)


def nearest(boxes: Ints, chosen: Mask) -> tuple[Ints, Mask]:
    count = len(boxes)
    if not chosen.any():
        return np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    x, y, w, h = boxes.T
    gap = np.maximum(x[:, None] - (x + w), x - (x + w)[:, None])
    distance = np.where(_in_row(boxes) & (gap >= 0) & chosen, gap, np.inf)
    in_row = distance.argmin(axis=1)
    beside = np.isfinite(distance[np.arange(count), in_row])
    across, down = 2 * x + w, 2 * y + h  # twice the centres
    far = (across[:, None] - across) ** 2 + (down[:, None] - down) ** 2
    return np.where(beside, in_row, np.where(chosen, far, np.inf).argmin(axis=1)), beside


def smallest_around(boxes: Ints, holders: Mask, is_larger: bool) -> Ints:
    x, y, w, h = boxes.T
    middle_x, middle_y, area = x + w // 2, y + h // 2, w * h
    holds = (x[:, None] <= middle_x) & (middle_x < (x + w)[:, None])
    holds &= (y[:, None] <= middle_y) & (middle_y < (y + h)[:, None]) & holders[:, None]
    if is_larger:
        holds &= area[:, None] > area
    best = np.where(holds, area[:, None], np.iinfo(np.int64).max).argmin(axis=0)
    return np.where(holds.any(axis=0), best, -1)


def box_pairs(places: Floats, spelled: Ints, links: Floats) -> Floats:
    """Returns (26, n, n)."""
    count = len(places)
    made = np.zeros((26, count, count), dtype=np.float32)
    x, y, w, h = places.T
    middle_x, middle_y = x + w / 2, y + h / 2
    across, down = middle_x[None, :] - middle_x[:, None], middle_y[None, :] - middle_y[:, None]
    made[5], made[6] = (across / 2).clip(-2, 2), (down / 2).clip(-2, 2)
    made[7], made[8] = _shared(y, h), _shared(x, w)
    around = (x[:, None] <= middle_x) & (middle_x < x[:, None] + w[:, None])
    around &= (y[:, None] <= middle_y) & (middle_y < y[:, None] + h[:, None])
    around &= (w * h)[:, None] > (w * h)[None, :]
    made[9], made[10] = around, around.T
    apart = ~around & ~around.T
    made[11] = _first_least(np.where((made[7] > 0) & apart & (across > 0), across, np.inf))
    made[12] = _first_least(np.where((made[8] > 0) & apart & (down > 0), down, np.inf))
    made[16] = (spelled[:, None] == spelled) & (spelled > 0)
    made[17] = (np.abs(w[:, None] - w) < np.float32(0.03)) & (np.abs(h[:, None] - h) < np.float32(0.03))
    has = np.flatnonzero(links[:, 1] >= 0)
    made[24, has, links[has, 1].astype(np.int64)] = 1
    number = links[:, 0]
    made[25] = (number[:, None] == number) & (number >= 0)
    return made


def _in_row(boxes: Ints) -> Mask:
    _, y, _, h = boxes.T
    shared = np.minimum((y + h)[:, None], y + h) - np.maximum(y[:, None], y)
    in_row: Mask = 2 * shared >= np.minimum(h[:, None], h)
    return in_row


def _shared(start: Floats, size: Floats) -> Mask:
    end = start + size
    common = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    shared: Mask = 2 * common >= np.minimum(size[:, None], size)
    return shared


def _first_least(distance: Floats) -> Mask:
    """Returns where the least finite value of each row is, the first of several."""
    made = np.zeros(distance.shape, dtype=np.bool_)
    rows, best = np.arange(len(distance)), distance.argmin(axis=1)
    made[rows, best] = np.isfinite(distance[rows, best])
    return made
