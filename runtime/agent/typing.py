"""Which field to type into, and what keys a field takes that shows a pattern instead of text."""

from __future__ import annotations

import re

from runtime.agent.geometry import Box
from runtime.agent.instruction import Goal
from runtime.agent.memory import Memory
from runtime.agent.reading import Screen
from runtime.agent.targets import named
from runtime.agent.widgets import Widget

_FAR = 10_000
_PATTERN = re.compile(r"^[\s\-—–_:./mdyh0]{3,}$", re.IGNORECASE)
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})\s*([AaPp])?")


def pick_field(screen: Screen, goal: Goal, memory: Memory) -> Widget | None:
    """Returns the field that a goal means: by its label, else its place, else the first that is not filled yet."""
    used = set(memory.used)
    fields = screen.of_kind("field") or screen.of_kind("area")
    if goal.kind == "area":
        fields = screen.of_kind("area") or fields
    if goal.ordinal and not goal.every:
        place = goal.ordinal - 1 if goal.ordinal > 0 else len(fields) - 1
        return fields[place] if 0 <= place < len(fields) else None
    fields = [field for field in fields if not any(_near(field.box, x, y) for x, y in used)]
    fields = [field for field in fields if not field.texts] or fields if not goal.label else fields
    if not fields:
        return None
    label = named(screen, goal.label, goal) if goal.label and len(fields) > 1 and not goal.every else None
    if label is None:
        return fields[0]
    return min(fields, key=lambda field: _distance(label.region, field.box))


def shown_in(screen: Screen, field: Widget) -> str:
    """Returns what a field shows; strokes too low to read are dashes, and what stands at its right end is an icon."""
    parts = [line for line in field.texts if line.box.right < field.box.right - field.box.h]
    return "".join("-" if line.box.h <= 3 else screen.text(line) for line in sorted(parts, key=lambda part: part.box.x))


def masked(value: str, pattern: str) -> str:
    """Returns the keys to press: `value`, or its digits alone in a field that shows a pattern (mm/dd/yyyy, --:--)."""
    if not _PATTERN.match(pattern):
        return value
    clock = _CLOCK.match(value)
    if clock:
        half = (clock.group(3) or "").upper()
        return f"{int(clock.group(1)):02}{clock.group(2)}{half and half + 'M'}"
    return "".join(character for character in value if character.isalnum())


def _near(box: Box, x: int, y: int) -> bool:
    return abs(box.x - x) <= 4 and abs(box.y - y) <= 4


def _distance(label: Box, field: Box) -> int:
    """Returns how far a field is from its label, which stands in it, at its left or above it."""
    if field.holds(*label.centre):
        return 0
    across, down = label.gap(field)
    left = down < 0 and label.x < field.x
    above = label.bottom <= field.y + 4 and across < 0
    return max(0, across) + max(0, down) if left or above else _FAR + max(0, across) + max(0, down)
