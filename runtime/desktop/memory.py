"""A desktop in memory: the same contract as the real ones, for tests, for benches without an X server, for a dry run.

    MemoryScreen    what stays: pixels, widgets, every event it got, the mark of the last action
    MemoryDesktop   one connector's hold on it: hashes, what it has pressed

Widgets are plain: a button changes its colour when it is clicked, a field draws every character that is typed into it
as a block of dots made from its code point (no font: what is typed differently looks different, on every machine).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import HASH_BYTES, changed_tiles, grid, hash_region
from kernels.gate.word import boottime_ns
from runtime.desktop.bounds import out_of_bounds
from runtime.desktop.chords import MODIFIERS, char_keysym, modifier_name, parse_chord
from runtime.desktop.errors import DesktopLost
from runtime.desktop.frame import Frame
from runtime.desktop.protocol import Applied, Mark, Phase, Step
from runtime.wire.actions import INPUTS, Action, Click, Drag, Hold, Key, Move, Precondition, Release, Scroll, Type
from runtime.wire.tables import Outcome, Refusal

_GREY, _WHITE, _DARK, _GREEN = 0xD0, 0xFF, 0x30, (0x50, 0xC0, 0x50)
_GLYPH = 8  # a character is 8×8 dots
_MODIFIER_NAMES = {keysym: name for name, keysym in MODIFIERS.items()}


class ScreenEvent(NamedTuple):
    """One input event: `kind` is motion, press or release; `what` "button N", a modifier's name or a keysym's number.

    x and y are where the pointer is; `char` is what a press types.
    """

    kind: str
    what: str
    x: int = 0
    y: int = 0
    char: str = ""


@dataclass
class Widget:
    """A button or a text field (`is_field`) at (x, y), w × h pixels. `clicks` and `text` are what it was given."""

    x: int
    y: int
    w: int
    h: int
    is_field: bool = False
    clicks: int = 0
    text: str = ""

    def covers(self, x: int, y: int) -> bool:
        """Returns whether the pixel (x, y) is on this widget."""
        return self.x <= x < self.x + self.w and self.y <= y < self.y + self.h

    def draw(self, pixels: NDArray[np.uint8]) -> None:
        """Draws this widget into `pixels`, uint8 (height, width, 4)."""
        area = pixels[self.y : self.y + self.h, self.x : self.x + self.w]
        area[:] = _DARK
        inner = area[1:-1, 1:-1]
        if not self.is_field:
            inner[..., :3] = _GREEN if self.clicks % 2 else (_WHITE, _WHITE, _WHITE)
            return
        inner[:] = _WHITE
        for index, char in enumerate(self.text):
            glyph = inner[1 : 1 + _GLYPH, 1 + index * _GLYPH : 1 + (index + 1) * _GLYPH]
            dots = np.unpackbits(np.frombuffer((ord(char) * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big"), np.uint8))
            glyph[dots.reshape(_GLYPH, _GLYPH)[: glyph.shape[0], : glyph.shape[1]] == 1] = _DARK


class MemoryScreen:
    """A screen of `width` × `height` with `widgets`, or showing `image` (uint8 (height, width, 4))."""

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        *,
        widgets: Sequence[Widget] = (),
        image: NDArray[np.uint8] | None = None,
    ) -> None:
        self.pixels = np.full((height, width, 4), _GREY, np.uint8) if image is None else image.copy()
        self.widgets = list(widgets)
        self.events: list[ScreenEvent] = []
        self.mark: Mark | None = None
        self.pointer = (0, 0)
        self.focus: Widget | None = None
        self.watchers: list[Callable[[], None]] = []
        for widget in self.widgets:
            widget.draw(self.pixels)

    def paint(self, x: int, y: int, w: int, h: int, colour: tuple[int, int, int]) -> None:
        """Fills a rectangle with `colour` (blue, green, red), as a program that changes its window would."""
        self.pixels[y : y + h, x : x + w, :3] = colour
        self.changed()

    def changed(self) -> None:
        """Tells everyone who watches that the pixels may have changed."""
        for watcher in self.watchers:
            watcher()

    def take(self, event: ScreenEvent) -> None:
        """Takes one event, where the pointer is; widgets answer presses."""
        if event.kind == "motion":
            self.pointer = event.x, event.y
        x, y = self.pointer
        self.events.append(event._replace(x=x, y=y))
        if event.kind != "press":
            return
        touched = None
        if event.what == "button 1":
            touched = self.focus = next((widget for widget in self.widgets if widget.covers(x, y)), None)
            if touched is not None:
                touched.clicks += 1
        elif event.char and self.focus is not None and self.focus.is_field:
            touched = self.focus
            touched.text += event.char
        if touched is not None:
            touched.draw(self.pixels)
            self.changed()


@dataclass
class MemoryDesktop:
    """One connector's hold on `screen`. Hashing, marks, preconditions and refusals are those of the real desktops.

    `dies_after` events (None: never) it raises DesktopLost in the middle of an action, as a killed connector would end.
    """

    screen: MemoryScreen
    dies_after: int | None = None
    clock: Callable[[], int] = boottime_ns
    _key: bytes = bytes(16)
    _held: dict[str, None] = field(default_factory=dict)
    _frame_id: int = 0
    _is_stale: bool = True

    def __post_init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        height, width = self.screen.pixels.shape[:2]
        self._hashes = np.zeros((*grid(height, width), HASH_BYTES), np.uint8)
        self._changed_at = np.zeros(grid(height, width), np.int64)
        self.screen.watchers.append(self._soil)
        self._soil()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.screen.pixels.shape[:2]
        return width, height

    def rekey(self, key: bytes) -> None:
        """Makes `key` (16 bytes) the key of every tile and region hash from now on."""
        self._key = key
        self._hashes[:] = 0
        self._soil()

    def fileno(self) -> int:
        """Returns an eventfd that is readable when the screen may have changed."""
        return self._wake

    def drain(self) -> int:
        """Returns how many tiles may have changed since the last capture: all or none, nobody tells which."""
        with self._lock:
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
                self._is_stale = True
            return self._changed_at.size if self._is_stale else 0

    def capture(self, since: int) -> Frame:
        """Returns the screen as it is now, `changed` against the frame `since` (0: all of it)."""
        began_ns = self.clock()
        if self.drain():
            self._is_stale = False
            changed, self._hashes = changed_tiles(self.screen.pixels, self._hashes, self._key)
            if changed.any():
                self._frame_id += 1
                self._changed_at[changed] = self._frame_id
        took_us = (self.clock() - began_ns) // 1000
        return Frame(
            self._frame_id, self.screen.pixels, self._changed_at > since, self._hashes.copy(), began_ns, took_us
        )

    def apply(self, action: Action, precondition: Precondition | None, step: Step) -> Applied:
        """Applies `action`, unless the pixels of `precondition` have changed."""
        refusal = self._refusal(action, precondition)
        if refusal is not None:
            return Applied(Outcome.refused, refusal, self.clock())
        self.screen.mark = Mark(step, Phase.BEGUN)
        for event in self._script(action):
            self._take(event)
        self.screen.mark = Mark(step, Phase.ENDED)
        return Applied(Outcome.applied, Refusal.none, self.clock())

    def is_quick(self, action: Action, precondition: Precondition | None) -> bool:
        """Everything is over at once here, but a drag, which is as long as others'."""
        return not isinstance(action, Drag)

    def last_mark(self) -> Mark | None:
        """Returns how far the last action on this screen came."""
        return self.screen.mark

    def sign_on(self, journal: int) -> None:
        """Leaves the mark of `journal` on a screen that has none of it."""
        if self.screen.mark is None or self.screen.mark.step.journal != journal:
            self.screen.mark = Mark(Step(journal, 0, 0), Phase.ENDED)

    def pressed(self) -> frozenset[str]:
        """Returns the names of what is held down by us."""
        return frozenset(self._held)

    def release_all(self) -> None:
        """Lets go of every key and button."""
        for what in list(self._held):
            self.screen.take(ScreenEvent("release", what))
        self._held.clear()

    def rest(self) -> bool:
        """Nothing is lent here."""
        return True

    def close(self) -> None:
        """Lets go of the screen. A second call does nothing."""
        if self._wake >= 0:
            self.release_all()
            self.screen.watchers.remove(self._soil)
            os.close(self._wake)
            self._wake = -1

    def _take(self, event: ScreenEvent) -> None:
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                raise DesktopLost("the desktop in memory was told to die here")
        if event.kind == "press":
            self._held[event.what] = None
        elif event.kind == "release":
            self._held.pop(event.what, None)
        self.screen.take(event)

    def _soil(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _refusal(self, action: Action, precondition: Precondition | None) -> Refusal | None:
        if not isinstance(action, INPUTS):
            raise TypeError(f"{type(action).__name__} is not an input")
        refusal = out_of_bounds(action, precondition, self.size) or self._bad_input(action)
        if refusal is not None or precondition is None:
            return refusal
        x, y, w, h = precondition.x, precondition.y, precondition.w, precondition.h
        has_changed = hash_region(self.screen.pixels, x, y, w, h, self._key) != bytes(precondition.hash)
        return Refusal.changed_pixels if has_changed else None

    def _bad_input(self, action: Action) -> Refusal | None:
        refusal = Refusal.bad_key
        try:
            if isinstance(action, Type):
                refusal = Refusal.bad_text
                for char in action.text:
                    char_keysym(char)
            elif isinstance(action, Key):
                parse_chord(action.chord)
            elif isinstance(action, Hold | Release):
                refusal = Refusal.not_holdable
                name = modifier_name(action.key)
                if isinstance(action, Release) and name not in self._held:
                    return Refusal.not_held
            elif isinstance(action, Click | Drag):
                for modifier in action.modifiers:
                    modifier_name(modifier)
        except ValueError:
            return refusal
        return None

    def _under(self, modifiers: Sequence[str], inner: list[ScreenEvent]) -> list[ScreenEvent]:
        """Returns `inner` under `modifiers`, except those that are held already."""
        wanted = [name for name in modifiers if name not in self._held]
        before = [ScreenEvent("press", name) for name in wanted]
        return [*before, *inner, *(ScreenEvent("release", name) for name in reversed(wanted))]

    def _script(self, action: Action) -> list[ScreenEvent]:
        """Returns the events of `action`, an input that is not bad."""
        if isinstance(action, Type):
            return [event for char in action.text for event in _stroke(str(char_keysym(char)), char)]
        if isinstance(action, Key):
            chord = parse_chord(action.chord)
            return self._under([_MODIFIER_NAMES[keysym] for keysym in chord.modifiers], _stroke(str(chord.keysym)))
        if isinstance(action, Hold):
            return [ScreenEvent("press", modifier_name(action.key))]
        if isinstance(action, Release):
            return [ScreenEvent("release", modifier_name(action.key))]
        if isinstance(action, Click | Drag):
            return self._under([modifier_name(name) for name in action.modifiers], _pointer(action))
        return _pointer(action)


def _stroke(what: str, char: str = "") -> list[ScreenEvent]:
    return [ScreenEvent("press", what, char=char), ScreenEvent("release", what)]


def _pointer(action: Action) -> list[ScreenEvent]:
    """Returns the events of a move, click, drag or scroll, without its modifiers."""
    if isinstance(action, Move):
        return [ScreenEvent("motion", "", action.x, action.y)]
    if isinstance(action, Click):
        strokes = _stroke(f"button {int(action.button)}") * action.count
        return [ScreenEvent("motion", "", action.x, action.y), *strokes]
    if isinstance(action, Scroll):
        wheel = [f"button {5 if action.dy > 0 else 4}"] * abs(action.dy)
        wheel += [f"button {7 if action.dx > 0 else 6}"] * abs(action.dx)
        return [ScreenEvent("motion", "", action.x, action.y), *(event for turn in wheel for event in _stroke(turn))]
    if isinstance(action, Drag):
        first, *rest = [ScreenEvent("motion", "", x, y) for x, y in action.path]
        button = f"button {int(action.button)}"
        return [first, ScreenEvent("press", button), *rest, ScreenEvent("release", button)]
    raise TypeError(f"{type(action).__name__} is not an input")
