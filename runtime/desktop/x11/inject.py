"""Actions as XTest events: what to send is a pure function of the action and the layout, sending is one flush.

    action ─► program: motion, presses and releases ─► told to the pressed list ─► GrabServer
        ─► the region that the action was decided on, read and hashed: changed? ─► refused, nothing was sent
        ─► mark BEGUN · events · mark ENDED ─► UngrabServer ─► one round trip ─► applied

The marks are a property of the root window, written by the same connection in the same flush as the events. The server
does a connection's requests in order, so after a `kill -9` of this process the property says how far the last action
came: one that reached the server is not *unknown* because its connector died before it could say so. What remains is a
drag that was under way, and a text longer than one write to the socket takes (some 200 characters).
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import NamedTuple

import xcffib
from xcffib.xproto import Atom, ImageFormat, PropMode

from kernels.frames.tiles import hash_region
from kernels.gate.word import boottime_ns
from runtime.desktop.bounds import out_of_bounds
from runtime.desktop.chords import MODIFIERS, char_keysym, modifier_name, parse_chord
from runtime.desktop.pressed import PressedList
from runtime.desktop.protocol import Applied, Mark, Phase, Step
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.keyboard import Keyboard, NotRead
from runtime.desktop.x11.lending import Stroke
from runtime.desktop.x11.own_events import OwnEvents
from runtime.desktop.x11.segment import Segment
from runtime.desktop.x11.xtest import (
    BUTTON_PRESS,
    BUTTON_RELEASE,
    KEY_PRESS,
    KEY_RELEASE,
    MOTION,
    Event,
    queue_events,
    release_listed,
)
from runtime.wire.actions import Action, Click, Drag, Hold, Key, Move, Precondition, Release, Scroll, Type
from runtime.wire.tables import Outcome, Refusal

_ALL_PLANES = 0xFFFFFFFF
_SHIFT = MODIFIERS["shift"]
_UP, _DOWN, _LEFT, _RIGHT = 4, 5, 6, 7
# A drag is a hand's: programs start one only after some motion under a held button, and look at it frame by frame.
_DRAG_STEP_PX, _DRAG_STEP_MS, _DRAG_STEPS_MAX = 12, 8, 40
# Chromium takes presses that carry the same millisecond for one: a double click needs time between its clicks.
_AGAIN_MS = 10
# As many events as are sent under the server grab; 200 take about 1.5 ms. What is left of a long text follows it.
_GRABBED_EVENTS = 200
_LONG_TEXT = 64  # characters
_MARK = struct.Struct("<QQQII")
_MARK_WORDS = _MARK.size // 4


class BadInput(ValueError):
    """An action that this desktop cannot inject; `refusal` is what the wire says of it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.meaning)
        self.refusal = refusal


class Part(NamedTuple):
    """Events that go out in one flush. After the last part of an action nothing has to be waited for."""

    events: list[Event]
    is_last: bool


class Injector:
    """Applies actions through `connection` (its own). `released` is a second connection, for letting go at any time.

    One `apply` at a time; `release_all` and `stop` may be called from another thread meanwhile.
    """

    def __init__(
        self,
        connection: Connection,
        releasing: Connection,
        keyboard: Keyboard,
        pressed: PressedList,
        own: OwnEvents,
    ) -> None:
        self._connection = connection
        self._releasing = releasing
        self._keyboard = keyboard
        self._pressed = pressed
        self._own = own
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._segment: Segment | None = None
        self._mark_atom = connection.atom("_IDLEHANDS_STEP")
        pressed.resource = connection.conn.generate_id()
        connection.core.CreatePixmap(1, pressed.resource, connection.root, 1, 1)
        connection.sync()

    def apply(
        self, action: Action, precondition: Precondition | None, step: Step, key: bytes, size: tuple[int, int]
    ) -> Applied:
        """Applies `action` on a screen of `size`, unless the region of `precondition` has another hash under `key`.

        Returns when the server has taken every event. Raises DesktopLost if the server went away: the outcome is then
        what the mark says, for who connects next.
        """
        for event in self._connection.events():
            self._keyboard.notice(event)
        self._stopped.clear()
        refusal = out_of_bounds(action, precondition, size)
        if refusal is not None:
            return Applied(Outcome.refused, refusal, boottime_ns())
        parts = self._parts(action)
        try:
            first = next(parts)
        except BadInput as bad:
            return Applied(Outcome.refused, bad.refusal, boottime_ns())
        except NotRead:
            return Applied(Outcome.refused, Refusal.failed, boottime_ns())
        try:
            return self._run(first, parts, precondition, step, key)
        except xcffib.ConnectionException as error:
            raise self._connection.lost() from error
        finally:
            if self._connection.is_alive():
                parts.close()  # puts the locks of the keyboard back
                self._connection.flush()

    def is_quick(self, action: Action) -> bool:
        """Returns whether `action` is over in a few milliseconds: nothing in it waits for the programs or a hand."""
        if isinstance(action, Drag):
            return False
        try:
            if isinstance(action, Type):
                return len(action.text) <= _LONG_TEXT and self._keyboard.fits([char_keysym(c) for c in action.text])
            return not isinstance(action, Key) or self._keyboard.fits([parse_chord(action.chord).keysym])
        except ValueError:  # it will be refused
            return True

    def last_mark(self) -> Mark | None:
        """Returns what the server remembers of the last action that any connector applied on it."""
        reply = self._connection.asking(
            lambda: self._connection.core.GetProperty(
                False, self._connection.root, self._mark_atom, Atom.CARDINAL, 0, _MARK_WORDS
            ).reply()
        )
        raw = bytes(reply.value.buf())
        if len(raw) != _MARK.size:
            return None
        journal, job, seq, phase, _ = _MARK.unpack(raw)
        return Mark(Step(journal, job, seq), Phase(phase))

    def sign_on(self, journal: int) -> None:
        """Leaves the mark of `journal` on a server that has none of it: without one it is another server."""
        mark = self.last_mark()
        if mark is None or mark.step.journal != journal:
            self._mark(Step(journal, 0, 0), Phase.ENDED)
            self._connection.sync()

    def pressed(self) -> frozenset[str]:
        """Returns what is held: names of modifiers, "keycode N", "button N"."""
        keys = {self._keyboard.name_of(keycode) for keycode in self._pressed.held_keys()}
        return frozenset(keys | {f"button {button}" for button in self._pressed.held_buttons()})

    def release_all(self) -> None:
        """Lets go of every key and button, now: an action that is under way sends nothing more that holds anything."""
        self._stopped.set()
        with self._lock:
            release_listed(self._releasing, self._pressed, self._own.announce)
            self._held.clear()

    def close(self) -> None:
        """Gives the shared memory back."""
        if self._segment is not None:
            self._segment.close()

    def _run(
        self, first: Part, parts: Iterator[Part], precondition: Precondition | None, step: Step, key: bytes
    ) -> Applied:
        is_grabbed, grabbed_us = precondition is not None, 0
        try:
            if precondition is not None:
                grabbed_ns = self._grab()
                if self._hash(precondition, key) != bytes(precondition.hash):
                    return Applied(Outcome.refused, Refusal.changed_pixels, boottime_ns())
            head = _grabbed_part(first.events)
            with self._lock:
                self._tell(first.events)
                self._mark(step, Phase.BEGUN)
                self._queue(first.events[:head])
                if is_grabbed:
                    self._connection.core.UngrabServer()
                self._queue(first.events[head:])
                if first.is_last:
                    self._mark(step, Phase.ENDED)
                self._connection.flush()
                if is_grabbed:
                    is_grabbed, self._pressed.grab_since_ns = False, 0
                    grabbed_us = (boottime_ns() - grabbed_ns) // 1000
            if not self._send_rest(first, parts, step):
                return Applied(Outcome.unknown, Refusal.none, boottime_ns())
            return Applied(Outcome.applied, Refusal.none, boottime_ns(), grabbed_us)
        finally:
            if is_grabbed:
                self._ungrab()

    def _send_rest(self, part: Part, parts: Iterator[Part], step: Step) -> bool:
        """Waits until the server has taken `part`, and sends what follows it. Returns whether it was not stopped."""
        self._connection.sync()
        self._untell(part.events)
        if part.is_last:
            return True
        try:
            for following in parts:  # what is not read yet is waited for here, with nothing pressed and nothing grabbed
                with self._lock:
                    if self._stopped.is_set():
                        return False
                    self._tell(following.events)
                    self._queue(following.events)
                    self._connection.flush()
                self._connection.sync()
                self._untell(following.events)
        except NotRead:
            return False
        self._mark(step, Phase.ENDED)
        self._connection.sync()
        return True

    def _grab(self) -> int:
        """Takes the whole server; returns since when. The watchdog ends our connection should we be stopped in here."""
        now_ns = boottime_ns()
        self._pressed.grab_since_ns = now_ns
        self._connection.core.GrabServer()
        return now_ns

    def _ungrab(self) -> None:
        self._connection.core.UngrabServer()
        self._connection.flush()
        self._pressed.grab_since_ns = 0

    def _hash(self, region: Precondition, key: bytes) -> bytes:
        size = region.w * region.h * 4
        if self._segment is None or self._segment.pixels.size < size:
            if self._segment is not None:
                self._segment.close()
            self._segment = Segment(self._connection, size)
        self._connection.shm.GetImage(
            self._connection.root,
            region.x,
            region.y,
            region.w,
            region.h,
            _ALL_PLANES,
            ImageFormat.ZPixmap,
            self._segment.xid,
            0,
        ).reply()
        pixels = self._segment.pixels[:size].reshape(region.h, region.w, 4)
        return hash_region(pixels, 0, 0, region.w, region.h, key)

    def _mark(self, step: Step, phase: Phase) -> None:
        words = _MARK.pack(step.journal, step.job, step.seq, phase, 0)
        self._connection.core.ChangeProperty(
            PropMode.Replace, self._connection.root, self._mark_atom, Atom.CARDINAL, 32, _MARK_WORDS, words
        )

    def _queue(self, events: list[Event]) -> None:
        queue_events(self._connection, events)

    def _tell(self, events: list[Event]) -> None:
        """Writes into the pressed list what `events` will press, and that they are ours, before they are sent."""
        self._own.announce(events)
        for kind, detail, *_ in events:
            if kind == KEY_PRESS:
                self._pressed.press_key(detail)
            elif kind == BUTTON_PRESS:
                self._pressed.press_button(detail)

    def _untell(self, events: list[Event]) -> None:
        """Takes out of the pressed list what `events` have released, or released and what was held before it."""
        with self._lock:
            self._held |= {detail for kind, detail, *_ in events if kind == KEY_PRESS}
            for kind, detail, *_ in events:
                if kind == KEY_RELEASE:
                    self._held.discard(detail)
                    self._pressed.release_key(detail)
                elif kind == BUTTON_RELEASE:
                    self._pressed.release_button(detail)

    def _parts(self, action: Action) -> Generator[Part, None, None]:
        """Yields the events of `action` in parts. Raises BadInput, in the first step, if it cannot be injected here."""
        if isinstance(action, Type):
            yield from self._typing(action.text)
        else:
            yield Part(self._events(action), is_last=True)

    def _events(self, action: Action) -> list[Event]:
        if isinstance(action, Key):
            return self._chord(action.chord)
        if isinstance(action, Hold):
            return [Event(KEY_PRESS, self._modifier(action.key, Refusal.not_holdable))]
        if isinstance(action, Release):
            keycode = self._modifier(action.key, Refusal.not_holdable)
            if keycode not in self._held:
                raise BadInput(Refusal.not_held)
            return [Event(KEY_RELEASE, keycode)]
        if isinstance(action, Click | Drag):
            modifiers = [self._modifier(name, Refusal.bad_key) for name in action.modifiers]
            return self._under(modifiers, pointer_events(action))
        return pointer_events(action)

    def _typing(self, text: str) -> Iterator[Part]:
        try:
            keysyms = [char_keysym(char) for char in text]
            shift = self._keyboard.modifier(_SHIFT)
            with self._keyboard.neutral():
                for strokes in self._keyboard.plan(keysyms, self._stopped.wait):
                    yield Part(_strokes_events(strokes, shift), is_last=len(strokes) == len(keysyms))
        except ValueError as error:
            raise BadInput(Refusal.bad_text) from error

    def _chord(self, text: str) -> list[Event]:
        try:
            chord = parse_chord(text)
            modifiers = [self._keyboard.modifier(keysym) for keysym in chord.modifiers]
            if chord.keysym in MODIFIERS.values():
                keycode = self._keyboard.modifier(chord.keysym)
            else:
                ((stroke,),) = self._keyboard.plan([chord.keysym], self._stopped.wait, plain=True)
                keycode = stroke.keycode
                if stroke.shift and _SHIFT not in chord.modifiers:
                    modifiers.append(self._keyboard.modifier(_SHIFT))
        except ValueError as error:
            raise BadInput(Refusal.bad_key) from error
        return self._under(modifiers, [Event(KEY_PRESS, keycode), Event(KEY_RELEASE, keycode)])

    def _modifier(self, name: str, refusal: Refusal) -> int:
        try:
            return self._keyboard.modifier(MODIFIERS[modifier_name(name)])
        except ValueError as error:
            raise BadInput(refusal) from error

    def _under(self, modifiers: list[int], events: list[Event]) -> list[Event]:
        """Returns `events` under `modifiers`, except those that are held already."""
        wanted = [keycode for keycode in modifiers if keycode not in self._held]
        return [
            *(Event(KEY_PRESS, keycode) for keycode in wanted),
            *events,
            *(Event(KEY_RELEASE, keycode) for keycode in reversed(wanted)),
        ]


def _strokes_events(strokes: list[Stroke], shift: int) -> list[Event]:
    """Returns the events that press `strokes` in turn, Shift (keycode `shift`) held over runs that need it."""
    events: list[Event] = []
    is_shifted = False
    for stroke in strokes:
        if stroke.shift != is_shifted:
            is_shifted = stroke.shift
            events.append(Event(KEY_PRESS if is_shifted else KEY_RELEASE, shift))
        events += [Event(KEY_PRESS, stroke.keycode), Event(KEY_RELEASE, stroke.keycode)]
    if is_shifted:
        events.append(Event(KEY_RELEASE, shift))
    return events


def pointer_events(action: Action) -> list[Event]:
    """Returns the events of a move, click, drag or scroll, without its modifiers. TypeError for another action."""
    if isinstance(action, Move):
        return [Event(MOTION, 0, action.x, action.y)]
    if isinstance(action, Click):
        press = [Event(BUTTON_PRESS, action.button), Event(BUTTON_RELEASE, action.button)]
        again = [Event(BUTTON_PRESS, action.button, delay_ms=_AGAIN_MS), Event(BUTTON_RELEASE, action.button)]
        return [Event(MOTION, 0, action.x, action.y), *press, *again * (action.count - 1)]
    if isinstance(action, Scroll):
        down = [_DOWN if action.dy > 0 else _UP] * abs(action.dy) + [_RIGHT if action.dx > 0 else _LEFT] * abs(
            action.dx
        )
        notches = [Event(kind, button) for button in down for kind in (BUTTON_PRESS, BUTTON_RELEASE)]
        return [Event(MOTION, 0, action.x, action.y), *notches]
    if isinstance(action, Drag):
        (x, y), *_ = action.path
        moves = [Event(MOTION, 0, px, py, _DRAG_STEP_MS) for px, py in drag_steps(action.path)]
        return [
            Event(MOTION, 0, x, y),
            Event(BUTTON_PRESS, action.button),
            *moves,
            Event(BUTTON_RELEASE, action.button, delay_ms=_DRAG_STEP_MS),
        ]
    raise TypeError(f"{type(action).__name__} is not an input")


def drag_steps(path: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Returns the pointer's places along `path` after its first point: every corner, and steps of 12 px between."""
    length = sum(max(abs(x1 - x0), abs(y1 - y0)) for (x0, y0), (x1, y1) in pairwise(path))
    stride = max(_DRAG_STEP_PX, -(-length // _DRAG_STEPS_MAX))
    steps = []
    for (x0, y0), (x1, y1) in pairwise(path):
        count = max(1, -(-max(abs(x1 - x0), abs(y1 - y0)) // stride))
        steps += [(x0 + (x1 - x0) * i // count, y0 + (y1 - y0) * i // count) for i in range(1, count + 1)]
    return steps


def _grabbed_part(events: list[Event]) -> int:
    """Returns how many of `events` are sent under the grab: up to the first that waits, and not too many."""
    waits = next((index for index, event in enumerate(events) if event.delay_ms), len(events))
    return min(waits, _GRABBED_EVENTS)
