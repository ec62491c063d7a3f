"""What the shapes of a screen are for: fields, buttons, boxes to tick, choosers, areas, judged by looks alone.

box ─┬─ small and square ───────────────────────────── tick
     ├─ one line of text, centred, or a coloured ground ── button
     ├─ light inside, empty or text at the left ────────── field (low) · area (tall)
     ├─ text at the left, a mark at the right end ──────── chooser (a closed list)
     └─ holds other boxes or much text ─────────────────── panel
ring ── small: radio · large: circle
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.agent.blocks import Layout, Shape, TextBlock
from runtime.agent.geometry import Box, held_by, reading_order

_TICK = 28  # pixels: boxes to tick are 9 to 26 high
_LIGHT = 225
_LOWEST_AREA = 38
_WHITE = 245
_MARK_W, _MARK_H = 14, 10


@dataclass(frozen=True)
class Widget:
    """`texts` are the lines inside, in order of top edge; `kind` is one of the module's picture."""

    kind: str
    box: Box
    texts: tuple[TextBlock, ...]
    fill: tuple[int, int, int]


Known = dict[tuple[int, ...], tuple[Shape, Widget]]


def find_widgets(layout: Layout, known: Known | None = None) -> tuple[Widget, ...]:
    """Returns the widgets of a layout in reading order.

    `known` are those of the layout before, by the identity of their shape and texts, which a finder of layouts keeps
    where nothing changed; it has those of this one afterwards.
    """
    screen = layout.width * layout.height
    shapes = [shape for shape in layout.shapes if shape.kind in ("box", "ring") and 2 * shape.box.area < screen]
    held = held_by([shape.box for shape in shapes], [text.box.centre for text in layout.texts])
    framing = _hold_large_ones([shape.box for shape in shapes])
    before: Known = {} if known is None else known
    found: Known = {}
    widgets = []
    for shape, places, is_framing in zip(shapes, held, framing, strict=True):
        texts = tuple(layout.texts[place] for place in places)
        key = (id(shape), is_framing, *map(id, texts))
        found[key] = before.get(key) or (shape, _widget(shape, texts, is_framing))
        widgets.append(found[key][1])
    if known is not None:
        known.clear()
        known.update(found)
    order = reading_order([widget.box for widget in widgets])
    return tuple(widgets[index] for index in order)


def _hold_large_ones(boxes: list[Box]) -> list[bool]:
    """Returns for each box whether a smaller one that is large enough for a widget with a label lies in it."""
    x, y, w, h = np.array(boxes, dtype=np.int64).reshape(-1, 4).T
    inside = (x[:, None] <= x + 1) & (y[:, None] <= y + 1)
    inside &= ((x + w)[:, None] >= x + w - 1) & ((y + h)[:, None] >= y + h - 1)
    inside &= (w * h < (w * h)[:, None]) & (h >= 12) & (w > 14)
    found: list[bool] = inside.any(axis=1).tolist()
    return found


def _widget(shape: Shape, texts: tuple[TextBlock, ...], is_framing: bool) -> Widget:
    box = shape.box
    if shape.kind == "ring":
        return Widget("radio" if max(box.w, box.h) < _TICK else "circle", box, texts, shape.fill)
    if max(box.w, box.h) < _TICK and abs(box.w - box.h) <= 4 and not any(text.box.h > 6 for text in texts):
        return Widget("tick", box, texts, shape.fill)
    return Widget("panel" if is_framing else _by_text(box, texts, shape.fill), box, texts, shape.fill)


def _by_text(box: Box, texts: tuple[TextBlock, ...], fill: tuple[int, int, int]) -> str:
    light = min(fill) >= _LIGHT and max(fill) - min(fill) <= 30
    marks = [text for text in texts if _is_mark(box, text)]
    words = [text for text in texts if text not in marks and text.box.right < box.right - 4]
    rows = {text.box.centre[1] // max(6, text.box.h) for text in words}
    if marks and box.h < _LOWEST_AREA and len(rows) <= 1 and (not words or words[0].box.x - box.x < 16):
        return "chooser"
    if not words:
        return ("field" if box.h < _LOWEST_AREA else "area") if light and box.w >= 20 else "patch"
    if len(rows) > 1 and box.h >= _LOWEST_AREA:
        return "area" if light else "panel"
    left = min(text.box.x for text in words) - box.x
    right = box.right - max(text.box.right for text in words)
    if min(fill) >= _WHITE and left <= 12 and box.w >= 24:
        return "field" if box.h < _LOWEST_AREA and not _has_grip(box, texts) else "area"
    centred = abs(left - right) <= max(4, box.w // 12)
    return "area" if light and not centred and box.h >= 2 * _LOWEST_AREA else "button"


def _is_mark(box: Box, text: TextBlock) -> bool:
    """Whether a text block is the little arrow at the right end of a closed list."""
    at_the_end = box.right - text.box.right <= 12
    level = abs(text.box.centre[1] - box.centre[1]) <= 4
    return at_the_end and level and 4 <= text.box.w <= _MARK_W and text.box.h <= _MARK_H and text.box.w >= text.box.h


def _has_grip(box: Box, texts: tuple[TextBlock, ...]) -> bool:
    """Whether the lower right corner has the lines by which an area is resized."""
    return any(box.right - text.box.right <= 4 and box.bottom - text.box.bottom <= 4 for text in texts)
