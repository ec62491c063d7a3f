"""One goal at a time: what to do next for it, by its verb. None means that the goal is done (or cannot be)."""

from __future__ import annotations

import re
from collections.abc import Callable

from runtime.agent.acts import Act, click
from runtime.agent.adjusting import drag, slide, spin
from runtime.agent.answers import answer, first_number, numbers, value_of
from runtime.agent.calendars import parse_date, pick_date
from runtime.agent.instruction import Goal
from runtime.agent.memory import Memory
from runtime.agent.reading import Screen
from runtime.agent.searching import scrollable, search, turn_page
from runtime.agent.targets import Target, at, coloured, named, widgets_of
from runtime.agent.typing import masked, pick_field, shown_in
from runtime.agent.words import COLOURS
from runtime.wire.actions import Click, Drag, Key, Move, Scroll, Type, Wait

_PATIENCE = 20  # looks at a screen that may still be opening; menus take a third of a second
_PAUSE_MS = 40
_LONGEST_WATCH = 5000  # looks at a number that is waited for


def do(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    """Returns the next action for the goal in hand, and moves `memory` past what it does."""
    return _DOERS[goals[memory.goal].verb](screen, goals, memory)


def confirm(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    """Presses the only button of a form that was filled in and not sent; None for anything less clear."""
    buttons = screen.of_kind("button")
    filled_in = goals[-1].verb in ("type", "paste") or goals[-1].kind in ("tick", "radio", "slider", "spinner")
    if memory.phase or not filled_in or len(buttons) != 1:
        return None
    memory.phase = 1
    return click(buttons[0].box, 0.7)


def _click(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    goal = goals[memory.goal]
    if goal.ordinal and goal.kind:
        return None if memory.phase else _click_kind(screen, goals, memory)
    date = parse_date(goal.names[0]) if goal.verb == "select" and goal.names else None
    if date is not None:
        return pick_date(screen, date, memory)
    if goal.kind == "slider" and goal.names:
        return slide(screen, goal, memory)
    if goal.kind == "spinner" and goal.names:
        return spin(screen, goal, memory)
    if goal.source:
        return _click_in_order(screen, goal, memory)
    if goal.until and not _holds(screen, goal.until):
        memory.waited += 1
        return Act(Wait(_PAUSE_MS)) if memory.waited < _LONGEST_WATCH else None
    if not goal.names:
        return None if memory.phase else _click_kind(screen, goals, memory)
    if memory.name >= len(goal.names):
        return None
    name = goal.names[memory.name]
    target = _target(screen, name, goal)
    if target is None:
        return _missing(screen, goals, memory, name)
    more_of_a_list = goal.verb == "select" and memory.name > 0 and goal.kind == "list"
    leads_on = goal.path and memory.name + 1 < len(goal.names)
    memory.next_name()
    if leads_on:  # a menu opens under the pointer; a click would choose it
        return Act(Move(target.x, target.y), target.region, target.confidence)
    return click(target.region, target.confidence, *(("ctrl",) if more_of_a_list else ()))


def _click_in_order(screen: Screen, goal: Goal, memory: Memory) -> Act | None:
    """Clicks the numbers on the screen in their order, where they stood at the first look: some pages cover them."""
    if memory.phase == 0:
        ordered = sorted(numbers(screen), key=lambda one: -one[0] if goal.source == "descending" else one[0])
        memory.used = [line.box.centre for _, line in ordered]
        memory.phase = 1
    if not memory.used:
        return None
    (x, y), *memory.used = memory.used
    return Act(Click(x, y), None, 0.9)


def _holds(screen: Screen, until: tuple[str, str, float]) -> bool:
    """Whether the number that the screen shows for a label is on the side that is waited for."""
    label, side, limit = until
    value = first_number(value_of(screen, label))
    if value is None:  # "Stock price: $49.00": the label is within the line
        value = next((first_number(found.text) for found in screen.find(label)[:1] if found.score >= 0.7), None)
    return value is not None and (value < limit if side == "less" else value > limit)


def _missing(screen: Screen, goals: tuple[Goal, ...], memory: Memory, name: str) -> Act | None:
    """Waits for what the last action may be opening, then searches, then takes what only resembles it."""
    goal = goals[memory.goal]
    if _may_be_opening(screen, goals, memory):
        memory.waited += 1
        return Act(Wait(_PAUSE_MS))
    found = search(screen, goals, memory, name)
    if found is not None:
        memory.waited = 0
        if goal.verb == "look":  # something was opened, and that was the goal
            memory.next_name()
        return found
    target = named(screen, name, goal, strict=False)
    memory.next_name()
    if target is not None:
        return click(target.region, target.confidence / 2)
    memory.missing = memory.missing or name
    return _click(screen, goals, memory)


def _may_be_opening(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> bool:
    """Whether the screen still changes, or something was just done that opens things with a delay."""
    if not memory.step or memory.waited >= _PATIENCE:
        return False
    goal = goals[memory.goal]
    after_opening = memory.goal > 0 and goals[memory.goal - 1].verb == "look"
    delayed = (goal.path and memory.name > 0) or (after_opening and memory.name == 0 and not memory.tried)
    return delayed or screen.digest != memory.screen


def _target(screen: Screen, name: str, goal: Goal) -> Target | None:
    """Returns what to click for a name: what reads so, or what has that colour."""
    if goal.kind == "circle" and {"center", "centre", "middle"} & set(goal.words):
        boxes = widgets_of(screen, "circle")
        return at(max(boxes, key=lambda box: box.area), name, 0.9) if boxes else None
    target = named(screen, name, goal)
    if target is None and name.lower() in COLOURS:
        return coloured(screen, name)
    return target


def _click_kind(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    """Clicks the n-th widget of a kind. Where a page shows fewer, it is turned and what it showed is counted."""
    goal = goals[memory.goal]
    boxes = widgets_of(screen, goal.kind)
    place = len(boxes) if goal.ordinal < 0 else max(1, goal.ordinal - memory.passed)
    if 0 < place <= len(boxes):
        memory.phase = 1
        return click(boxes[place - 1], 0.9)
    if goal.kind == "result":
        passed = len(boxes)
        act = turn_page(screen, memory)
        if act is not None:
            memory.passed += passed
            return act
    if _may_be_opening(screen, goals, memory):
        memory.waited += 1
        return Act(Wait(_PAUSE_MS))
    return None


def _type(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    goal = goals[memory.goal]
    value = goal.value or answer(screen, goal)
    if memory.phase == 2:
        return _complete(screen, goal, memory) if goal.source == "complete" else None
    if not value and memory.phase == 0:
        return None
    if memory.phase == 0:
        field = pick_field(screen, goal, memory)
        if field is None:
            return search(screen, goals, memory, goal.label or "")
        memory.phase = 1
        memory.used = [*memory.used, (field.box.x, field.box.y)]
        memory.noted = masked(value, shown_in(screen, field))
        return Act(Click(field.box.x + min(12, field.box.w // 2), field.box.centre[1]), field.box, 0.9)
    if memory.phase == 1:
        memory.phase = 0 if goal.every and pick_field(screen, goal, memory) is not None else 2
        return Act(Type(memory.noted))
    return None


def _complete(screen: Screen, goal: Goal, memory: Memory) -> Act | None:
    """Takes the suggestion under the field that ends as asked; waits a little until suggestions are there."""
    fields = [widget.box for widget in screen.of_kind("field")]
    ending = goal.names[0].lower()
    below = [line for line in screen.lines if fields and line.box.y > fields[0].y and not fields[0].meets(line.box)]
    for line in below:
        text = screen.text(line)
        if text.lower().replace(" ", "").endswith(ending.replace(" ", "")):
            memory.phase = 3
            return click(line.box, 0.8)
    memory.waited += 1
    return Act(Wait(_PAUSE_MS)) if memory.waited < 2 * _PATIENCE else None


def _focus(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    return None if memory.phase else _click_kind(screen, goals, memory)


def _seek(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    """Looks for something until it is on the screen. A mere kind ("through the tabs") tells where to look later."""
    goal = goals[memory.goal]
    if goal.names == (goal.kind,) or not goal.names:
        return None
    if all(named(screen, name, goal) is not None for name in goal.names):
        return None
    return search(screen, goals, memory, goal.names[0])


def _scroll(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    """Scrolls the largest area to its end."""
    if memory.phase and screen.digest == memory.screen:
        return None
    areas = scrollable(screen)
    if not areas or memory.phase > 20:
        return None
    memory.phase += 1
    upward = "top" in goals[memory.goal].words
    return Act(Scroll(*areas[0].centre, 0, -30 if upward else 30))


def _wait(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    if memory.phase:
        return None
    memory.phase = 1
    number = re.search(r"\d+(?:\.\d+)?", " ".join(goals[memory.goal].words))
    seconds = float(number.group()) if number else 1.0
    if any(word.startswith("ms") or word.startswith("millisecond") for word in goals[memory.goal].words):
        seconds /= 1000
    return Act(Wait(min(60_000, round(1000 * seconds) + 50)))


def _copy(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    boxes = widgets_of(screen, "area") or widgets_of(screen, "field")
    keys = (None, "ctrl+a", "ctrl+c")
    if not boxes or memory.phase >= len(keys):
        return None
    memory.phase += 1
    chord = keys[memory.phase - 1]
    return click(boxes[0]) if chord is None else Act(Key(chord))


def _paste(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    boxes = widgets_of(screen, "field")
    if not boxes or memory.phase >= 2:
        return None
    memory.phase += 1
    return click(boxes[0]) if memory.phase == 1 else Act(Key("ctrl+v"))


def _highlight(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    framed = [widget.box for widget in screen.of_kind("button", "field")]
    lines = [line for line in screen.lines if not any(box.holds(*line.box.centre) for box in framed)]
    if memory.phase or not lines:
        return None
    memory.phase = 1
    first, last = lines[0].box, lines[-1].box
    path = ((first.x - 1, first.centre[1]), first.centre, last.centre, (last.right + 1, last.centre[1]))
    return Act(Drag(path), first.union(last), 0.9)


def _drag(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    return drag(screen, goals[memory.goal], memory)


def _nothing(screen: Screen, goals: tuple[Goal, ...], memory: Memory) -> Act | None:
    return None


_DOERS: dict[str, Callable[[Screen, tuple[Goal, ...], Memory], Act | None]] = {
    "click": _click,
    "select": _click,
    "look": _click,
    "type": _type,
    "focus": _focus,
    "seek": _seek,
    "scroll": _scroll,
    "wait": _wait,
    "copy": _copy,
    "paste": _paste,
    "highlight": _highlight,
    "solve": _nothing,
    "drag": _drag,
}
