"""Where to click for a name, a kind or a place in a row, and the pixels which that depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.agent.blocks import Colour
from runtime.agent.geometry import Box, same_line
from runtime.agent.instruction import Goal
from runtime.agent.reading import Found, Screen
from runtime.agent.widgets import Widget
from runtime.agent.words import COLOURS

_ENOUGH = 0.7
_ENOUGH_SHORT = 0.8  # for names of up to three characters
_TICK_GAP = 20  # pixels between a box to tick and its label
_INK_DIFFERS = 70  # of 255 in some channel


@dataclass(frozen=True)
class Target:
    """What to click. `region` is what must not have changed; `label` is how it is remembered."""

    x: int
    y: int
    region: Box
    label: str
    confidence: float


def at(box: Box, label: str, confidence: float) -> Target:
    x, y = box.centre
    return Target(x, y, box, label, confidence)


def named(screen: Screen, name: str, goal: Goal, strict: bool = True) -> Target | None:
    """Returns what carries `name`, or None if nothing does well enough.

    A tick beside the name is the target itself, and what follows a label ("Phone: 555 1234") is meant by it. `strict`:
    a link must look like one.
    """
    enough = _ENOUGH if len(name) > 3 else _ENOUGH_SHORT
    ranked = sorted(screen.find(name), key=lambda found: -(found.score + _bonus(screen, found, goal)))
    ranked = [found for found in ranked if found.score >= enough]
    if goal.kind == "link" and strict:
        ranked = [found for found in ranked if looks_like_link(screen, found.box)]
    if not ranked:
        return None
    found = ranked[0]
    tick = tick_beside(screen, found.box)
    if tick is not None:
        return at(tick.box, found.text, found.score)
    rest = found.line.box.right - found.box.right
    after = Box(found.box.right + found.box.h, found.box.y, rest - found.box.h, found.box.h)
    if after.w > 2 * found.box.h and looks_like_link(screen, after) and not looks_like_link(screen, found.box):
        return at(after, found.text, found.score)
    return at(found.box, found.text, found.score)


def looks_like_link(screen: Screen, box: Box) -> bool:
    """Whether a piece of text has another colour than black, grey or white, and another ground."""
    x, y, w, h = box
    inside = screen.view.pixels[y : y + h, x : x + w, :3].reshape(-1, 3).astype(np.int16)
    spread = inside.max(axis=1) - inside.min(axis=1)
    return 0.04 < float((spread >= _INK_DIFFERS).mean()) < 0.8


def tick_beside(screen: Screen, box: Box) -> Widget | None:
    """Returns the box or ring to tick whose label stands at `box`: the nearest one to its left, else to its right."""
    beside = [
        (box.gap(widget.box)[0] + (0 if widget.box.x < box.x else _TICK_GAP), widget)
        for widget in screen.of_kind("tick", "radio")
        if same_line(widget.box, box) and -6 <= box.gap(widget.box)[0] <= _TICK_GAP
    ]
    return min(beside, key=lambda pair: pair[0])[1] if beside else None


def widgets_of(screen: Screen, kind: str) -> list[Box]:
    """Returns the boxes of all that a person would call a `kind`, in reading order."""
    if kind == "field":
        return [widget.box for widget in screen.of_kind("field") or screen.of_kind("area")]
    if kind == "area":
        return [widget.box for widget in screen.of_kind("area") or screen.of_kind("panel")]
    if kind in ("link", "result"):
        return links(screen)
    if kind in ("tick", "radio"):
        return _alike([widget.box for widget in screen.of_kind(kind)])
    if kind == "button":
        return [widget.box for widget in screen.of_kind(kind)]
    if kind == "list":
        return [widget.box for widget in screen.of_kind("chooser") or screen.of_kind("area")]
    if kind == "circle":
        return [widget.box for widget in screen.of_kind("circle", "radio")]
    return []


def _alike(boxes: list[Box]) -> list[Box]:
    """Returns the largest group of one size: a knob or an icon among boxes to tick is none of them."""
    groups = [[other for other in boxes if abs(other.w - box.w) + abs(other.h - box.h) <= 3] for box in boxes]
    return max(groups, key=len, default=[])


def links(screen: Screen) -> list[Box]:
    """Returns the lines that look like links, in reading order: of one colour, and more than page numbers."""
    framed = [widget.box for widget in screen.of_kind("button", "field", "chooser")]
    lines = [
        line
        for line in screen.lines
        if is_coloured(line.ink)
        and _has_letters(screen.text(line))
        and not any(box.holds(*line.box.centre) for box in framed)
    ]
    bluest = max(lines, key=lambda line: line.ink[0] - max(line.ink[1:]), default=None)
    return [line.box for line in lines if bluest is not None and not differs(line.ink, bluest.ink)]


def _has_letters(text: str) -> bool:
    return sum(character.isalpha() for character in text) >= 2


def differs(first: Colour, second: Colour) -> bool:
    return max(abs(one - other) for one, other in zip(first, second, strict=True)) >= _INK_DIFFERS


def is_coloured(colour: Colour) -> bool:
    return max(colour) - min(colour) >= _INK_DIFFERS


def coloured(screen: Screen, name: str) -> Target | None:
    """Returns the shape whose ground is nearest to the colour `name` (an HTML colour), None if no shape is near."""
    wanted = COLOURS.get(name.lower())
    shapes = [shape for shape in screen.layout.shapes if shape.kind != "figure" and shape.box.area < 60_000]
    if wanted is None or not shapes:
        return None
    distance = [sum(abs(a - b) for a, b in zip(wanted, shape.fill[::-1], strict=True)) for shape in shapes]
    nearest = int(np.argmin(distance))
    return at(shapes[nearest].box, name, 0.9) if distance[nearest] <= 90 else None


def _bonus(screen: Screen, found: Found, goal: Goal) -> float:
    """Returns what speaks for a place besides its text: the kind of widget that was asked for."""
    bonus = 0.0
    framed = any(widget.kind == "button" and widget.box.holds(*found.box.centre) for widget in screen.widgets)
    if goal.kind == "button" or not goal.kind:
        bonus += 0.04 * framed
    if goal.kind == "link":
        bonus += 0.15 * looks_like_link(screen, found.box)
    if goal.verb == "select":
        bonus += 0.04 * (tick_beside(screen, found.box) is not None)
    return bonus
