"""The layout of a screen in numpy: what kernels/frames/layout.h means, an obvious step after the other, and slow.

Texts and shapes are tuples as the kernel's rows: x, y, w, h, kind, colour, paper; colours are 0xRRGGBB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.kernels.frames.boxes_model import contrast as contrast_of
from tests.kernels.frames.boxes_model import ground_of
from tests.kernels.frames.runs_model import Runs, bounds, find_runs, label, paint

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Item = tuple[int, int, int, int, str, int, int]

_LEAST_EDGE = 24  # of 255, in some channel
_ACROSS, _DOWN = np.uint8(1), np.uint8(2)  # a pixel differs from its right neighbour, from the one below
_STRAIGHT = 24  # pixels: what is longer and thin is a rule, not a letter
_LETTER_GAP = 4  # pixels between letters, and between words of small fonts
_TALLEST_TEXT = 64
_INK = 40  # of 255 in some channel: what differs so much from the ground is ink
_THICKEST = 3  # pixels from one side of a border to the other, where text may touch it
_DEEPEST = 6  # pixels from a field's rim to the ring in it that shows its focus
_WIDE = 48  # pixels: a wider component is more than a letter, so that straight lines in it are not stems
_LEAST_LABELLED = 28  # pixels: a smaller box holds a tick or an icon, no label,
_LEAST_WIDER = 3  # pixels: but where it is so much wider than high, as a day of a calendar is
_LEAST_JOINED = 12  # pixels: lower components cannot hold a field
_LEAST_CUT = 8  # rows of a blob in which a column may be a border beside the lines
_LEAST_CURSOR, _TALLEST_CURSOR = 4, 2.6  # columns of a block cursor; times as tall as wide it is at most
_NOT_ALONE = 1.5  # times the height of a cursor that joins its line to the one above
_LEAST_CARET, _WIDEST_CARET = 10, 2  # rows and columns of a text cursor,
_THINNEST_STEM = 6  # which is at least so many times taller than wide,
_CARET_ABOVE = 1  # and begins at least so many rows above all letters of its line
_SOFT_RIM = 2  # pixels from the edge of a soft letter to its ink, in its row
_MOST_PASSES = 4  # there and back over a blob, to find all ink that hangs together with letters
_LETTER_SPACING = 0.1  # of a letter's height: a small ring or box this near to a glyph is a glyph itself
_SIDE_STRAIGHT = 0.5  # of each side of a box; rounded corners take the rest (a 13-pixel box to tick has 7)
_LONG_STRAIGHT = 0.8  # of the long sides of a low, wide box, whose corners may take more of its short ones:
_SHORT_STRAIGHT = 0.4  # a button of 15 pixels with corners of 4
_SIDE_COVERED = 0.7  # of each side of a hole
_LEAST_HOLE = 7  # pixels; smaller enclosed places are the insides of letters
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)


class Box(NamedTuple):
    x: int
    y: int
    w: int
    h: int


def find_layout(pixels: Pixels, directed: NDArray[np.uint8]) -> tuple[list[Item], list[Item]]:
    """Returns the texts and the shapes of `pixels` (h, w, 4), whose edges are `directed` (h, w)."""
    runs = find_runs(directed != 0)
    labels = label(runs, directed.shape[1])
    boxes = bounds(runs, labels)
    kinds = [_kind(directed, row) for row in boxes.tolist()]
    _demote_glyphs(boxes, kinds)
    glyphs = _letters(directed, runs, labels, boxes, kinds)
    shapes: list[Item] = []
    for number, (row, kind) in enumerate(zip(boxes.tolist(), kinds, strict=True)):
        parts: list[Item] = []
        if kind in ("text", "figure", "box") and row[2] >= _STRAIGHT and row[3] >= _LEAST_JOINED:
            own = crop_component(runs, labels == number, row)
            parts = _part_joined(own, glyphs, pixels, row)
        is_whole = kind in ("ring", "figure") or (kind == "box" and len(parts) < 2)
        if kind == "box" and len(parts) == 1 and 2 * parts[0][2] * parts[0][3] >= row[2] * row[3]:
            parts = []  # it is the inside of the box; a smaller one is something in it
        if is_whole:
            parts.append((*row[:4], kind, _fill(pixels, row), 0))
        shapes.extend(parts)
    return _in_order(_find_lines(pixels, directed, glyphs)), _in_order(shapes)


def _in_order(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item[1], item[0], item[2]))


def _find_lines(pixels: Pixels, edges: NDArray[np.uint8], glyphs: Mask) -> list[Item]:
    runs = find_runs(glyphs, bridge=_LETTER_GAP)
    blobs = bounds(runs, label(runs, glyphs.shape[1]))
    blobs = blobs[(blobs[:, 3] >= 4) | (blobs[:, 2] >= 4)]
    edged = glyphs.copy()  # edges are at the left or upper one of two pixels that differ, and the rim of a soft letter
    edged[1:] |= glyphs[:-1]
    for apart in range(1, _SOFT_RIM + 1):
        edged[:, apart:] |= glyphs[:, :-apart]
    lines: list[Item] = []
    for x, y, w, h, _ in _join_words(edges, blobs).tolist():
        x, y = max(0, x - 1), max(0, y - 1)
        part = slice(y, y + h + 2), slice(x, x + w + 2)
        items = _split_lines(pixels[part], edged[part])
        lines.extend((x + item[0], y + item[1], *item[2:]) for item in items)
    return lines


def find_edges(pixels: Pixels) -> NDArray[np.uint8]:
    """Returns (h, w) uint8 for pixels (h, w, 4): bit 0 where the right neighbour differs in some channel, bit 1
    where the lower one does."""
    height, width = pixels.shape[:2]
    edges = np.zeros((height, width), dtype=np.uint8)
    if width > 1:
        edges[:, :-1] = _differs(pixels[:, 1:], pixels[:, :-1])
    if height > 1:
        edges[:-1] |= _differs(pixels[1:], pixels[:-1]) * _DOWN
    return edges


def _differs(first: Pixels, second: Pixels) -> Mask:
    apart = np.maximum(first, second)[..., :3] - np.minimum(first, second)[..., :3]
    different: Mask = (apart >= _LEAST_EDGE).any(axis=2)
    return different


def _letters(
    edges: NDArray[np.uint8], runs: Runs, labels: NDArray[np.int64], boxes: NDArray[np.int64], kinds: list[str]
) -> Mask:
    """Returns the edges that may be letters: all but rings, rules, rims of boxes, and straight lines of what is wide.

    What stands in a box may touch its rim (a label one pixel from it does), so the inside of a box stays.
    """
    if not len(labels):
        return np.zeros(edges.shape, dtype=np.bool_)
    is_text = np.array([kind not in ("ring", "line") for kind in kinds], dtype=np.bool_)
    is_small = (boxes[:, 2:4].max(axis=1) < _LEAST_LABELLED) & (boxes[:, 2] - boxes[:, 3] < _LEAST_WIDER)
    is_text &= ~(np.array([kind == "box" for kind in kinds]) & is_small)
    glyphs = paint(runs, is_text[labels], edges.shape)
    is_wide = is_text & ((boxes[:, 2] >= _WIDE) | (boxes[:, 3] >= _WIDE))
    _clear_straight(glyphs, edges, paint(runs, is_wide[labels], edges.shape))
    for row, kind in zip(boxes.tolist(), kinds, strict=True):
        if kind == "box":
            x, y, w, h = row[:4]
            rim = 4 if min(w, h) >= 18 else 3
            for strip in (glyphs[y : y + 2, x : x + w], glyphs[y + h - 2 : y + h, x : x + w]):
                strip[...] = False
            for strip in (glyphs[y : y + h, x : x + 2], glyphs[y : y + h, x + w - 2 : x + w]):
                strip[...] = False
            # Corners are round the farther in the thicker the border is.
            for side, inward in ((x, 1), (x + w - 1, -1)):
                far = _clear_beside(glyphs.T, edges.T, side, slice(y, y + h), _ACROSS)
                far += _clear_ring(glyphs.T, edges.T, side, slice(y, y + h), inward)
                wide = rim + max(apart * inward for apart in far)
                high = max(rim, min(wide, h // 3))
                left = x if inward == 1 else max(0, x + w - wide)
                for top in (y, max(0, y + h - high)):
                    glyphs[top : top + high, left : left + wide] = False
    return glyphs


def _clear_straight(glyphs: Mask, edges: NDArray[np.uint8], wide: Mask) -> None:
    """Clears long level and upright edges of what is wide: borders and rules that text may touch. Of a border's other
    side, which text has broken, what there is of it."""
    for turned, kind in ((False, _DOWN), (True, _ACROSS)):
        letters, seen, inside = (part.T if turned else part for part in (glyphs, edges, wide))
        lines = find_runs(np.ascontiguousarray(seen == kind))
        for row, start, end in zip(lines.row.tolist(), lines.start.tolist(), lines.end.tolist(), strict=True):
            if end - start < _STRAIGHT // 2 or not inside[row, start]:
                continue
            letters[row, start:end] = False
            _clear_beside(letters, seen, row, slice(start, end), kind)


def _clear_beside(letters: Mask, seen: NDArray[np.uint8], row: int, part: slice, kind: np.uint8) -> list[int]:
    """Clears what there is of a border's other side, up to _THICKEST from a row of it, where that is half of it.

    Returns how far each lies, 0 among them.
    """
    found = [0]
    for beside in range(max(0, row - _THICKEST), min(len(seen), row + _THICKEST + 1)):
        same = seen[beside, part] == kind
        if beside != row and 2 * np.count_nonzero(same) >= part.stop - part.start:
            letters[beside, part] &= ~same
            found.append(beside - row)
    return found


def _clear_ring(letters: Mask, seen: NDArray[np.uint8], row: int, part: slice, inward: int) -> list[int]:
    """Clears the side of a ring that shows a field's focus, two thirds of the field's border at `row` or more.

    Returns how far each edge of it lies from `row`.
    """
    found = []
    for apart in range(_THICKEST + 1, _DEEPEST + 1):
        side = row + apart * inward
        if 0 <= side < len(seen) and 3 * np.count_nonzero(seen[side, part] == _ACROSS) >= 2 * (part.stop - part.start):
            letters[side, part] = False
            found += [apart * inward + beside for beside in _clear_beside(letters, seen, side, part, _ACROSS)]
    return found


def crop_component(runs: Runs, mine: Mask, row: list[int]) -> Mask:
    """Returns (h, w) bool: one component's own pixels in its bounding box `row` (x, y, w, h, …)."""
    x, y, w, h = row[:4]
    own = Runs(runs.row[mine] - y, runs.start[mine] - x, runs.end[mine] - x)
    return paint(own, np.ones(len(own.row), dtype=np.bool_), (h, w))


def _part_joined(own: Mask, glyphs: Mask, pixels: Pixels, row: list[int]) -> list[Item]:
    """Finds the boxes of a component whose borders touch each other, and wipes those borders from `glyphs`."""
    x, y = row[:2]
    shapes: list[Item] = []
    for hole in enclosed_boxes(own):
        left, top = x + hole.x - 2, y + hole.y - 2
        box = Box(left, top, hole.w + 4, hole.h + 4)
        inside = glyphs[top + 2 : top + 2 + hole.h, left + 2 : left + 2 + hole.w].copy()
        glyphs[max(0, top) : top + box.h, max(0, left) : left + box.w] = False
        glyphs[top + 2 : top + 2 + hole.h, left + 2 : left + 2 + hole.w] = inside
        box = Box(left + 1, top + 1, hole.w + 2, hole.h + 2)
        shapes.append((*box, "box", _fill(pixels, list(box)), 0))
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


def _fill(pixels: Pixels, row: list[int]) -> int:
    """Returns the commonest colour on a grid of samples inside a box: its ground, whatever is written on it."""
    x, y, w, h = row[:4]
    inside = pixels[y + h // 8 : y + h - h // 8 : max(1, h // 12), x + w // 8 : x + w - w // 8 : max(1, w // 12), :3]
    packed = inside.reshape(-1, 3).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    colours, counts = np.unique(packed, return_counts=True)
    if not len(colours):
        return 0
    colour = int(colours[int(np.argmax(counts))])
    return colour >> 16 | colour & 0xFF00 | (colour & 255) << 16


def _join_words(edges: NDArray[np.uint8], blobs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins blobs (k, 5) of one line whose gap is a space of their own size (larger fonts have wider spaces) and holds
    no border."""
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
            for other in np.flatnonzero(joins):
                joins[other] = not _is_parted(edges, blobs[index], blobs[other])
            other = int(np.argmax(joins))
            if not joins[other]:
                break
            right = max(x + w, int(blobs[other, 0] + blobs[other, 2]))
            bottom = max(y + h, int(blobs[other, 1] + blobs[other, 3]))
            top = min(y, int(blobs[other, 1]))
            blobs[index, :4] = (x, top, right - x, bottom - top)
            alive[other] = False
    return blobs[alive]


def _is_parted(edges: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether an upright edge as high as the rows that they share stands between a blob and one right of it."""
    rows = slice(max(one[1], other[1]), min(one[1] + one[3], other[1] + other[3]))
    return bool((edges[rows, one[0] + one[2] : other[0]] == _ACROSS).all(axis=0).any())


def _split_lines(crop: Pixels, edged: Mask) -> list[Item]:
    """Cuts a blob (h, w, 4) into its text lines: rows without ink part them. Boxes are relative to the crop. `edged`
    (h, w) are the pixels at which letters have an edge."""
    paper, contrast = ground_of(crop), contrast_of(crop)
    ink = contrast >= _INK
    if len(ink) >= _LEAST_CUT:
        ink[:, ink.mean(axis=0) > 0.95] = False  # a border beside the lines, which would join them
    _clear_cursors(ink)
    ink = _of_letters(ink, edged)
    _clear_caret(ink)
    lines: list[Item] = []
    for top, bottom in _bands(ink.any(axis=1)):
        for left, right in _spans(ink[top:bottom].any(axis=0), max(8, bottom - top)):
            letters = _without_rules(ink[top:bottom, left:right])
            rows = np.flatnonzero(letters.any(axis=1))
            if len(rows) == 0 or (len(rows) < 2 and right - left < 2):
                continue
            strength = np.where(letters, contrast[top:bottom, left:right], 0)
            row, column = np.unravel_index(int(np.argmax(strength)), strength.shape)
            blue, green, red = crop[top + int(row), left + int(column), :3].tolist()
            ink_colour = blue | green << 8 | red << 16
            height = int(rows[-1] - rows[0]) + 1
            lines.append((left, top + int(rows[0]), right - left, height, "text", ink_colour, int(paper)))
    return lines


def _clear_cursors(ink: Mask) -> None:
    """Clears solid boxes that stand alone and are taller than wide, but for those as high as the whole."""
    height, width = ink.shape
    for x in range(width):
        for top, bottom in _spans(ink[:, x].copy(), 1):
            tall = bottom - top
            if tall < _LEAST_CUT or height < _NOT_ALONE * tall:
                continue
            right = x
            while right < width and ink[top:bottom, right].all() and not ink[max(0, top - 1) : top, right].any():
                if ink[bottom : bottom + 1, right].any():
                    break
                right += 1
            alone = not ink[top:bottom, max(0, x - 1) : x].any() and not ink[top:bottom, right : right + 1].any()
            if alone and _LEAST_CURSOR <= right - x < tall <= _TALLEST_CURSOR * (right - x):
                ink[top:bottom, x:right] = False


def _of_letters(ink: Mask, edged: Mask) -> Mask:
    """Returns the ink that hangs together with letters: no corners of a ring around a field, no text cursor.

    It is found in so many passes, down and up, each there and back along every row; what winds more is lost.
    """
    kept = ink & edged
    down = list(range(len(ink)))
    for _ in range(_MOST_PASSES):
        for order in (down, down[::-1]):
            beside = np.zeros(ink.shape[1] + 2, dtype=np.bool_)
            for row in order:
                kept[row] |= ink[row] & (beside[:-2] | beside[1:-1] | beside[2:])
                for start, end in _spans(ink[row].copy(), 1):
                    kept[row, start:end] = kept[row, start:end].any()
                beside[1:-1] = kept[row]
    return kept


def _clear_caret(ink: Mask) -> None:
    """Clears a text cursor: the last stroke of a line, upright and thin, that begins above all its letters and ends
    below."""
    columns = np.flatnonzero(ink.any(axis=0))
    if not len(columns):
        return
    right = int(columns[-1]) + 1
    strokes = [_spans(ink[:, x].copy(), 1) for x in range(max(0, right - 1 - _WIDEST_CARET), right)]
    wide = next((n for n, stroke in enumerate(reversed(strokes)) if stroke != strokes[-1]), len(strokes))
    (top, bottom), *more = strokes[-1]
    others = np.flatnonzero(ink[:, : right - wide].any(axis=1))
    if more or wide > _WIDEST_CARET or bottom - top < max(_LEAST_CARET, _THINNEST_STEM * wide) or not len(others):
        return
    if others[0] >= top + _CARET_ABOVE and others[-1] + 1 < bottom:
        ink[top:bottom, right - wide : right] = False


def _without_rules(ink: Mask) -> Mask:
    """Returns the ink without long level strokes (underlines of this line or the last), unless nothing is left."""
    runs = find_runs(ink)
    rules = runs.end - runs.start >= max(12, 5 * len(ink) // 4)
    if not rules.any():
        return ink
    letters = ink & ~paint(runs, rules, ink.shape)
    return letters if letters.any() else ink


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


def outline_kind(across: NDArray[np.bool_], down: NDArray[np.bool_]) -> str:
    """Returns "box", "ring" or "" for the edges (h, w) bool inside a component's bounding box.

    `across` marks pixels unlike their right neighbour, `down` those unlike the one below. The sides of a box are
    straight: level edges above and below, upright ones left and right; a word's rim is neither.
    """
    height, width = across.shape
    level, upright = down & ~across, across & ~down
    sides = (level[:3].mean(axis=1), level[-3:].mean(axis=1), upright[:, :3].mean(axis=0), upright[:, -3:].mean(axis=0))
    top, bottom, left, right = (float(side.max()) for side in sides)
    is_long = width >= 2 * height and min(top, bottom) >= _LONG_STRAIGHT
    if min(top, bottom) >= _SIDE_STRAIGHT and min(left, right) >= (_SHORT_STRAIGHT if is_long else _SIDE_STRAIGHT):
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
    labels = label(runs, width, diagonal=False)
    boxes = bounds(runs, labels)
    found: list[Box] = []
    for number, (x, y, w, h, pixels) in enumerate(boxes.tolist()):
        reaches_rim = x == 0 or y == 0 or x + w == width or y + h == height
        if reaches_rim or w < _LEAST_HOLE or h < _LEAST_HOLE or 2 * pixels < w * h:
            continue
        mine = labels == number
        lengths = runs.end[mine] - runs.start[mine]
        rows = runs.row[mine]
        free = np.bincount(rows - y, lengths, h)
        top, bottom = free[:2].max() / w, free[-2:].max() / w
        left = np.count_nonzero(runs.start[mine] <= x + 1) / h
        right = np.count_nonzero(runs.end[mine] >= x + w - 1) / h
        if min(top, bottom, left, right) >= _SIDE_COVERED:
            found.append(Box(x, y, w, h))
    return found
