"""Asks the page's oracle what a person would do next, and gives it as an action on the window's pixels.

    page (CSS pixels) ── ih.next(task), oracles/*.js ──► {act, boxes, ...} ──► Move(label, targets, ends, text_source)

An oracle sees the page as it is at this moment, so that it also knows a way back from whatever was done wrong before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.desktop.episodes import Box
from runtime.evaluation.chromium import Chromium
from runtime.wire.actions import Action, Click, Done, Drag, Key, Scroll, Type, Wait
from runtime.wire.actions import Move as MovePointer

_FILES = ("helpers.js", "clicking.js", "forms.js", "shapes.js", "sites.js", "made.js")
_INNER = 0.7  # clicks fall into this part of a box around its middle: its edge belongs to something else, often


@dataclass(frozen=True)
class Move:
    """What to do: the action, and everything that would be as right. Boxes are in frame pixels."""

    label: Action
    targets: list[Box]
    ends: list[Box]
    text_source: str


def source() -> str:
    """Returns the JavaScript of all oracles; it must run once in every page that is opened."""
    return "\n".join((Path(__file__).parent / name).read_text() for name in _FILES)


async def tasks_with_oracle(browser: Chromium) -> list[str]:
    """Returns the names that the oracles know, in any open page of the benchmark."""
    await browser.evaluate(source())
    names: list[str] = await browser.evaluate("Object.keys(ih.tasks)")
    return sorted(names)


class Oracle:
    """The oracle of the page that `browser` shows at `scale`; `popups` tells the boxes of windows above the page."""

    def __init__(
        self, browser: Chromium, scale: float, rng: random.Random, popups: Callable[[], Sequence[Box]] = lambda: ()
    ) -> None:
        self._browser = browser
        self._scale = scale
        self._rng = rng
        self._popups = popups
        self._size = (0, 0)

    async def load(self) -> None:
        """Puts the oracles into a page that was just opened."""
        await self._browser.evaluate(source())

    async def reset(self, width: int, height: int) -> None:
        """Forgets the episode before; frames have `width` x `height` pixels from now on."""
        self._size = (width, height)
        view = {"w": width / self._scale, "h": height / self._scale}
        await self._browser.evaluate(f"ih.reset({json.dumps(view)})")

    async def next(self, task: str) -> Move | None:
        """Returns the next move, None if there is none at this moment. Raises ChromiumFailed if the oracle does."""
        told: dict[str, Any] | None = await self._browser.evaluate(f"ih.next({json.dumps(task)})")
        if told is None:
            return None
        if told["act"] == "choose":
            return self._choose(told)
        targets = [box for raw in told.get("boxes", ()) if (box := self._box(raw)) is not None]
        ends = [box for raw in told.get("ends", ()) if (box := self._box(raw)) is not None]
        pointed = told["act"] in ("click", "move", "drag", "scroll")
        if pointed and (not targets or (told["act"] == "drag" and not ends)):
            return None
        return Move(self._action(told, targets, ends), targets, ends, told.get("source", ""))

    async def harmless(self) -> list[Box]:
        """Returns boxes that may be clicked wrongly without ending the episode."""
        raws: list[list[float]] = await self._browser.evaluate("ih.harmless()")
        return [box for raw in raws if (box := self._box(raw)) is not None]

    def _action(self, told: dict[str, Any], targets: list[Box], ends: list[Box]) -> Action:
        act = told["act"]
        if act == "type":
            return Type(told["text"])
        if act == "done":
            return Done()
        if act == "key":
            return Key(told["chord"])
        if act == "wait":
            return Wait(max(0, told["ms"]))
        if act == "drag":
            return Drag(self._path(told, targets, ends))
        x, y = self._pixel(told["at"]) if "at" in told else self.inside(targets[0])
        if act == "move":
            return MovePointer(x, y)
        if act == "scroll":
            return Scroll(x, y, told.get("dx", 0), told.get("dy", 0))
        return Click(x, y, count=told.get("count", 1), modifiers=tuple(told.get("modifiers", ())))

    def _path(self, told: dict[str, Any], targets: list[Box], ends: list[Box]) -> tuple[tuple[int, int], ...]:
        if "path" in told:
            return tuple(self._pixel(point) for point in told["path"])
        start = self._pixel(told["from"]) if "from" in told else self.inside(targets[0])
        end = self._pixel(told["to"]) if "to" in told else self.inside(ends[0])
        if "least" in told and abs(end[0] - start[0]) + abs(end[1] - start[1]) < told["least"] * self._scale:
            end = (start[0] + round(told["least"] * self._scale), end[1])
        return (start, end)

    def _choose(self, told: dict[str, Any]) -> Move | None:
        """An item of a drop-down list, which is a window of its own: its items share its height evenly."""
        popups = self._popups()
        if not popups:
            box = self._box(told["list"])
            return None if box is None else Move(Click(*self.inside(box)), [box], [], "")
        x, y, w, h = popups[-1]
        height = (h - 2) / told["count"]
        item = (x + 2, round(y + 1 + told["place"] * height) + 1, w - 4, round(height) - 2)
        return Move(Click(*self.inside(item)), [item], [], "")

    def inside(self, box: Box) -> tuple[int, int]:
        """Returns a random pixel in the inner part of `box`."""
        x, y, w, h = box
        across, down = (0.5 + _INNER * (self._rng.random() - 0.5) for _ in range(2))
        return min(x + int(w * across), x + w - 1), min(y + int(h * down), y + h - 1)

    def _pixel(self, point: Sequence[float]) -> tuple[int, int]:
        width, height = self._size
        x, y = (int(part * self._scale) for part in point)
        return min(max(x, 0), width - 1), min(max(y, 0), height - 1)

    def _box(self, raw: Sequence[float]) -> Box | None:
        """Returns the pixels of a CSS box, at least one; None if it lies outside the frame."""
        width, height = self._size
        left, top = (max(0, round(part * self._scale)) for part in raw[:2])
        right = min(width, round((raw[0] + raw[2]) * self._scale))
        bottom = min(height, round((raw[1] + raw[3]) * self._scale))
        if left >= width or top >= height:
            return None
        return left, top, max(right - left, 1), max(bottom - top, 1)
