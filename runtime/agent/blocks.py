"""What stands on a screen, from its pixels alone: lines of text, and shapes (boxes, rings, solid figures).

    pixels ─► edges (where neighbours differ) ─► connected components ─┬─► closed outlines: fields, buttons, ticks
                                                                       └─► the rest, joined across gaps: text lines

Text is told from its surroundings by edges, so dark on light and light on dark are the same. Everything is a function
of the pixels; what is kept between calls (edges of unchanged tiles, the lines of a crop) is keyed by content.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.frames.runs import Runs, bounds, find_runs, label, paint
from kernels.frames.tiles import TILE
from kernels.gate.word import GateToken
from runtime.agent.contents import ContentCache
from runtime.agent.geometry import Box
from runtime.agent.inference import while_open
from runtime.agent.outlines import enclosed_boxes, outline_kind
from runtime.desktop.frame import Frame

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]  # blue, green, red

_EDGE_BITS = np.uint32(0x00E0E0E0)  # some channel differs by 32 or more; the padding byte is masked
_ACROSS, _DOWN = np.uint8(1), np.uint8(2)  # a pixel differs from its right neighbour, from the one below
_STRAIGHT = 24  # pixels: what is longer and thin is a rule, not a letter
_LETTER_GAP = 4  # pixels between letters, and between words of small fonts
_TALLEST_TEXT = 64
_NEAR, _RIM = 40, 4  # pixels around a change in which things may join it; around a thing, to see its rim whole
_INK = 40  # of 255 in some channel: what differs so much from the ground is ink
_WIDE = 48  # pixels: a wider component is more than a letter, so that straight lines in it are not stems
_LEAST_LABELLED = 28  # pixels: a smaller box holds a tick or an icon, no label
_LEAST_JOINED = 12  # pixels: lower components cannot hold a field
_LETTER_SPACING = 0.1  # of a letter's height: a small ring or box this near to a glyph is a glyph itself


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
        self._layout: Layout | None = None
        self._lines: ContentCache[tuple[TextBlock, ...]] = ContentCache(4096)

    def find(self, frame: Frame, gate: GateToken | None = None) -> Layout:
        """Returns the layout of `frame`. Unchanged content costs the comparison of tile hashes, a change its place.

        Raises GateClosed, within a few ms of a screen that may take a hundred; the next call begins it anew.
        """
        changed = self._changed_tiles(frame)
        self._hashes = None  # until it is done, nothing is known
        if changed is None or self._layout is None:
            self._edges = find_edges(frame.pixels)
            self._layout = self._read_layout(frame.pixels, self._edges, gate)
        elif len(changed):
            for row, column in changed.tolist():
                _update_edges(self._edges, frame.pixels, row * TILE, column * TILE)
            window = _window(changed, self._layout, self._edges)
            if window is None:
                self._layout = self._read_layout(frame.pixels, self._edges, gate)
            else:
                x, y, w, h = window
                inside = self._read_layout(frame.pixels[y : y + h, x : x + w], self._edges[y : y + h, x : x + w], gate)
                self._layout = _patched(self._layout, window, inside)
        self._hashes = frame.hashes.copy()
        return self._layout

    def _changed_tiles(self, frame: Frame) -> NDArray[np.int64] | None:
        """Returns the (row, column) of tiles unlike the last ones; None when most are, or nothing is known."""
        known = self._hashes
        if known is None or known.shape != frame.hashes.shape or self._edges.shape != frame.pixels.shape[:2]:
            return None
        changed = np.argwhere((known != frame.hashes).any(axis=2))
        return None if 2 * len(changed) > frame.hashes.shape[0] * frame.hashes.shape[1] else changed

    def _read_layout(self, pixels: Pixels, directed: NDArray[np.uint8], gate: GateToken | None) -> Layout:
        """Returns what stands in `pixels` (h, w, 4), whose edges are `directed` (h, w)."""
        height, width = directed.shape
        runs = find_runs(directed != 0)
        labels = label(runs)
        boxes = bounds(runs, labels)
        kinds = [_kind(directed, row) for row in while_open(gate, boxes.tolist())]
        _demote_glyphs(boxes, kinds)
        glyphs = _letters(directed, runs, labels, boxes, kinds)
        shapes: list[Shape] = []
        for number, (row, kind) in enumerate(while_open(gate, zip(boxes.tolist(), kinds, strict=True))):
            parts: list[Shape] = []
            if kind in ("text", "figure", "box") and row[2] >= _STRAIGHT and row[3] >= _LEAST_JOINED:
                own = crop_component(runs, labels == number, row)
                parts = _part_joined(own, glyphs, pixels, row)
            if kind == "box" and len(parts) < 2:
                parts = [Shape(Box(*row[:4]), kind, _fill(pixels, row))]
            elif kind in ("ring", "figure"):
                parts.append(Shape(Box(*row[:4]), kind, _fill(pixels, row)))
            shapes.extend(parts)
        return _layout(width, height, self._find_lines(pixels, glyphs, gate), shapes)

    def _find_lines(self, pixels: Pixels, glyphs: Mask, gate: GateToken | None) -> list[TextBlock]:
        runs = find_runs(glyphs, bridge=_LETTER_GAP)
        blobs = bounds(runs, label(runs))
        blobs = blobs[(blobs[:, 3] >= 4) | (blobs[:, 2] >= 4)]
        lines: list[TextBlock] = []
        for x, y, w, h, _ in while_open(gate, _join_words(blobs)):
            x, y = max(0, int(x) - 1), max(0, int(y) - 1)
            crop = pixels[y : y + int(h) + 2, x : x + int(w) + 2]
            found = self._lines.get_or(crop[..., :3], lambda crop=crop: _split_lines(crop))  # type: ignore[misc]
            lines.extend(
                TextBlock(Box(x + line.box.x, y + line.box.y, line.box.w, line.box.h), line.ink, line.paper)
                for line in found
            )
        return lines


def _layout(width: int, height: int, texts: Iterable[TextBlock], shapes: Iterable[Shape]) -> Layout:
    return Layout(
        width,
        height,
        tuple(sorted(texts, key=lambda text: (text.box.y, text.box.x, text.box.w))),
        tuple(sorted(shapes, key=lambda shape: (shape.box.y, shape.box.x, shape.box.w))),
    )


def _window(changed: NDArray[np.int64], layout: Layout, edges: NDArray[np.uint8]) -> Box | None:
    """Returns a part of the screen that holds every change and whatever was found near it, whole.

    None when there is no such part: something large is cut by it, or an edge crosses its rim.
    """
    top, left = (changed.min(axis=0) * TILE).tolist()
    bottom, right = ((changed.max(axis=0) + 1) * TILE).tolist()
    window = Box(left, top, min(right, layout.width) - left, min(bottom, layout.height) - top)
    window = window.grown(_NEAR, layout.width, layout.height)
    boxes = [text.box for text in layout.texts] + [shape.box for shape in layout.shapes]
    while True:
        cut = [box for box in boxes if box.meets(window) and not window.contains(box) and not box.contains(window)]
        if not cut:
            break
        for box in cut:
            window = window.union(box.grown(_RIM, layout.width, layout.height))
    if 2 * window.area > layout.width * layout.height:
        return None
    x, y, w, h = window
    part = edges[y : y + h, x : x + w] != 0
    rims = [(x > 0, part[:, 0]), (y > 0, part[0]), (window.right < layout.width, part[:, -1])]
    rims.append((window.bottom < layout.height, part[-1]))
    return None if any(is_inner and rim.any() for is_inner, rim in rims) else window


def _patched(layout: Layout, window: Box, inside: Layout) -> Layout:
    """Returns `layout` with what stands in `window` replaced by `inside`, whose places are relative to it."""
    x, y = window.x, window.y
    texts = [text for text in layout.texts if not window.contains(text.box)]
    shapes = [shape for shape in layout.shapes if not window.contains(shape.box)]
    texts += [replace(text, box=text.box.moved(x, y)) for text in inside.texts]
    shapes += [replace(shape, box=shape.box.moved(x, y)) for shape in inside.shapes]
    return _layout(layout.width, layout.height, texts, shapes)


def find_edges(pixels: Pixels) -> NDArray[np.uint8]:
    """Returns (h, w) uint8 for pixels (h, w, 4): bit 0 where the right neighbour differs by 32 in some channel, bit 1
    where the lower one does."""
    height, width = pixels.shape[:2]
    edges = np.zeros((height, width), dtype=np.uint8)
    if width > 1:
        edges[:, :-1] = _differs(pixels[:, 1:], pixels[:, :-1])
    if height > 1:
        edges[:-1] |= _differs(pixels[1:], pixels[:-1]) * _DOWN
    return edges


def _differs(first: Pixels, second: Pixels) -> Mask:
    difference = np.maximum(first, second)
    difference -= np.minimum(first, second)
    packed = np.ascontiguousarray(difference).view(np.uint32)[..., 0]
    different: Mask = (packed & _EDGE_BITS) != 0
    return different


def _update_edges(edges: NDArray[np.uint8], pixels: Pixels, top: int, left: int) -> None:
    """Computes the edges of one tile anew, and of the row above and the column left of it, which look into it."""
    top, left, bottom, right = max(0, top - 1), max(0, left - 1), top + TILE, left + TILE
    part = find_edges(pixels[top : bottom + 1, left : right + 1])
    target = edges[top:bottom, left:right]
    target[...] = part[: target.shape[0], : target.shape[1]]


def _letters(
    edges: NDArray[np.uint8], runs: Runs, labels: NDArray[np.int64], boxes: NDArray[np.int64], kinds: list[str]
) -> Mask:
    """Returns the edges that may be letters: all but rings, rules, rims of boxes, and straight lines of what is wide.

    What stands in a box may touch its rim (a label one pixel from it does), so the inside of a box stays.
    """
    if not len(labels):
        return np.zeros(edges.shape, dtype=np.bool_)
    is_text = np.array([kind not in ("ring", "line") for kind in kinds], dtype=np.bool_)
    is_text &= ~(np.array([kind == "box" for kind in kinds]) & (boxes[:, 2:4].max(axis=1) < _LEAST_LABELLED))
    glyphs = paint(runs, is_text[labels], edges.shape)
    is_wide = is_text & ((boxes[:, 2] >= _WIDE) | (boxes[:, 3] >= _WIDE))
    glyphs &= ~(_straight_lines(edges) & paint(runs, is_wide[labels], edges.shape))
    for row, kind in zip(boxes.tolist(), kinds, strict=True):
        if kind == "box":
            x, y, w, h = row[:4]
            rim = 4 if min(w, h) >= 18 else 3
            for strip in (glyphs[y : y + 2, x : x + w], glyphs[y + h - 2 : y + h, x : x + w]):
                strip[...] = False
            for strip in (glyphs[y : y + h, x : x + 2], glyphs[y : y + h, x + w - 2 : x + w]):
                strip[...] = False
            for top in (y, y + h - rim):
                for left in (x, x + w - rim):
                    glyphs[top : top + rim, left : left + rim] = False
    return glyphs


def _straight_lines(edges: NDArray[np.uint8]) -> Mask:
    """Returns the pixels of long level and upright edges: borders and rules that text may touch."""
    level = find_runs(edges == _DOWN)
    upright = find_runs(np.ascontiguousarray(edges.T == _ACROSS))
    lines = paint(level, level.end - level.start >= _STRAIGHT // 2, edges.shape)
    lines |= paint(upright, upright.end - upright.start >= _STRAIGHT // 2, edges.shape[::-1]).T
    return lines


def crop_component(runs: Runs, mine: Mask, row: list[int]) -> Mask:
    """Returns (h, w) bool: one component's own pixels in its bounding box `row` (x, y, w, h, …)."""
    x, y, w, h = row[:4]
    own = Runs(runs.row[mine] - y, runs.start[mine] - x, runs.end[mine] - x)
    return paint(own, np.ones(len(own.row), dtype=np.bool_), (h, w))


def _part_joined(own: Mask, glyphs: Mask, pixels: Pixels, row: list[int]) -> list[Shape]:
    """Finds the boxes of a component whose borders touch each other, and wipes those borders from `glyphs`."""
    x, y = row[:2]
    shapes = []
    for hole in enclosed_boxes(own):
        left, top = x + hole.x - 2, y + hole.y - 2
        box = Box(left, top, hole.w + 4, hole.h + 4)
        inside = glyphs[top + 2 : top + 2 + hole.h, left + 2 : left + 2 + hole.w].copy()
        glyphs[max(0, top) : box.bottom, max(0, left) : box.right] = False
        glyphs[top + 2 : top + 2 + hole.h, left + 2 : left + 2 + hole.w] = inside
        box = Box(left + 1, top + 1, hole.w + 2, hole.h + 2)
        shapes.append(Shape(box, "box", _fill(pixels, list(box))))
    return shapes


def _kind(edges: NDArray[np.uint8], row: list[int]) -> str:
    x, y, w, h = row[:4]
    if (w >= _STRAIGHT and h <= 4) or (h >= _STRAIGHT and w <= 4) or (h >= _STRAIGHT // 2 and w <= 2):
        return "line"
    if w >= 9 and h >= 9:
        part = edges[y : y + h, x : x + w]
        kind = outline_kind((part & _ACROSS) != 0, (part & _DOWN) != 0)
        if kind:
            return kind
    if h > _TALLEST_TEXT or (w > 4 * _TALLEST_TEXT and h > _TALLEST_TEXT // 2):
        return "figure"
    return "text"


def _demote_glyphs(boxes: NDArray[np.int64], kinds: list[str]) -> None:
    """Turns small rings and boxes that stand among letters (an O, a 0, a D) back into text."""
    letters = boxes[[kind == "text" for kind in kinds]]
    round_ones = boxes[[kind in ("text", "ring") for kind in kinds]]
    for index, kind in enumerate(kinds):
        x, y, w, h = (int(value) for value in boxes[index][:4])
        text = round_ones if kind == "ring" else letters  # boxes may stand in a row, rings that touch are a word
        if kind not in ("box", "ring") or h > 40 or w > 40 or not len(text):
            continue
        beside = np.maximum(text[:, 0], x) - np.minimum(text[:, 0] + text[:, 2], x + w)
        shared = np.minimum(text[:, 1] + text[:, 3], y + h) - np.maximum(text[:, 1], y)
        near = (
            (beside >= 0)
            & (beside <= max(1, round(_LETTER_SPACING * h)))
            & (2 * shared >= h)
            & (text[:, 3] * 1.35 >= h)
        )
        if near.any():
            kinds[index] = "text"


def _fill(pixels: Pixels, row: list[int]) -> Colour:
    """Returns the commonest colour on a grid of samples inside a box: its ground, whatever is written on it."""
    x, y, w, h = row[:4]
    inside = pixels[y + h // 8 : y + h - h // 8 : max(1, h // 12), x + w // 8 : x + w - w // 8 : max(1, w // 12), :3]
    packed = inside.reshape(-1, 3).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    colours, counts = np.unique(packed, return_counts=True)
    if not len(colours):
        return 0, 0, 0
    colour = int(colours[int(np.argmax(counts))])
    return colour >> 16, colour >> 8 & 255, colour & 255


def _join_words(blobs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins blobs (k, 5) of one line whose gap is a space of their own size (larger fonts have wider spaces)."""
    if len(blobs) < 2:
        return blobs
    order = np.argsort(blobs[:, 0], kind="stable")
    blobs = blobs[order].copy()
    alive = np.ones(len(blobs), dtype=np.bool_)
    for index in range(len(blobs)):
        while True:
            x, y, w, h = (int(value) for value in blobs[index][:4])
            if h < 12 or not alive[index]:
                break
            gap = blobs[:, 0] - (x + w)
            shared = np.minimum(blobs[:, 1] + blobs[:, 3], y + h) - np.maximum(blobs[:, 1], y)
            lower, taller = np.minimum(blobs[:, 3], h), np.maximum(blobs[:, 3], h)
            joins = alive & (gap >= 0) & (1.8 * gap <= taller) & (10 * shared >= 7 * lower) & (2 * lower >= taller)
            joins[index] = False
            other = int(np.argmax(joins))
            if not joins[other]:
                break
            right = max(x + w, int(blobs[other, 0] + blobs[other, 2]))
            bottom = max(y + h, int(blobs[other, 1] + blobs[other, 3]))
            top = min(y, int(blobs[other, 1]))
            blobs[index, :4] = (x, top, right - x, bottom - top)
            alive[other] = False
    return blobs[alive]


def _split_lines(crop: Pixels) -> tuple[TextBlock, ...]:
    """Cuts a blob (h, w, 4) into its text lines: rows without ink part them. Boxes are relative to the crop."""
    packed = np.ascontiguousarray(crop).view(np.uint32)[..., 0] & np.uint32(0x00FFFFFF)
    colours, counts = np.unique(packed, return_counts=True)
    paper = colours[int(np.argmax(counts))]
    paper_bgr = np.array([paper & 255, paper >> 8 & 255, paper >> 16 & 255], dtype=np.int16)
    contrast = np.abs(crop[..., :3].astype(np.int16) - paper_bgr).max(axis=2)
    ink = contrast >= _INK
    if len(ink) >= _LEAST_JOINED:
        ink[:, ink.mean(axis=0) > 0.95] = False  # a border beside the lines, which would join them
    lines: list[TextBlock] = []
    for top, bottom in _bands(ink.any(axis=1)):
        for left, right in _spans(ink[top:bottom].any(axis=0), max(8, bottom - top)):
            part = Box(left, top, right - left, bottom - top)
            letters = _without_rules(ink[top:bottom, left:right])
            rows = np.flatnonzero(letters.any(axis=1))
            if len(rows) == 0 or (len(rows) < 2 and part.w < 2):
                continue
            strength = np.where(letters, contrast[top:bottom, left:right], 0)
            row, column = np.unravel_index(int(np.argmax(strength)), strength.shape)
            blue, green, red = crop[top + int(row), left + int(column), :3].tolist()
            box = Box(left, top + int(rows[0]), part.w, int(rows[-1] - rows[0]) + 1)
            lines.append(TextBlock(box, (blue, green, red), _colour(paper_bgr)))
    return tuple(lines)


def _without_rules(ink: Mask) -> Mask:
    """Returns the ink without long level strokes (underlines of this line or the last), unless nothing is left."""
    runs = find_runs(ink)
    rules = runs.end - runs.start >= max(12, 5 * len(ink) // 4)
    if not rules.any():
        return ink
    letters = ink & ~paint(runs, rules, ink.shape)
    return letters if letters.any() else ink


def _colour(bgr: NDArray[np.int16]) -> Colour:
    blue, green, red = bgr.tolist()
    return blue, green, red


def _spans(filled: NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    """Returns the [start, end) stretches of a bool vector, joined over fewer than `gap` empty places."""
    runs = find_runs(filled[None, :], bridge=gap - 1)
    return [(int(start), int(end)) for start, end in zip(runs.start, runs.end, strict=True)]


def _bands(rows: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Returns the [top, bottom) of lines. Up to 3 rows are a dot, an accent or an underline of a neighbour."""
    bands = _spans(rows, 1)
    joined: list[tuple[int, int]] = []
    for top, bottom in bands:
        if joined:
            above = joined[-1]
            thin = bottom - top <= 3 or above[1] - above[0] <= 3
            if thin and top - above[1] <= 3:
                joined[-1] = (above[0], bottom)
                continue
        joined.append((top, bottom))
    return joined
