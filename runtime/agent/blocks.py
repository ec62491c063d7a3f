"""What stands on a screen, from its pixels alone: lines of text, and shapes (boxes, rings, solid figures).

    pixels ─► edges (where neighbours differ) ─► connected components ─┬─► closed outlines: fields, buttons, ticks
                                                                       └─► the rest, joined across gaps: text lines

Text is told from its surroundings by edges, so dark on light and light on dark are the same. The finding itself is
kernels/frames/layout.h; here is what happens from screen to screen: where tiles changed, the part of the screen around
them is laid out anew, and everything else is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.frames.layout import KINDS, Items, LayoutFinder, find_edges, update_edges
from kernels.frames.tiles import TILE
from kernels.gate.word import GateClosed, GateToken
from runtime.agent.geometry import Box
from runtime.desktop.frame import Frame

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]  # blue, green, red

_FOUND = 7  # of an item's numbers; the last is the order in which it was found
_REACHING, _LEAST_LINE = 2, 7  # rows of the line above; those that a line has without them
_NEAR, _RIM = 40, 4  # pixels around a change in which things may join it; around a thing, to see its rim whole


@dataclass(frozen=True)
class TextBlock:
    """One line of text (or an icon, which only reading can tell)."""

    box: Box
    ink: Colour
    paper: Colour


@dataclass(frozen=True)
class Shape:
    """A closed outline or a solid figure. `kind`: "box", "ring" (an ellipse) or "figure"."""

    box: Box
    kind: str
    fill: Colour  # the commonest inside


@dataclass(frozen=True)
class Layout:
    """All that was found on one screen, each tuple in order of top edge, then left."""

    width: int
    height: int
    texts: tuple[TextBlock, ...]
    shapes: tuple[Shape, ...]


class BlockFinder:
    """Finds the layout of frames. Keeps what it computed for unchanged content; holds no history otherwise."""

    def __init__(self) -> None:
        self._hashes: NDArray[np.uint8] | None = None
        self._edges: NDArray[np.uint8] = np.zeros((0, 0), dtype=np.uint8)
        self._found: tuple[Items, Items] | None = None
        self._layout: Layout | None = None
        self._finder = LayoutFinder()
        self._objects: tuple[dict[tuple[int, ...], TextBlock], dict[tuple[int, ...], Shape]] = ({}, {})

    def find(self, frame: Frame, gate: GateToken | None = None) -> Layout:
        """Returns the layout of `frame`. Unchanged content costs the comparison of tile hashes, a change its place.

        Raises GateClosed, at once even on a screen that takes long; the next call begins it anew.
        """
        if gate is not None and not gate.is_open():
            raise GateClosed
        changed = self._changed_tiles(frame)
        if changed is not None and self._layout is not None and not changed.any():
            return self._layout
        self._hashes = None  # until it is done, nothing is known
        found = self._found = self._find(frame.pixels, changed, gate)
        self._layout = Layout(frame.width, frame.height, *self._kept(found))
        self._hashes = frame.hashes.copy()
        return self._layout

    def _kept(self, found: tuple[Items, Items]) -> tuple[tuple[TextBlock, ...], tuple[Shape, ...]]:
        """Returns texts and shapes; one that was there before is the same object, so that others know it again."""
        rows = [[tuple(row) for row in items[:, :_FOUND].tolist()] for items in found]
        rows[0] = _untangled(rows[0])
        texts, shapes = self._objects
        self._objects = (
            {row: texts.get(row) or _text(*row) for row in rows[0]},
            {row: shapes.get(row) or _shape(*row) for row in rows[1]},
        )
        texts, shapes = self._objects
        return tuple(texts[row] for row in rows[0]), tuple(shapes[row] for row in rows[1])

    def _changed_tiles(self, frame: Frame) -> NDArray[np.bool_] | None:
        """Returns which tiles (rows, columns) are unlike the last ones; None when most are, or nothing is known."""
        known = self._hashes
        if known is None or known.shape != frame.hashes.shape or self._edges.shape != frame.pixels.shape[:2]:
            return None
        changed: NDArray[np.bool_] = (known != frame.hashes).any(axis=2)
        return None if 2 * np.count_nonzero(changed) > changed.size else changed

    def _find(self, pixels: Pixels, changed: NDArray[np.bool_] | None, gate: GateToken | None) -> tuple[Items, Items]:
        """Brings edges up to date and returns the texts and shapes of the whole screen."""
        window = None
        if changed is None or self._found is None:
            self._edges = find_edges(pixels, gate)
        else:
            update_edges(pixels, self._edges, changed, gate)
            window = _window(changed, self._found, self._edges)
        if window is None or self._found is None:
            return self._finder.find(pixels, self._edges, gate)
        x, y, w, h = window
        inside = self._finder.find(pixels[y : y + h, x : x + w], self._edges[y : y + h, x : x + w], gate)
        return _patched(self._found[0], window, inside[0]), _patched(self._found[1], window, inside[1])


def _untangled(rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Returns texts (x, y, w, h, …) without the last rows of the line above: where lines are set tight, the ends of its
    letters reach into the box of the line below."""
    ending: dict[int, list[tuple[int, ...]]] = {}
    for row in rows:
        ending.setdefault(row[1] + row[3], []).append(row)
    made = []
    for row in rows:
        x, y, w, h = row[:4]
        for by in range(_REACHING, 0, -1):
            if h - by >= _LEAST_LINE and any(
                one[1] < y and one[3] >= _LEAST_LINE and one[0] < x + w and x < one[0] + one[2]
                for one in ending.get(y + by, ())
            ):
                row = (x, y + by, w, h - by, *row[4:])
                break
        made.append(row)
    return sorted(made, key=lambda row: (row[1], row[0]))


def packed(colour: Colour) -> int:
    """Returns a colour as 0xRRGGBB, as kernels take it."""
    blue, green, red = colour
    return red << 16 | green << 8 | blue


def unpacked(colour: int) -> Colour:
    return colour & 255, colour >> 8 & 255, colour >> 16


def _text(x: int, y: int, w: int, h: int, kind: int, ink: int, paper: int) -> TextBlock:
    return TextBlock(Box(x, y, w, h), unpacked(ink), unpacked(paper))


def _shape(x: int, y: int, w: int, h: int, kind: int, fill: int, paper: int) -> Shape:
    return Shape(Box(x, y, w, h), KINDS[kind], unpacked(fill))


def _window(changed: NDArray[np.bool_], found: tuple[Items, Items], edges: NDArray[np.uint8]) -> Box | None:
    """Returns a part of the screen that holds every change and whatever was found near it, whole.

    None when there is no such part: something large is cut by it, or an edge crosses its rim.
    """
    height, width = edges.shape
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    left, top = max(0, int(columns[0]) * TILE - _NEAR), max(0, int(rows[0]) * TILE - _NEAR)
    right = min(width, min(width, (int(columns[-1]) + 1) * TILE) + _NEAR)
    bottom = min(height, min(height, (int(rows[-1]) + 1) * TILE) + _NEAR)
    boxes = np.concatenate(found)[:, :4]
    x, y, end_x, end_y = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    while True:
        meets = (x < right) & (left < end_x) & (y < bottom) & (top < end_y)
        inside = (left <= x) & (top <= y) & (right >= end_x) & (bottom >= end_y)
        around = (x <= left) & (y <= top) & (end_x >= right) & (end_y >= bottom)
        cut = meets & ~inside & ~around
        if not cut.any():
            break
        left, top = min(left, max(0, int(x[cut].min()) - _RIM)), min(top, max(0, int(y[cut].min()) - _RIM))
        right = max(right, min(width, int(end_x[cut].max()) + _RIM))
        bottom = max(bottom, min(height, int(end_y[cut].max()) + _RIM))
    window = Box(left, top, right - left, bottom - top)
    if 2 * window.area > width * height:
        return None
    part = edges[top:bottom, left:right]
    rims = [(left > 0, part[:, 0]), (top > 0, part[0]), (right < width, part[:, -1]), (bottom < height, part[-1])]
    return None if any(is_inner and rim.any() for is_inner, rim in rims) else window


def _patched(items: Items, window: Box, inside: Items) -> Items:
    """Returns `items` with those in `window` replaced by `inside`, whose places are relative to it; in order."""
    x, y, w, h = items[:, 0], items[:, 1], items[:, 2], items[:, 3]
    within = (x >= window.x) & (y >= window.y) & (x + w <= window.right) & (y + h <= window.bottom)
    moved = inside + np.array([window.x, window.y, 0, 0, 0, 0, 0, 0], dtype=np.int32)
    made = np.concatenate((items[~within], moved))
    return made[np.lexsort((made[:, 2], made[:, 0], made[:, 1]))]
