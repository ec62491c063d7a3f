"""A VNC server as a `Desktop`. What X11 gives and RFB cannot is said, not hidden.

    a thread reads updates ─► pixels (under a lock) ─► an eventfd wakes who waits
    actions ─► KeyEvent (keysyms: any character) and PointerEvent, one write for each action

* A precondition cannot be checked under a grab: the region is asked for anew and compared when it comes (fresh.py), and
  the time from asking to the injection is reported (`Applied.window_us`): the compared pixels are not older than that.
* The server remembers nothing of us: after a crash the action that was under way is *unknown*.
* The cursor is asked for apart, but TigerVNC paints it into the screen while somebody else moved the pointer last.
* Who else works the desktop is not told: a person at another viewer cannot be seen, nor given the desktop.
* Not every server lets go of a lost viewer's keys: `on_hold` is told what may be down before it is (watchdog.py).
"""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import HASH_BYTES, TILE, changed_tiles, grid, hash_region
from kernels.gate.word import boottime_ns
from runtime.desktop.bounds import out_of_bounds
from runtime.desktop.chords import MODIFIERS, char_keysym, modifier_name, parse_chord
from runtime.desktop.errors import DesktopLost
from runtime.desktop.frame import Frame
from runtime.desktop.protocol import Applied, Mark, Step
from runtime.desktop.rfb.decode import Decoder, encodings
from runtime.desktop.rfb.fresh import Box, Fresh
from runtime.desktop.rfb.handshake import PIXEL_FORMAT, Login, greet
from runtime.desktop.rfb.link import Link
from runtime.desktop.rfb.watchdog import KEY, POINTER, REQUEST, Held
from runtime.transport.dial import host_port
from runtime.wire.actions import INPUTS, Action, Click, Drag, Hold, Key, Move, Precondition, Release, Scroll, Type
from runtime.wire.tables import Outcome, Refusal

_U8, _UPDATE, _CUT_TEXT = struct.Struct(">B"), struct.Struct(">xH"), struct.Struct(">xxxI")
_COLOURS, _CUT_MAX = struct.Struct(">xHH"), 1 << 24
_FRESH_S = 2.0  # a server that does not show a region within this has its action refused
_DRAG_STEP_S = 0.008
_MASKS = {1: 1, 2: 2, 3: 4, 8: 128, 9: 256}


class RfbDesktop:
    """The VNC server at `address` (host:port). `jpeg_quality` 1 to 10 lets it send pictures that are not exact.

    `on_hold` is called with what may be held down, before it is sent.
    Raises BadAddress, DisplayUnreachable, or RfbRefused with the server's reason.
    """

    def __init__(
        self,
        address: str,
        login: Login | None = None,
        *,
        jpeg_quality: int = 0,
        on_hold: Callable[[Held], None] = lambda held: None,
    ) -> None:
        self._on_hold = on_hold
        self._link = Link(*host_port(f"rfb://{address}"))
        try:
            screen = greet(self._link, login or Login())
        except BaseException:
            self._link.close()
            raise
        self._link.socket.settimeout(None)
        self._pixels: NDArray[np.uint8] = np.zeros((screen.height, screen.width, 4), np.uint8)
        self._arriving = self._pixels.copy()
        self._hashes: NDArray[np.uint8]
        self._stale: NDArray[np.bool_]
        self._changed_at: NDArray[np.int64]
        self._key = bytes(16)
        self._changed = threading.Condition()
        self._updates, self._lost = 0, ""
        self._fresh: Fresh | None = None
        self._luck = random.Random()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._frame_id = 0
        self._start_over()
        self._held: dict[int, None] = {}
        self._pointer, self._buttons = (0, 0), 0
        self._stopped = threading.Event()
        self._sending = threading.Lock()
        self._is_closed = False
        wanted = encodings(jpeg_quality)
        self._link.send(b"\0\0\0\0" + PIXEL_FORMAT + struct.pack(f">BxH{len(wanted)}i", 2, len(wanted), *wanted))
        self._ask(0, 0, screen.width, screen.height, is_new=True)
        self._reader = threading.Thread(target=self._read, name="rfb", daemon=True)
        self._reader.start()
        try:
            self._await_update(0)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self._pixels.shape[:2]
        return width, height

    def rekey(self, key: bytes) -> None:
        """Makes `key` (16 bytes) the key of every tile and region hash from now on."""
        with self._changed:
            self._key = key
            self._hashes[:] = 0
            self._stale[:] = True

    def fileno(self) -> int:
        """Returns an eventfd that is readable when the screen may have changed."""
        return self._wake

    def drain(self) -> int:
        """Returns how many tiles may have changed since the last capture."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._lost:
            raise DesktopLost(self._lost)
        with self._changed:
            return int(np.count_nonzero(self._stale))

    def capture(self, since: int) -> Frame:
        """Returns the screen as it is now, in memory of its own; `changed` is against the frame `since`."""
        began_ns = boottime_ns()
        self.drain()
        with self._changed:
            if self._stale.any():
                self._stale[:] = False
                changed, self._hashes = changed_tiles(self._pixels, self._hashes, self._key)
                self._frame_id += bool(changed.any())
                self._changed_at[changed] = self._frame_id
            pixels, hashes, changed_at = self._pixels.copy(), self._hashes.copy(), self._changed_at > since
        return Frame(self._frame_id, pixels, changed_at, hashes, began_ns, (boottime_ns() - began_ns) // 1000)

    def apply(self, action: Action, precondition: Precondition | None, step: Step) -> Applied:
        """Applies `action`, unless the pixels of `precondition` are others by the server's newest word."""
        if not isinstance(action, INPUTS):
            raise TypeError(f"{type(action).__name__} is not an input")
        self._stopped.clear()
        refusal = out_of_bounds(action, precondition, self.size)
        if refusal is not None:
            return Applied(Outcome.refused, refusal, boottime_ns())
        try:
            messages = self._messages(action)
        except _BadInput as bad:
            return Applied(Outcome.refused, bad.refusal, boottime_ns())
        fresh_ns = 0
        if precondition is not None:
            fresh_ns = self._refresh(precondition)
            if not fresh_ns:
                return Applied(Outcome.refused, Refusal.changed_pixels, boottime_ns())
        sent, all_of_it = self._send(messages, pause_s=_DRAG_STEP_S if isinstance(action, Drag) else 0.0)
        now_ns = boottime_ns()
        if not sent:  # it was stopped before its first event
            return Applied(Outcome.refused, Refusal.failed, now_ns)
        if sent < all_of_it:
            return Applied(Outcome.unknown, Refusal.none, now_ns)
        return Applied(Outcome.applied, Refusal.none, now_ns, window_us=(now_ns - fresh_ns) // 1000 if fresh_ns else 0)

    def is_quick(self, action: Action, precondition: Precondition | None) -> bool:
        """Returns whether nothing waits for a hand or for the server's word."""
        return precondition is None and not isinstance(action, Drag)

    def last_mark(self) -> Mark | None:
        """Returns None: a VNC server remembers nothing of its viewers' actions."""
        return None

    def sign_on(self, journal: int) -> None:
        """Nothing can be left there."""

    def pressed(self) -> frozenset[str]:
        """Returns the names of what is held down by us."""
        names = {keysym: name for name, keysym in MODIFIERS.items()}
        buttons = {f"button {button}" for button, mask in _MASKS.items() if self._buttons & mask}
        return frozenset({names.get(keysym, f"keysym {keysym}") for keysym in list(self._held)} | buttons)

    def release_all(self) -> None:
        """Lets go of every key and button."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()  # who waits for the server's word waits no more
        with self._sending:
            data = b"".join(self._key_event(keysym, is_down=False) for keysym in list(self._held))
            if self._buttons:
                self._buttons = 0
                data += self._pointer_event()
            if data:
                self._link.send(data)
                self._tell_held()

    def rest(self) -> bool:
        """Nothing is lent here."""
        return True

    def close(self) -> None:
        """Lets go of everything and ends the connection. A second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(DesktopLost):
            if self._held or self._buttons:
                self.release_all()
                self._await_answer()  # x11vnc forgets what came right before the end of a connection
        self._link.close()
        self._reader.join()
        os.close(self._wake)

    # What the server says.

    def _read(self) -> None:
        decoder = Decoder(self._link)
        try:
            while True:
                (kind,) = self._link.unpack(_U8)
                if kind == 0:
                    self._update(decoder)
                elif kind == 1:
                    self._link.read(self._link.unpack(_COLOURS)[1] * 6)
                elif kind == 3:
                    self._skip_text()
                elif kind != 2:  # 2 is a bell
                    raise DesktopLost(f"the VNC server at {self._link.name} sent the unknown message {kind}")
        except DesktopLost as error:
            with self._changed:
                self._lost = error.message
                self._changed.notify_all()
            with suppress(OSError):
                os.eventfd_write(self._wake, 1)

    def _update(self, decoder: Decoder) -> None:
        """Reads one update aside, however slowly it comes, and then shows it whole."""
        (count,) = self._link.unpack(_UPDATE)
        boxes: list[tuple[int, int, int, int]] = []
        for _ in range(count):
            arriving, box = decoder.rectangle(self._arriving)
            if arriving is not self._arriving:
                self._arriving, boxes = arriving, []
            elif box is not None:
                boxes.append(box)
        with self._changed:
            if self._arriving.shape != self._pixels.shape:
                self._pixels = self._arriving.copy()
                self._start_over()
            for x, y, w, h in boxes:
                self._pixels[y : y + h, x : x + w] = self._arriving[y : y + h, x : x + w]
                self._stale[y // TILE : -(-(y + h) // TILE), x // TILE : -(-(x + w) // TILE)] = True
            self._updates += 1
            once_more = self._fresh.wanted() if self._fresh is not None and self._fresh.take(boxes) else []
            self._changed.notify_all()
        os.eventfd_write(self._wake, 1)
        if once_more:
            self._ask_for(once_more)
        self._ask(0, 0, *self.size)

    def _skip_text(self) -> None:
        (length,) = self._link.unpack(_CUT_TEXT)
        if length > _CUT_MAX:
            raise DesktopLost(f"the VNC server at {self._link.name} sent a clipboard of {length} bytes")
        self._link.read(length)

    def _start_over(self) -> None:
        tiles = grid(*self._pixels.shape[:2])
        self._stale = np.ones(tiles, np.bool_)
        self._hashes = np.zeros((*tiles, HASH_BYTES), np.uint8)
        self._changed_at = np.zeros(tiles, np.int64)

    def _ask(self, x: int, y: int, w: int, h: int, *, is_new: bool = False) -> None:
        self._link.send(REQUEST.pack(3, not is_new, x, y, w, h))

    def _ask_for(self, boxes: list[Box]) -> None:
        self._link.send(b"".join(REQUEST.pack(3, False, *box) for box in boxes))

    def _await_update(self, after: int) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._updates > after or self._lost, _FRESH_S)
            if self._lost:
                raise DesktopLost(self._lost)
            return self._updates > after

    def _await_answer(self) -> None:
        """Waits until the server has taken in what was sent before: it answers in order."""
        before = self._updates
        self._ask(0, 0, 1, 1, is_new=True)
        self._await_update(before)

    def _refresh(self, region: Precondition) -> int:
        """Asks for `region` anew. Returns when it asked, 0 if its pixels are others or did not come in time."""
        asked_ns, box = boottime_ns(), (region.x, region.y, region.w, region.h)
        with self._changed:
            fresh = self._fresh = Fresh(box, self.size, self._luck)
            wanted = fresh.wanted()
        self._ask_for(wanted)
        with self._changed:
            self._changed.wait_for(lambda: fresh.is_over or self._lost or self._stopped.is_set(), _FRESH_S)
            self._fresh = None
            if self._lost:
                raise DesktopLost(self._lost)
            fits = region.x + region.w <= self.size[0] and region.y + region.h <= self.size[1]  # it may be resized
            if not fresh.is_over or not fits:
                return 0
            now = hash_region(self._pixels, *box, self._key)
        return asked_ns if now == bytes(region.hash) else 0

    # What we say.

    def _send(self, messages: list[tuple[int, int, int]], pause_s: float) -> tuple[int, int]:
        """Sends (kind, what, is_down or place) events: one write, or one for each step of a drag.

        Returns how many writes were made before it was stopped, and of how many.
        """
        batches = [[message] for message in messages] if pause_s else [messages]
        for sent, batch in enumerate(batches):
            with self._sending:
                if self._stopped.is_set():
                    return sent, len(batches)
                pressed = tuple(what for kind, what, is_down in batch if kind == _KEY_EVENT and is_down)
                buttons = sum({what for kind, what, is_down in batch if kind == _BUTTON_EVENT and is_down})
                data = b"".join(self._event(*message) for message in batch)
                if pressed or buttons:
                    self._on_hold(Held((*self._held, *pressed), self._buttons | buttons, *self._pointer))
                self._link.send(data)
                self._tell_held()
            if pause_s:
                time.sleep(pause_s)
        return len(batches), len(batches)

    def _tell_held(self) -> None:
        self._on_hold(Held(tuple(self._held), self._buttons, *self._pointer))

    def _event(self, kind: int, what: int, more: int) -> bytes:
        if kind == _KEY_EVENT:
            return self._key_event(what, is_down=bool(more))
        if kind == _MOVE_EVENT:
            self._pointer = (what, more)
        else:
            self._buttons = self._buttons | what if more else self._buttons & ~what
        return self._pointer_event()

    def _key_event(self, keysym: int, *, is_down: bool) -> bytes:
        if is_down:
            self._held[keysym] = None
        else:
            self._held.pop(keysym, None)
        return KEY.pack(4, is_down, keysym)

    def _pointer_event(self) -> bytes:
        return POINTER.pack(5, self._buttons & 0xFF, *self._pointer)

    def _messages(self, action: Action) -> list[tuple[int, int, int]]:
        """Returns the events of `action`. Raises _BadInput for what cannot be said in RFB."""
        refusal = Refusal.bad_key
        try:
            if isinstance(action, Type):
                refusal = Refusal.bad_text
                return [event for char in action.text for event in _stroke(char_keysym(char))]
            if isinstance(action, Key):
                chord = parse_chord(action.chord)
                return self._under(list(chord.modifiers), _stroke(chord.keysym))
            if isinstance(action, Hold | Release):
                refusal = Refusal.not_holdable
                keysym = MODIFIERS[modifier_name(action.key)]
                if isinstance(action, Release) and keysym not in self._held:
                    raise _BadInput(Refusal.not_held)
                return [(_KEY_EVENT, keysym, isinstance(action, Hold))]
            if isinstance(action, Click | Drag):
                modifiers = [MODIFIERS[modifier_name(name)] for name in action.modifiers]
                return self._under(modifiers, _pointer_events(action))
        except ValueError as error:
            raise (error if isinstance(error, _BadInput) else _BadInput(refusal)) from error
        return _pointer_events(action)

    def _under(self, modifiers: list[int], inner: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        wanted = [keysym for keysym in modifiers if keysym not in self._held]
        before = [(_KEY_EVENT, keysym, 1) for keysym in wanted]
        return [*before, *inner, *((_KEY_EVENT, keysym, 0) for keysym in reversed(wanted))]


_KEY_EVENT, _MOVE_EVENT, _BUTTON_EVENT = 0, 1, 2


class _BadInput(ValueError):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.meaning)
        self.refusal = refusal


def _stroke(keysym: int) -> list[tuple[int, int, int]]:
    return [(_KEY_EVENT, keysym, 1), (_KEY_EVENT, keysym, 0)]


def _press(mask: int) -> list[tuple[int, int, int]]:
    return [(_BUTTON_EVENT, mask, 1), (_BUTTON_EVENT, mask, 0)]


def _pointer_events(action: Action) -> list[tuple[int, int, int]]:
    if isinstance(action, Move):
        return [(_MOVE_EVENT, action.x, action.y)]
    if isinstance(action, Scroll):
        wheel = _press(16 if action.dy > 0 else 8) * abs(action.dy) + _press(64 if action.dx > 0 else 32) * abs(
            action.dx
        )
        return [(_MOVE_EVENT, action.x, action.y), *wheel]
    if not isinstance(action, Click | Drag):
        raise TypeError(f"{type(action).__name__} is not an input")
    mask = _MASKS[int(action.button)]
    if mask > 0xFF:
        raise _BadInput(Refusal.bad_key)  # RFB's pointer has eight buttons
    if isinstance(action, Click):
        return [(_MOVE_EVENT, action.x, action.y), *_press(mask) * action.count]
    first, *rest = [(_MOVE_EVENT, x, y) for x, y in action.path]
    return [first, (_BUTTON_EVENT, mask, 1), *rest, (_BUTTON_EVENT, mask, 0)]
