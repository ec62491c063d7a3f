"""What the owner of a desktop allows on it, whatever a car asks for: one TOML file, read by the connector alone.

    action ─► hours ─► rates ─► where (regions, windows) ─► what (keys, text) ─► consequential? ─► applied
                 each may refuse, with a reason of its own on the wire

Deciding is a function of the action, two clocks and what was typed and is held; `LimitKeeper` only remembers. A
consequential action is refused with `needs_ask` until a person at the desktop has approved it by the approve hotkey.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from firmware_bridge.errors import SettingsError
from firmware_bridge.settings import load, setting
from runtime.desktop.chords import parse_chord
from runtime.desktop.errors import LimitsError
from runtime.desktop.takeover import TakeoverRules
from runtime.wire.actions import Action, Click, Drag, Hold, Key, Move, Release, Scroll, Type
from runtime.wire.tables import Refusal

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?:(\w{3})(?:-(\w{3}))? )?(\d\d):(\d\d)-(\d\d):(\d\d)")
_FOCUS: list[tuple[int, int] | None] = [None]
_TAIL = 256  # characters typed before that a forbidden text may have begun in
_KEYS_OF_CHARS = {"\n": "enter", "\r": "enter", "\t": "tab", "\b": "backspace"}
WindowOf = Callable[[tuple[int, int] | None], frozenset[str]]


@dataclass(frozen=True)
class Limits:
    """What a car may do on this desktop. An empty list allows everything that it could limit."""

    regions: tuple[str, ...] = setting((), doc="Where the pointer may act: 'x,y,w,h' in pixels, each")
    windows: tuple[str, ...] = setting((), doc="Windows that may be worked: patterns of their class or title")
    forbidden_keys: tuple[str, ...] = setting((), doc="Chords that are refused: 'ctrl+alt+delete', 'super'")
    forbidden_text: tuple[str, ...] = setting((), doc="Patterns that may not be typed, also not in several pieces")
    actions_per_s: float = setting(0.0, doc="At most so many actions; 0: any", low=0, high=1000)
    characters_per_s: float = setting(0.0, doc="At most so many typed characters; 0: any", low=0, high=10000)
    hours: tuple[str, ...] = setting((), doc="When it may be worked, local time: 'mon-fri 08:00-18:00', '22:00-06:00'")
    ask_keys: tuple[str, ...] = setting((), doc="Chords that a person must approve")
    ask_text: tuple[str, ...] = setting((), doc="Patterns in typed text that a person must approve")
    ask_regions: tuple[str, ...] = setting((), doc="Where a click must be approved by a person: 'x,y,w,h'")
    approve_s: float = setting(60.0, doc="An approval is good for so long, for one action", unit="s", low=1, high=3600)

    def __post_init__(self) -> None:
        for region in (*self.regions, *self.ask_regions):
            parse_region(region)
        for pattern in (*self.windows, *self.forbidden_text, *self.ask_text):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a pattern: {error}") from error
        for chord in (*self.forbidden_keys, *self.ask_keys):
            parse_chord(chord)
        for hours in self.hours:
            parse_hours(hours)


@dataclass(frozen=True)
class Takeovers:
    """How a person takes the desktop from the agent and gives it back. An empty hotkey is none."""

    quiet_s: float = setting(3.0, doc="The agent goes on after so long without input", unit="s", low=0.5, high=3600)
    resume_hotkey: str = setting("ctrl+alt+enter", doc="The agent goes on at once")
    stop_hotkey: str = setting("ctrl+alt+escape", doc="Ends the session")
    approve_hotkey: str = setting("ctrl+alt+y", doc="Approves the consequential action that was refused last")
    stop_s: float = setting(600.0, doc="No session for so long after a stop", unit="s", low=0, high=86400)

    def __post_init__(self) -> None:
        for chord in filter(None, (self.resume_hotkey, self.stop_hotkey, self.approve_hotkey)):
            parse_chord(chord)

    def rules(self) -> TakeoverRules:
        """Returns them as the machine of takeover.py takes them."""
        return TakeoverRules(self.quiet_s, self.resume_hotkey, self.stop_hotkey, self.stop_s, self.approve_hotkey)


@dataclass(frozen=True)
class Logging:
    """What is kept of sessions on this desktop. The log itself always is; typed texts never are."""

    pictures: bool = setting(False, doc="A small picture of the screen at every action, beside the log")


@dataclass(frozen=True)
class DesktopRules:
    """The file: [limits], [takeover] and [log]."""

    limits: Limits = field(default_factory=Limits)
    takeover: Takeovers = field(default_factory=Takeovers)
    log: Logging = field(default_factory=Logging)


def load_rules(path: str | os.PathLike[str]) -> DesktopRules:
    """Returns the rules in the TOML file `path`. Raises LimitsError, with file, key, expected and got."""
    try:
        return load(path, DesktopRules)
    except SettingsError as error:
        raise LimitsError(error.message) from error


class LimitKeeper:
    """Holds `limits` against one session's actions, and remembers what they need: rates, the last typed characters.

    `clock` is in ns and does not go back, `local_time` the wall clock where the desktop stands; `window_of` names the
    window at a point, or the one with the focus for None.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], int],
        *,
        local_time: Callable[[], datetime.datetime] = datetime.datetime.now,
        window_of: WindowOf = lambda point: frozenset(),
    ) -> None:
        self._limits, self._clock, self._local_time, self._window_of = limits, clock, local_time, window_of
        self._regions = [parse_region(region) for region in limits.regions]
        self._ask_regions = [parse_region(region) for region in limits.ask_regions]
        self._hours = [parse_hours(hours) for hours in limits.hours]
        self._forbidden = [re.compile(pattern) for pattern in limits.forbidden_text]
        self._ask_text = [re.compile(pattern) for pattern in limits.ask_text]
        self._windows = [re.compile(pattern) for pattern in limits.windows]
        self._actions = Bucket(limits.actions_per_s, clock())
        self._characters = Bucket(limits.characters_per_s, clock())
        self._typed = ""
        self._held: frozenset[int] = frozenset()
        self._asked: bytes = b""
        self._approved: bytes = b""
        self._approved_until_ns = 0

    def check(self, action: Action) -> Refusal:
        """Returns why `action` is refused, `Refusal.none` if it is not; then it counts as done."""
        refusal = self._check(action)
        if refusal is Refusal.none:
            now_ns = self._clock()
            self._actions.take(1, now_ns)
            self._characters.take(len(typed_text(action)), now_ns)
            self._typed = (self._typed + typed_text(action))[-_TAIL:]
            if isinstance(action, Hold):
                self._held = self._held.union(*pressed_keys(action))
            elif isinstance(action, Release):
                self._held = self._held.difference(*pressed_keys(action))
        return refusal

    def session_opened(self) -> None:
        """A new session holds nothing yet."""
        self._held = frozenset()

    def approve(self) -> bool:
        """A person approves the action that was refused last with `needs_ask`. Returns whether there was one."""
        if not self._asked:
            return False
        self._approved, self._asked = self._asked, b""
        self._approved_until_ns = self._clock() + int(self._limits.approve_s * 1e9)
        return True

    def _check(self, action: Action) -> Refusal:
        if isinstance(action, Release):
            return Refusal.none  # letting go is always allowed
        if self._hours and not any(is_within(hours, self._local_time()) for hours in self._hours):
            return Refusal.limits_hours
        now_ns, text = self._clock(), typed_text(action)
        if not self._actions.has(1, now_ns) or not self._characters.has(len(text), now_ns):
            return Refusal.limits_rate
        points = _points(action)
        if self._regions and not all(any(_covers(region, point) for region in self._regions) for point in points):
            return Refusal.limits_region
        if self._windows and not all(self._is_allowed_window(point) for point in points or _FOCUS):
            return Refusal.limits_window
        keys = [pressed | self._held for pressed in pressed_keys(action)]
        if any(_presses(keys, chord) for chord in self._limits.forbidden_keys):
            return Refusal.limits_key
        if text and self._finds(self._forbidden, text):
            return Refusal.limits_text
        return self._consequential(action, points, keys, text)

    def _consequential(
        self, action: Action, points: list[tuple[int, int]], keys: list[frozenset[int]], text: str
    ) -> Refusal:
        is_press = isinstance(action, Click | Drag)
        needs_ask = (
            any(_presses(keys, chord) for chord in self._limits.ask_keys)
            or (is_press and any(_covers(region, point) for region in self._ask_regions for point in points))
            or (bool(text) and self._finds(self._ask_text, text))
        )
        if not needs_ask:
            return Refusal.none
        name = msgspec.msgpack.encode(action)
        if name == self._approved and self._clock() < self._approved_until_ns:
            self._approved = b""
            return Refusal.none
        self._asked = name
        return Refusal.needs_ask

    def _finds(self, patterns: list[re.Pattern[str]], text: str) -> bool:
        """Returns whether typing `text` now completes one of `patterns`."""
        whole = self._typed + text
        return any(match.end() > len(self._typed) for pattern in patterns for match in pattern.finditer(whole))

    def _is_allowed_window(self, point: tuple[int, int] | None) -> bool:
        names = self._window_of(point)
        return any(pattern.search(name) for pattern in self._windows for name in names)


class Bucket:
    """A rate: `per_s` a second (0: any), at most a second's worth at once, or one if that is more."""

    def __init__(self, per_s: float, now_ns: int) -> None:
        self._per_s, self._size = per_s, max(per_s, 1.0)
        self._left, self._at_ns = self._size, now_ns

    def has(self, count: int, now_ns: int) -> bool:
        """Returns whether `count` may be done now. More than a second's worth may be once that is saved up."""
        return not self._per_s or self._level(now_ns) >= min(count, self._size)

    def take(self, count: int, now_ns: int) -> None:
        """Notes that `count` are done; more than there was is paid for by waiting longer."""
        self._left, self._at_ns = self._level(now_ns) - count, now_ns

    def _level(self, now_ns: int) -> float:
        return min(self._size, self._left + (now_ns - self._at_ns) / 1e9 * self._per_s)


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Returns (x, y, w, h) of "x,y,w,h". Raises ValueError."""
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a region 'x,y,w,h'") from error
    if w <= 0 or h <= 0:
        raise ValueError(f"the region {text!r} is empty")
    return x, y, w, h


def parse_hours(text: str) -> tuple[frozenset[int], int, int]:
    """Returns (weekdays, first minute, minute after the last) of "mon-fri 08:00-18:00". Raises ValueError."""
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not of the form 'mon-fri 08:00-18:00' or '08:00-18:00'")
    first_day, last_day = found[1] or "mon", found[2] or found[1] or "sun"
    if first_day not in _DAYS or last_day not in _DAYS:
        raise ValueError(f"{text!r}: the days are {', '.join(_DAYS)}")
    first, last = _DAYS.index(first_day), _DAYS.index(last_day)
    days = frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))
    begin, end = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
    if max(begin, end) > 24 * 60 or begin == end:
        raise ValueError(f"{text!r}: times go from 00:00 to 24:00, and the two differ")
    return days, begin, end


def is_within(hours: tuple[frozenset[int], int, int], now: datetime.datetime) -> bool:
    """Returns whether `now` lies in `hours`; those that end before they begin go over midnight."""
    days, begin, end = hours
    minute = now.hour * 60 + now.minute
    if begin < end:
        return now.weekday() in days and begin <= minute < end
    return (now.weekday() in days and minute >= begin) or ((now.weekday() - 1) % 7 in days and minute < end)


def typed_text(action: Action) -> str:
    """Returns the characters that `action` types: a text, or a key that is a character without modifiers."""
    if isinstance(action, Type):
        return action.text
    if isinstance(action, Key):
        if len(action.chord) == 1:
            return action.chord
        return {"space": " ", "enter": "\n", "tab": "\t"}.get(action.chord.lower(), "")
    return ""


def pressed_keys(action: Action) -> list[frozenset[int]]:
    """Returns the keysyms that `action` presses together, one set for each time. Chords that are none press nothing."""
    try:
        if isinstance(action, Key):
            chord = parse_chord(action.chord)
            return [frozenset((*chord.modifiers, chord.keysym))]
        if isinstance(action, Hold | Release):
            return [frozenset((parse_chord(action.key).keysym,))]
        if isinstance(action, Click | Drag):
            return [frozenset(parse_chord(name).keysym for name in action.modifiers)]
    except ValueError:
        return []  # the desktop itself refuses it
    if isinstance(action, Type):
        return [
            frozenset((parse_chord(_KEYS_OF_CHARS[char]).keysym,)) for char in set(action.text) & set(_KEYS_OF_CHARS)
        ]
    return []


def _presses(keys: list[frozenset[int]], chord: str) -> bool:
    """Returns whether one of `keys` holds the whole `chord`: with more modifiers it still does what it does."""
    parsed = parse_chord(chord)
    wanted = frozenset((*parsed.modifiers, parsed.keysym))
    return any(wanted <= pressed for pressed in keys)


def _points(action: Action) -> list[tuple[int, int]]:
    if isinstance(action, Move | Click | Scroll):
        return [(action.x, action.y)]
    return list(action.path) if isinstance(action, Drag) else []


def _covers(region: tuple[int, int, int, int], point: tuple[int, int]) -> bool:
    x, y, w, h = region
    return x <= point[0] < x + w and y <= point[1] < y + h
