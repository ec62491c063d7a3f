"""What each token of a look is to each other: the relations that bias the network's attention."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.relations import box_pairs
from runtime.agent.features import Look
from runtime.agent.likeness import SPELLED

Floats = NDArray[np.float32]

PAIRS = 26


def pairs_of(look: Look, room: Floats | None = None) -> Floats:
    """Returns (PAIRS, t, t): what each token is to each other; tokens are the screen, the words, the deeds, the boxes.
    `room`, of that shape and zero, is filled if it is given.

    0-4 alike (word and box) · 5-6 how far right, down · 7 one row · 8 one column · 9-10 around, inside · 11 next to the
    right · 12 next below · 13 a deed on a box · 14-15 the following, the preceding word · 16 equal boxes · 17 same size
    18-19 the same number, a larger one (word and box) · 20-23 see likeness.py · 24 counterparts
    25 the same number (boxes)
    """
    words, deeds, count = len(look.words), len(look.deeds), len(look.boxes)
    first = 1 + words + deeds
    total = first + count
    made = np.zeros((PAIRS, total, total), dtype=np.float32) if room is None else room
    row = np.arange(1, words)
    made[14, row, row + 1] = 1
    made[15, row + 1, row] = 1
    if not count:
        return made
    alike = look.alike.transpose(2, 0, 1)
    for start, part in ((0, alike[:SPELLED]), (18, alike[SPELLED:])):
        made[start : start + len(part), 1 : 1 + words, first:] = part
        made[start : start + len(part), first:, 1 : 1 + words] = part.transpose(0, 2, 1)
    grams = look.box_grams.astype(np.int64).sum(axis=1)
    box_pairs(look.places, grams, look.links, made[:, first:, first:])
    x, y, w, h = look.places.T
    px, py = look.deed_places[:, 0, None], look.deed_places[:, 1, None]
    done = (x <= px) & (px < x + w) & (y <= py) & (py < y + h) & (look.deed_places[:, 2, None] > 0)
    made[13, 1 + words : first, first:] = done
    made[13, first:, 1 + words : first] = done.T
    return made
