"""Sliders, spinners and sorted lists: what is set by steps and drags instead of clicks.

slider: focus by Tab until an arrow key moves the number that the screen shows, then arrows until it is right
"""

from __future__ import annotations

from runtime.agent.acts import Act
from runtime.agent.answers import first_number, numbers
from runtime.agent.geometry import Box
from runtime.agent.instruction import Goal
from runtime.agent.memory import Memory
from runtime.agent.reading import Screen
from runtime.agent.targets import named
from runtime.agent.words import ORDINALS
from runtime.wire.actions import Click, Drag, Key

_MOST_TABS = 6
_MOST_STEPS = 150
_FEW_STEPS = 4


def slide(screen: Screen, goal: Goal, memory: Memory) -> Act | None:
    """Steps a slider until the number beside it is the one that was asked for.

    phase: 0 focus the next widget, 1 try an arrow, 2 see what it did, 3 step. noted: the last number and key.
    """
    wanted = first_number(goal.names[0]) if goal.names else None
    now = _shown_or_counted(screen, memory)
    if wanted is None or now is None or now == wanted or memory.waited > _MOST_STEPS:
        return None
    memory.waited += 1
    before, _, key = memory.noted.partition(" ")
    if memory.phase == 2:
        memory.phase = 0 if before == str(now) else 3  # the arrow moved nothing: the focus is elsewhere
    if memory.phase == 0:
        memory.passed += 1
        memory.phase, memory.noted = 1, f"{now} tab"
        return Act(Key("tab")) if memory.passed <= _MOST_TABS else None
    readable = _readout(screen) is not None
    if memory.phase == 3 and key.startswith("page") and readable:
        memory.scrolled = max(1, abs(round(now - float(before))))
    far = readable and abs(wanted - now) > (memory.scrolled / 2 if memory.scrolled else _FEW_STEPS)
    arrow, page = ("right", "pageup") if wanted > now else ("left", "pagedown")
    key = page if memory.phase == 3 and far else arrow
    memory.phase = 2 if memory.phase == 1 else 3
    memory.noted = f"{now} {key}"
    return Act(Key(key))


def _readout(screen: Screen) -> float | None:
    """Returns the first number that stands in no box or ring; None while none can be read (a knob may touch it)."""
    boxes = [shape.box for shape in screen.layout.shapes if shape.kind in ("box", "ring")]
    shown = [value for value, line in numbers(screen) if not any(box.holds(*line.box.centre) for box in boxes)]
    return shown[0] if shown else None


def _shown_or_counted(screen: Screen, memory: Memory) -> float | None:
    """Returns the slider's number as it is shown, else as the last one and the key since then make it."""
    shown = _readout(screen)
    if shown is not None or not memory.noted:
        return shown
    before, _, key = memory.noted.partition(" ")
    moved = {"right": 1, "left": -1}.get(key, 0) if screen.digest != memory.screen else 0
    return float(before) + moved


def spin(screen: Screen, goal: Goal, memory: Memory) -> Act | None:
    """Clicks the arrows of a spinner as often as its number, read at the first look, is away from the wanted one."""
    wanted = first_number(goal.names[0]) if goal.names else None
    arrows = _arrows(screen)
    if wanted is None or arrows is None:
        return None
    if memory.phase == 0:
        shown = numbers(screen)
        if not shown:
            return None
        memory.phase, memory.noted = 1, str(shown[0][0])
    left = round(abs(wanted - float(memory.noted))) - memory.passed
    if left <= 0:
        return None
    memory.passed += 1
    box = arrows[0] if wanted > float(memory.noted) else arrows[1]
    return Act(Click(*box.centre), None, 0.7)


def _arrows(screen: Screen) -> tuple[Box, Box] | None:
    """Returns two small marks of one size that stand close above one another: a spinner's arrows."""
    marks = [text.box for text in screen.layout.texts if 4 <= text.box.w <= 14 and 2 <= text.box.h <= 9]
    for upper in marks:
        for lower in marks:
            alike = abs(upper.x - lower.x) <= 2 and abs(upper.w - lower.w) <= 2 and abs(upper.h - lower.h) <= 2
            if alike and 0 < lower.y - upper.bottom <= 14:
                return upper, lower
    return None


def drag(screen: Screen, goal: Goal, memory: Memory) -> Act | None:
    """Drags what is named first to a place in its row of neighbours ("to the top", "to the 2nd position")."""
    if memory.phase or not goal.names:
        return None
    name = goal.names[0].split()[0]
    target = named(screen, name, goal)
    if target is None:
        return None
    memory.phase = 1
    row = _siblings(screen, target.region)
    place = _place(goal, len(row))
    if place is None or len(row) < 2:
        return None
    here = next((index for index, box in enumerate(row) if box.holds(target.x, target.y)), None)
    if here is None or here == place:
        return None
    goal_box = row[place]
    x, y = target.x, target.y
    end = goal_box.bottom - 2 if place > here else goal_box.y + 2
    step = 3 if end > y else -3
    path = ((x, y), (x, y + step), (x, (y + end) // 2), (x, end - step), (x, end))
    return Act(Drag(path), target.region.union(goal_box), target.confidence)


def _siblings(screen: Screen, box: Box) -> list[Box]:
    """Returns the frames in one column with the one around `box`, from top to bottom."""
    frames = [widget.box for widget in screen.widgets if widget.texts]
    mine = next((frame for frame in frames if frame.contains(box, 2)), None)
    if mine is None:
        return []
    return sorted(
        (frame for frame in frames if abs(frame.x - mine.x) <= 3 and abs(frame.w - mine.w) <= 6), key=lambda one: one.y
    )


def _place(goal: Goal, count: int) -> int | None:
    if "top" in goal.words:
        return 0
    if "bottom" in goal.words:
        return count - 1
    place = goal.ordinal or next((ORDINALS[word] for word in goal.words if word in ORDINALS), 0)
    return place - 1 if 0 < place <= count else None
