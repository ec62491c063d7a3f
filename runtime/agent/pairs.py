"""What each token of a look is to each other: the relations that bias the network's attention."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.agent.features import Look
from runtime.agent.likeness import SPELLED

Floats = NDArray[np.float32]

PAIRS = 26


def pairs_of(look: Look) -> Floats:
    """Returns (PAIRS, t, t): what each token is to each other; tokens are the screen, the words, the deeds, the boxes.

    0-4 alike (word and box) · 5-6 how far right, down · 7 one row · 8 one column · 9-10 around, inside · 11 next to the
    right · 12 next below · 13 a deed on a box · 14-15 the following, the preceding word · 16 equal boxes · 17 same size
    18-19 the same number, a larger one (word and box) · 20-23 see likeness.py · 24 counterparts
    25 the same number (boxes)
    """
    words, deeds, count = len(look.words), len(look.deeds), len(look.boxes)
    first = 1 + words + deeds
    total = first + count
    made = np.zeros((PAIRS, total, total), dtype=np.float32)
    row = np.arange(1, words)
    made[14, row, row + 1] = 1
    made[15, row + 1, row] = 1
    if not count:
        return made
    alike = look.alike.transpose(2, 0, 1)
    for start, part in ((0, alike[:SPELLED]), (18, alike[SPELLED:])):
        made[start : start + len(part), 1 : 1 + words, first:] = part
        made[start : start + len(part), first:, 1 : 1 + words] = part.transpose(0, 2, 1)
    x, y, w, h = look.places.T
    middle_x, middle_y = x + w / 2, y + h / 2
    across, down = middle_x[None, :] - middle_x[:, None], middle_y[None, :] - middle_y[:, None]
    inner = made[:, first:, first:]
    inner[5], inner[6] = (across / 2).clip(-2, 2), (down / 2).clip(-2, 2)
    in_row, in_column = _shared(y, h), _shared(x, w)
    inner[7], inner[8] = in_row, in_column
    around = (x[:, None] <= middle_x) & (middle_x < x[:, None] + w[:, None])
    around &= (y[:, None] <= middle_y) & (middle_y < y[:, None] + h[:, None])
    around &= (w * h)[:, None] > (w * h)[None, :]
    inner[9], inner[10] = around, around.T
    apart = ~around & ~around.T
    inner[11] = _nearest(np.where(in_row & apart & (across > 0), across, np.inf))
    inner[12] = _nearest(np.where(in_column & apart & (down > 0), down, np.inf))
    px, py = look.deed_places[:, 0, None], look.deed_places[:, 1, None]
    done = (x <= px) & (px < x + w) & (y <= py) & (py < y + h) & (look.deed_places[:, 2, None] > 0)
    made[13, 1 + words : first, first:] = done
    made[13, first:, 1 + words : first] = done.T
    inner[17] = (np.abs(w[:, None] - w) < 0.03) & (np.abs(h[:, None] - h) < 0.03)
    grams = look.box_grams.astype(np.int64).sum(axis=1)
    inner[16] = (grams[:, None] == grams) & (grams > 0)
    has = np.flatnonzero(look.links[:, 1] >= 0)
    inner[24, has, look.links[has, 1].astype(np.int64)] = 1
    number = look.links[:, 0]
    inner[25] = (number[:, None] == number) & (number >= 0)
    return made


def _shared(start: Floats, size: Floats) -> NDArray[np.bool_]:
    """Returns (m, m): whether two stretches share at least half of the shorter one."""
    end = start + size
    common = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    shared: NDArray[np.bool_] = 2 * common >= np.minimum(size[:, None], size)
    return shared


def _nearest(distance: Floats) -> Floats:
    """Returns 1 at the least finite value of each row, 0 elsewhere."""
    made = np.zeros_like(distance, dtype=np.float32)
    best = distance.argmin(axis=1)
    rows = np.arange(len(distance))
    made[rows, best] = np.isfinite(distance[rows, best])
    return made
