"""What a person showed: their raw input and the screens before it, as steps of an episode. Pure; `x11/demonstrate.py`
listens and looks.

    button down, up near it           click (again there within 400 ms: one click of two)
    button down, up elsewhere         drag
    wheel                             scroll, notches in a row are one
    characters                        type, until something else is done or a second passes
    any other key, or with ctrl/alt   key

On disk it is one shard an episode (`episodes.py`), which training reads. It stays on the desktop's side: screens show
whatever was on them, and what was typed is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.desktop.chords import KEYSYMS, MODIFIERS
from runtime.desktop.episodes import Box, Shown, pack_frame
from runtime.wire.actions import MAX_TEXT, Action, Button, Click, Drag, Key, Scroll, Type, describe

NEAR_PX = 4
AGAIN_MS = 400
PAUSE_MS = 1000
TARGET_PX = 8  # half the side of the box that is taken for what was meant, where nothing knows better
_WHEEL = {4: (0, -1), 5: (0, 1), 6: (-1, 0), 7: (1, 0)}
_NAMES = {keysym: name for name, keysym in KEYSYMS.items()}
_MODIFIER_NAMES = {keysym: name for name, keysym in MODIFIERS.items()}
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Input:
    """One raw event. `kind` is key_press, key_release, button_press or button_release; `code` a button, or a keysym."""

    kind: str
    code: int
    x: int
    y: int
    time_ms: int


@dataclass
class Listener:
    """Turns input into steps. `look` returns the screen as it is (BGRX): asked before a person's next step begins.
    `tell` hears of each step, without what was typed."""

    instruction: str
    look: Callable[[], Pixels]
    tell: Callable[[str], None] = lambda said: None
    steps: list[Shown] = field(default_factory=list)
    _before: Pixels | None = None
    _down: tuple[Input, Pixels] | None = None
    _text: str = ""
    _text_frame: Pixels | None = None
    _last_ms: int = 0
    _last_click_ms: int = -AGAIN_MS
    _held: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """The screen is at rest, and nothing is under way: what a next step will be decided on."""
        if self._down is None:
            self._before = self.look()

    def hear(self, event: Input) -> None:
        """Takes one event, in order."""
        if self._text and event.time_ms - self._last_ms > PAUSE_MS:
            self._end_text()
        modifier = _MODIFIER_NAMES.get(event.code) if event.kind.startswith("key") else None
        if modifier is not None:
            self._held = [name for name in self._held if name != modifier]
            if event.kind == "key_press":
                self._held.append(modifier)
        elif event.kind == "key_press":
            self._key(event)
        elif event.kind == "button_press":
            self._press(event)
        elif event.kind == "button_release":
            self._release(event)
        self._last_ms = event.time_ms

    def finish(self) -> list[Shown]:
        """Returns all steps; what was begun and not ended is none."""
        self._end_text()
        return self.steps

    def _key(self, event: Input) -> None:
        character = _character(event.code)
        held = [name for name in self._held if name != "shift"]
        if character and not held and len(self._text) < MAX_TEXT:
            if not self._text:
                self._text_frame = self._frame()
            self._text += character
            return
        self._end_text()
        name = _NAMES.get(event.code) or character
        if name:
            self._add(self._frame(), Key("+".join([*self._held, name])), [])

    def _press(self, event: Input) -> None:
        self._end_text()
        if event.code in _WHEEL:
            self._wheel(event)
        elif event.code in list(Button):
            self._down = event, self._frame()

    def _release(self, event: Input) -> None:
        if self._down is None or self._down[0].code != event.code:
            return
        (began, frame), self._down = self._down, None
        held, button = tuple(self._held), Button(event.code)
        if max(abs(event.x - began.x), abs(event.y - began.y)) > NEAR_PX:
            drag = Drag(((began.x, began.y), (event.x, event.y)), button, held)
            self._add(frame, drag, [_around(began, frame)], [_around(event, frame)])
            return
        last = self.steps[-1].taken if self.steps else None
        is_again = (
            isinstance(last, Click)
            and (last.button, last.modifiers) == (button, held)
            and max(abs(last.x - began.x), abs(last.y - began.y)) <= NEAR_PX
            and last.count < 4
            and began.time_ms - self._last_click_ms <= AGAIN_MS
        )
        self._last_click_ms = event.time_ms
        if is_again and isinstance(last, Click):
            step = self.steps[-1]
            again = msgspec.structs.replace(last, count=last.count + 1)
            self.steps[-1] = msgspec.structs.replace(step, label=again, taken=again)
            return
        self._add(frame, Click(began.x, began.y, button, 1, held), [_around(began, frame)])

    def _wheel(self, event: Input) -> None:
        dx, dy = _WHEEL[event.code]
        last = self.steps[-1].taken if self.steps else None
        if (
            isinstance(last, Scroll)
            and event.time_ms - self._last_ms <= AGAIN_MS
            and (last.x, last.y)
            == (
                event.x,
                event.y,
            )
        ):
            more = Scroll(last.x, last.y, last.dx + dx, last.dy + dy)
            self.steps[-1] = msgspec.structs.replace(self.steps[-1], label=more, taken=more)
            return
        frame = self._frame()
        self._add(frame, Scroll(event.x, event.y, dx, dy), [_around(event, frame)])

    def _end_text(self) -> None:
        text, frame = self._text, self._text_frame
        self._text, self._text_frame = "", None
        if text and frame is not None:
            self._add(frame, Type(text), [], source="instruction" if text in self.instruction else "")

    def _frame(self) -> Pixels:
        """The screen as it was before this step began."""
        return self._before if self._before is not None else self.look()

    def _add(
        self, frame: Pixels, action: Action, targets: list[Box], ends: list[Box] | None = None, source: str = ""
    ) -> None:
        self.steps.append(Shown(pack_frame(frame), action, targets, ends or [], source, action))
        self.tell(describe(action))


def _character(keysym: int) -> str:
    """Returns the character of a keysym: Latin-1 stands for itself, others by their code point."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    return chr(keysym - 0x1000000) if 0x1000100 <= keysym <= 0x110FFFF else ""


def _around(event: Input, frame: Pixels) -> Box:
    height, width = frame.shape[:2]
    x, y = max(0, event.x - TARGET_PX), max(0, event.y - TARGET_PX)
    return x, y, min(width, event.x + TARGET_PX) - x, min(height, event.y + TARGET_PX) - y
