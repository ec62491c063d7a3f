"""Where to look for what is not on the screen: in closed lists, behind tabs, further down, on the next page.

    a closed list ─► what the instruction says to look through ─► scroll ─► turn the page ─► other labels, each once

Every label is tried once (the memory keeps which), so that a search ends.
"""

from __future__ import annotations

import re

from runtime.agent.acts import Act, click
from runtime.agent.geometry import Box
from runtime.agent.instruction import Goal
from runtime.agent.matching import find
from runtime.agent.memory import Memory
from runtime.agent.reading import Screen, part
from runtime.wire.actions import Key, Scroll, Type

_MOST_SCROLLS = 12
_MOST_TRIES = 24
_NEXT_WORDS = ("next", "next page", "more")
_NEXT_MARK = re.compile(r"^[<«‹≤\d\s]*[>»›≥→]$")  # an underlined > reads as ≥
_FOLDED = "+▸►▶›⊞田申亩由甲曲"  # a boxed plus is read as one of these characters


def search(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    """Returns an action that may bring `name` to the screen; None when everything was tried."""
    for way in (_closed_list, _hinted, _scrolling, _turning, _anything):
        act = way(screen, goals, memory, name)
        if act is not None:
            return act
    return None


def _closed_list(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    """Opens a list; when the name is not among what it shows, types it, as lists take the first letters."""
    if memory.phase == 1:
        memory.phase = 2
        return Act(Type(name), confidence=0.5)
    if memory.phase == 2:
        memory.phase = 3
        return Act(Key("enter"), confidence=0.5)
    choosers = [widget for widget in screen.of_kind("chooser") if not memory.has_tried(f"list {widget.box}")]
    if memory.phase or not choosers or goals[memory.goal].verb not in ("select", "click"):
        return None
    memory.try_once(f"list {choosers[0].box}")
    memory.phase = 1
    return click(choosers[0].box, 0.8)


def _hinted(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    """Clicks labels that carry the word which the instruction says to look through ("tabs", "sections")."""
    kinds = {goal.kind for goal in goals[: memory.goal + 1] if goal.verb in ("seek", "look") and goal.kind}
    if not kinds:
        return None
    for line in screen.lines:
        text = screen.text(line)
        if any(find(kind, text).score >= 0.7 for kind in kinds) and not memory.has_tried(text):
            memory.try_once(text)
            return click(line.box, 0.6)
    for widget in screen.of_kind("circle", "radio"):
        if "menu" in kinds and not memory.has_tried("ring"):
            memory.try_once("ring")
            return click(widget.box, 0.5)
    return None


def scrollable(screen: Screen) -> list[Box]:
    """Returns what may hold more than it shows, the largest first: areas and panels, else figures with lines."""
    boxes = [widget.box for widget in screen.of_kind("area", "panel")]
    if not boxes:
        most = screen.layout.width * screen.layout.height // 2
        boxes = [shape.box for shape in screen.layout.shapes if shape.kind == "figure" and shape.box.area < most]
        boxes = [box for box in boxes if sum(box.holds(*line.box.centre) for line in screen.lines) >= 3]
    return sorted(boxes, key=lambda box: -box.area)


def _scrolling(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    areas = scrollable(screen)
    if memory.scrolled < 0 or memory.scrolled >= _MOST_SCROLLS or not areas:
        return None
    if memory.scrolled and screen.digest == memory.screen:
        memory.scrolled = -1
        return None
    memory.scrolled += 1
    return Act(Scroll(*areas[0].centre, 0, 1), confidence=0.5)


def turn_page(screen: Screen, memory: Memory) -> Act | None:
    """Clicks what turns the page, once for every page that is seen: a mark after page numbers, or a word."""
    seen = f"turn {screen.digest}"
    if memory.has_tried(seen):
        return None
    for line in reversed(screen.lines):
        reading = screen.read(line)
        text = reading.text
        is_word = text.lower() in _NEXT_WORDS
        if is_word or _NEXT_MARK.match(text):
            memory.try_once(seen)
            return click(line.box if is_word else part(line.box, reading, len(text) - 1, len(text)), 0.6)
    return None


def _turning(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    return turn_page(screen, memory)


def _anything(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    """Clicks labels not tried yet, but none that a later goal names: those come when their time comes.

    Where some carry the mark of something folded, those without it are leaves and are left alone.
    """
    if len(memory.tried) >= _MOST_TRIES:
        return None
    later = [other for goal in goals[memory.goal + 1 :] for other in goal.names]
    fields = [widget.box for widget in screen.of_kind("field", "area")]
    labels = []
    for line in screen.lines:
        text = screen.text(line)
        letters = sum(character.isalnum() for character in text)
        if not letters or memory.has_tried(text) or any(box.holds(*line.box.centre) for box in fields):
            continue
        if not any(find(other, text).score >= 0.7 for other in later):
            labels.append((line, text))
    folded = [(line, text) for line, text in labels if any(mark in text[:2] for mark in _FOLDED)]
    for line, text in folded or labels:
        memory.try_once(text)
        reading = screen.read(line)
        words = part(line.box, reading, min(2, len(text) - 1), len(text)) if folded else line.box
        return click(words, 0.4)
    return None
