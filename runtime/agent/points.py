"""Places where nothing stands yet, but that are meant: halfway between two dots, square to a line, beside a dot.

    figures ─► dots (small solid discs, also at the ends of lines) ─► of at most three of them:
        midpoint   of two                 corner   square to the line from one to another, on either side
        bisector   of the angle at one    across, down   left and right of a single one, above and below it

Where something in a figure is thick and no dot, it is none of dots and lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.agent.blocks import Colour
from runtime.agent.geometry import Box

_SMALLEST, _LARGEST = 5, 26  # pixels of a dot's side
_MOST_DOTS = 3
_MOST_FIGURES = 9  # where there are more, a dot means nothing
_LARGEST_FIGURE = 60_000  # square pixels that are searched for dots
_DIFFERS = 60
_HALF = 2  # a point's box is five pixels wide
_BESIDE = 4  # widths of a dot

POINTS = ("midpoint", "corner", "bisector", "across", "down")
Dot = tuple[float, float, float, Colour]  # middle, width, colour


def points_of(pixels: NDArray[np.uint8], figures: Sequence[Box]) -> list[tuple[str, Box, Colour]]:
    """Returns the kind, place and dot's colour of what is meant by the dots of some figures; none where there are many
    dots, or none."""
    height, width = pixels.shape[:2]
    made = []
    for kind, (x, y), colour in _constructed(dots_of(pixels, figures)):
        if _HALF <= x < width - _HALF and _HALF <= y < height - _HALF:
            box = Box(round(x) - _HALF, round(y) - _HALF, 2 * _HALF + 1, 2 * _HALF + 1)
            made.append((kind, box, colour))
    return made


def _constructed(dots: Sequence[Dot]) -> list[tuple[str, tuple[float, float], Colour]]:
    if not 1 <= len(dots) <= _MOST_DOTS:
        return []
    made: list[tuple[str, tuple[float, float], Colour]] = []
    if len(dots) == 1:
        x, y, size, colour = dots[0]
        far = _BESIDE * size
        made += [("across", (x - far, y), colour), ("across", (x + far, y), colour)]
        made += [("down", (x, y - far), colour), ("down", (x, y + far), colour)]
    for index, (x, y, _, colour) in enumerate(dots):
        others = [dot for place, dot in enumerate(dots) if place != index]
        for other in others[index:]:
            made.append(("midpoint", ((x + other[0]) / 2, (y + other[1]) / 2), colour))
        for other in others:
            across, down = other[0] - x, other[1] - y
            share = max(0.5, 20 / max(1.0, math.hypot(across, down)))
            made += [("corner", (x - side * share * down, y + side * share * across), colour) for side in (1, -1)]
        if len(others) == 2:
            made.append(("bisector", _on_bisector((x, y), others), colour))
    return made


def _on_bisector(corner: tuple[float, float], others: Sequence[Dot]) -> tuple[float, float]:
    """Returns the best pixel on the bisector of the angle at a corner, half to nearly all of the longer arm away.

    A pixel is up to 0.7 off a line, which near the corner is some degrees.
    """
    arms = [(other[0] - corner[0], other[1] - corner[1]) for other in others]
    lengths = [max(1.0, math.hypot(*arm)) for arm in arms]
    across, down = (sum(arm[axis] / length for arm, length in zip(arms, lengths, strict=True)) / 2 for axis in (0, 1))
    size = max(1e-3, math.hypot(across, down))
    across, down = across / size, down / size

    def sine_off(far: float) -> float:
        x, y = round(corner[0] + far * across) - corner[0], round(corner[1] + far * down) - corner[1]
        return abs(x * down - y * across) / max(1.0, math.hypot(x, y))

    far = min((max(lengths) * share / 32 for share in range(16, 30)), key=sine_off)
    return corner[0] + far * across, corner[1] + far * down


def dots_of(pixels: NDArray[np.uint8], figures: Sequence[Box]) -> list[Dot]:
    """Returns the dots of the figures of a screen; what is as large as a dot must be one."""
    found: list[Dot] = []
    looked_at = [
        box
        for box in figures
        if box.area <= _LARGEST_FIGURE
        and max(box.w, box.h) >= _SMALLEST
        and (max(box.w, box.h) > _LARGEST or abs(box.w - box.h) <= 2)
    ]
    if len(looked_at) > _MOST_FIGURES:
        return []
    for box in looked_at:
        for dot in _dots_in(pixels, box):
            if not any(math.hypot(dot[0] - other[0], dot[1] - other[1]) < _SMALLEST for other in found):
                found.append(dot)
        if len(found) > _MOST_DOTS:
            break
    return found


def _dots_in(pixels: NDArray[np.uint8], box: Box) -> list[Dot]:
    """Returns the solid discs in a box: what is left of its ink when all that is thin is worn away."""
    height, width = pixels.shape[:2]
    x, y = max(0, box.x - 2), max(0, box.y - 2)
    crop = pixels[y : min(height, box.bottom + 2), x : min(width, box.right + 2), :3].astype(np.int16)
    ink = (np.abs(crop - crop[0, 0]) >= _DIFFERS).any(axis=2)
    core = _worn(ink, 2)
    made: list[Dot] = []
    while core.any() and len(made) <= 2 * _MOST_DOTS:
        row, column = divmod(int(core.argmax()), core.shape[1])
        part = _around(core, row, column)
        core[part.y : part.bottom, part.x : part.right] = False
        size = max(part.w, part.h) + 4
        if abs(part.w - part.h) > 2 or not _SMALLEST <= size <= _LARGEST:
            return []
        at = (part.y + part.h // 2, part.x + part.w // 2)
        blue, green, red = (int(value) for value in crop[at])
        made.append((x + part.x + (part.w - 1) / 2, y + part.y + (part.h - 1) / 2, size, (blue, green, red)))
    return made


def _worn(ink: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Returns the pixels whose neighbours up to `by` in both directions are all ink."""
    made: NDArray[np.bool_] = ink.copy()
    for axis in (0, 1):
        whole = made.copy()
        for step in range(1, by + 1):
            for shift in (step, -step):
                moved = np.roll(whole, shift, axis)
                edge: list[slice] = [slice(None), slice(None)]
                edge[axis] = slice(0, step) if shift > 0 else slice(-step, None)
                moved[tuple(edge)] = False
                made &= moved
    return made


def _around(core: NDArray[np.bool_], row: int, column: int) -> Box:
    """Returns the box of what hangs together with a pixel, as far as _LARGEST."""
    top, left, bottom, right = row, column, row + 1, column + 1
    while True:
        area = core[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1]
        rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
        above, before = max(0, top - 1), max(0, left - 1)
        grown = (
            min(top, above + int(rows[0])),
            min(left, before + int(columns[0])),
            max(bottom, above + int(rows[-1]) + 1),
            max(right, before + int(columns[-1]) + 1),
        )
        if grown == (top, left, bottom, right) or max(bottom - top, right - left) > _LARGEST:
            return Box(left, top, right - left, bottom - top)
        top, left, bottom, right = grown
