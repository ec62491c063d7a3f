"""What is to be done next in a toolkit's window, from what the window tells of itself and of what was clicked before.

The truth is the toolkit's own: boxes, values, focus and selections are asked of the widgets, so that it also knows the
way back from what was done wrong.
"""

from __future__ import annotations

import random
from typing import Any

from models.screen_agent.oracles.oracle import Move
from models.screen_agent.toolkits.specs import Goal, Window
from runtime.desktop.episodes import Box
from runtime.wire.actions import Action, Click, Done, Key, Scroll, Type

_INNER = 0.6  # clicks fall into this part of a box around its middle
_MOST_TRIES = 2  # clicks on one button: Tk now and then misses one, and a third is no demonstration
_LOGGED = frozenset({"press", "menu", "key"})


class Steps:
    """The way through one window on a screen of `size` pixels."""

    def __init__(self, window: Window, size: tuple[int, int], rng: random.Random) -> None:
        self._window, self._size, self._rng = window, size, rng
        self._clicked: tuple[int, int] | None = None
        self._tried = (0, 0)  # entries of the log, and how often something was clicked since

    def did(self, taken: Action) -> None:
        """Notes what was done."""
        if isinstance(taken, Click):
            self._clicked = (taken.x, taken.y)
            self._tried = (self._tried[0], self._tried[1] + 1)

    def next(self, told: dict[str, Any]) -> Move | None:
        """Returns the next move; None when there is none, as after a button that should not have been pressed."""
        logged = [f"{kind} {rest[-1]}" for kind, _, *rest in self._window.goals if kind in _LOGGED]
        count = len(told["log"])
        if told["log"] != logged[:count]:
            return None
        if count == len(logged):
            return Move(Done(), [], [], "")
        if self._tried[0] != count:
            self._tried = (count, 0)
        passed = 0
        for goal in self._window.goals:
            if goal[0] in _LOGGED:
                passed += 1
                if passed > count:
                    return self._logged(goal, told)
            elif passed >= count and not self._is_met(goal, told):
                self._tried = (count, 0)
                return self._towards(goal, told["parts"][goal[1]])
        return None

    def _is_met(self, goal: Goal, told: dict[str, Any]) -> bool:
        kind, place, *rest = goal
        part = told["parts"][place]
        if kind == "check":
            return bool(part["on"] == rest[0])
        if kind == "cell":
            down, across = map(int, rest[0].split(","))
            return bool(part["cells"][down][across] == rest[1])
        return bool(part["value"] == rest[0])

    def _logged(self, goal: Goal, told: dict[str, Any]) -> Move | None:
        kind, place, name = goal
        if kind == "key":
            return Move(Key(name), [], [], "")
        if kind == "menu":
            head = told["menu"][place]
            return self._click(head["items"].get(name) or head["box"])
        if self._tried[1] >= _MOST_TRIES:
            return None
        return self._click(told["parts"][place]["items"][name])

    def _towards(self, goal: Goal, part: dict[str, Any]) -> Move | None:
        kind, _, *rest = goal
        if kind in ("field", "area"):
            return self._fill(part, rest[0], kind == "area")
        if kind == "check":
            return self._click(part["box"])
        if kind == "radio":
            return self._click(part["items"][rest[0]])
        if kind == "combo":
            return self._click(part["items"].get(rest[0]) or part["box"])
        if kind == "list":
            return self._in_list(part, rest[0])
        return self._cell(part, *rest)

    def _fill(self, part: dict[str, Any], text: str, is_area: bool) -> Move | None:
        value = part["value"]
        if not (part["focus"] and self._was_clicked(part["box"])):
            return self._click(part["box"], 1 if not value or is_area else 3)
        if value and not part["whole"]:
            if is_area and text.startswith(value):
                return Move(Type(text[len(value) :]), [], [], "instruction")
            return Move(Key("backspace"), [], [], "") if is_area else self._click(part["box"], 3)
        return Move(Type(text), [], [], "instruction")

    def _in_list(self, part: dict[str, Any], name: str) -> Move | None:
        if name in part["items"]:
            return self._click(part["items"][name])
        names, seen = part["names"], list(part["items"])
        if not seen:
            return None
        down = names.index(name) > names.index(seen[0])
        box = self._seen(part["box"])
        return None if box is None else Move(Scroll(*self._inside(box), 0, 1 if down else -1), [box], [], "")

    def _cell(self, part: dict[str, Any], at: str, text: str) -> Move | None:
        editing = part["editing"]
        if part["at"] == at and editing == text:
            return Move(Key("enter"), [], [], "")
        if editing is not None:
            return Move(Key("escape"), [], [], "")
        box = part["items"].get(at)
        if box is None:
            return None
        if part["at"] != at or not self._was_clicked(box):
            return self._click(box)
        return Move(Type(text), [], [], "instruction")

    def _was_clicked(self, box: list[int]) -> bool:
        x, y, w, h = box
        return self._clicked is not None and x <= self._clicked[0] < x + w and y <= self._clicked[1] < y + h

    def _click(self, raw: list[int], count: int = 1) -> Move | None:
        box = self._seen(raw)
        return None if box is None else Move(Click(*self._inside(box), count=count), [box], [], "")

    def _seen(self, raw: list[int]) -> Box | None:
        """Returns the part of a box that lies on the screen, None for one that lies beside it."""
        left, top = max(0, raw[0]), max(0, raw[1])
        right, bottom = min(self._size[0], raw[0] + raw[2]), min(self._size[1], raw[1] + raw[3])
        return (left, top, right - left, bottom - top) if right - left > 2 and bottom - top > 2 else None

    def _inside(self, box: Box) -> tuple[int, int]:
        x, y, w, h = box
        across, down = (0.5 + _INNER * (self._rng.random() - 0.5) for _ in range(2))
        return min(x + int(w * across), x + w - 1), min(y + int(h * down), y + h - 1)
