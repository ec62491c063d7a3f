"""The kinds of action that a decider chooses among, and how an action is one of them.

    Click(x, y, count=2) ─► "double-click" + a place      Scroll(x, y, 0, 3) ─► "scroll-down-3" + a place
    Drag(a closed path) ─► "drag-around-24" + its centre
    Key("ctrl+a") ─► "key ctrl+a"      Wait(40) ─► "wait-50"      Type(text) ─► "type" + where the text is from

The list is the whole vocabulary of runtime/wire/actions.py but hold and release. It is append-only: a trained network
knows a kind by its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.wire.actions import (
    LEFT,
    MIDDLE,
    RIGHT,
    Action,
    Ask,
    Click,
    Done,
    Drag,
    Fail,
    Key,
    Move,
    Scroll,
    Type,
    Wait,
)

CHORDS = (
    "enter", "tab", "shift+tab", "escape", "space", "backspace", "delete", "up", "down", "left", "right", "home", "end",
    "pageup", "pagedown", "ctrl+a", "ctrl+c", "ctrl+v", "ctrl+x", "ctrl+z", "ctrl+b", "ctrl+i", "ctrl+u", "ctrl+s",
    "ctrl+home", "ctrl+end", "ctrl+enter", "shift+left", "shift+right", "shift+up", "shift+down", "shift+home",
    "shift+end", "ctrl+left", "ctrl+right", "ctrl+shift+left", "ctrl+shift+right", "ctrl+shift+home", "ctrl+shift+end",
)  # fmt: skip
_CLICKS = {
    "click": (LEFT, 1, ()),
    "double-click": (LEFT, 2, ()),
    "triple-click": (LEFT, 3, ()),
    "right-click": (RIGHT, 1, ()),
    "middle-click": (MIDDLE, 1, ()),
    "ctrl-click": (LEFT, 1, ("ctrl",)),
    "shift-click": (LEFT, 1, ("shift",)),
}
_NOTCHES = (1, 3, 10, 30)
_SCROLLS = {
    f"scroll-{name}-{notches}": (across * notches, down * notches)
    for name, (across, down) in {"down": (0, 1), "up": (0, -1), "right": (1, 0), "left": (-1, 0)}.items()
    for notches in _NOTCHES
}
_WAITS = (50, 200, 1000, 3000)
_RADII = (12, 24, 48)  # pixels: circles that are drawn around a place
_AROUND = {f"drag-around-{radius}": radius for radius in _RADII}
KINDS = (
    *_CLICKS,
    "move",
    "drag",
    *_SCROLLS,
    "type",
    *(f"key {chord}" for chord in CHORDS),
    *(f"wait-{ms}" for ms in _WAITS),
    "done",
    "fail",
    *_AROUND,
)
_LEAST_OF_A_CIRCLE = 8  # points
INDEX = {kind: index for index, kind in enumerate(KINDS)}
WAITS = frozenset(kind for kind in KINDS if kind.startswith("wait-"))
POINTED = frozenset((*_CLICKS, "move", "drag", *_SCROLLS, *_AROUND))  # kinds that need a place


def kind_of(action: Action) -> str | None:
    """Returns the kind that is nearest to `action`; None where the vocabulary has none."""
    if isinstance(action, Click):
        wanted = action.button, action.count, tuple(action.modifiers)
        return next((name for name, click in _CLICKS.items() if click == wanted), None)
    if isinstance(action, Scroll):
        size = max(abs(action.dx), abs(action.dy), 1)
        notches = min(_NOTCHES, key=lambda one: abs(math.log(one / size)))
        down = abs(action.dy) >= abs(action.dx)
        name = ("down" if action.dy > 0 else "up") if down else ("right" if action.dx > 0 else "left")
        return f"scroll-{name}-{notches}"
    if isinstance(action, Wait):
        return f"wait-{min(_WAITS, key=lambda ms: abs(math.log(ms / max(1, action.ms))))}"
    if isinstance(action, Drag) and (circle := circle_of(action.path)) is not None:
        return f"drag-around-{min(_RADII, key=lambda one: abs(math.log(one / circle[2])))}"
    if isinstance(action, Key):
        return f"key {action.chord}" if action.chord in CHORDS else None
    plain = {Move: "move", Drag: "drag", Type: "type", Done: "done", Fail: "fail"}
    return plain.get(type(action))


def action_at(
    kind: str,
    x: int,
    y: int,
    end: tuple[int, int] | None = None,
    text: str = "",
    corner: tuple[int, int] | None = None,
) -> Action:
    """Returns the action of a kind; (x, y) is where it happens, `end` where a drag ends, `corner` where it turns,
    `text` what is typed."""
    if kind in _CLICKS:
        button, count, modifiers = _CLICKS[kind]
        return Click(x, y, button, count, modifiers)
    if kind in _SCROLLS:
        return Scroll(x, y, *_SCROLLS[kind])
    if kind == "drag":
        turn = (x, y) if corner is None else corner
        return Drag(tuple(dict.fromkeys(drag_path((x, y), turn) + drag_path(turn, end or turn))))
    if kind in _AROUND:
        return Drag(circle_path((x, y), _AROUND[kind]))
    if kind == "move":
        return Move(x, y)
    if kind == "type":
        return Type(text)
    if kind.startswith("key "):
        return Key(kind.removeprefix("key "))
    if kind.startswith("wait-"):
        return Wait(int(kind.removeprefix("wait-")))
    return Done() if kind == "done" else Ask("what is to be done here?") if kind == "ask" else Fail("this agent cannot")


def drag_path(start: tuple[int, int], end: tuple[int, int], points: int = 6) -> tuple[tuple[int, int], ...]:
    """Returns a straight path with a first small step, which is what makes most toolkits begin a drag."""
    (x, y), (to_x, to_y) = start, end
    far = max(abs(to_x - x), abs(to_y - y), 1)
    shares = [0.0, min(0.5, 4 / far), *(step / points for step in range(1, points + 1))]
    path = [(round(x + share * (to_x - x)), round(y + share * (to_y - y))) for share in sorted(shares)]
    return tuple(dict.fromkeys(path)) if start != end else (start,)


def circle_path(centre: tuple[int, int], radius: int, points: int = 24) -> tuple[tuple[int, int], ...]:
    """Returns a circle from its rightmost point and back to it; what would be off the screen's edge is on it."""
    turns = [2 * math.pi * step / points for step in range(points + 1)]
    return tuple(
        (max(0, round(centre[0] + radius * math.cos(turn))), max(0, round(centre[1] + radius * math.sin(turn))))
        for turn in turns
    )


def circle_of(path: Sequence[tuple[int, int]]) -> tuple[int, int, float] | None:
    """Returns the centre and the mean radius of a path that comes back to where it began, None for another."""
    if len(path) < _LEAST_OF_A_CIRCLE or math.dist(path[0], path[-1]) > 3:
        return None
    around = path[:-1]
    x, y = sum(point[0] for point in around) / len(around), sum(point[1] for point in around) / len(around)
    radius = sum(math.dist(point, (x, y)) for point in around) / len(around)
    return (round(x), round(y), radius) if radius >= 1 else None
