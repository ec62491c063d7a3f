"""A plain X program for the tests: a window over the whole screen that paints on request and notes what it is told."""

from __future__ import annotations

from typing import Any

import xcffib
import xcffib.xproto as x11

_EVENTS = (
    x11.EventMask.KeyPress
    | x11.EventMask.KeyRelease
    | x11.EventMask.ButtonPress
    | x11.EventMask.ButtonRelease
    | x11.EventMask.PointerMotion
)
_INPUTS = x11.ButtonPressEvent | x11.ButtonReleaseEvent | x11.KeyPressEvent | x11.KeyReleaseEvent
_FUNCTION_KEYS = range(0xFE00, 0x10000)
_untyped: Any = xcffib


class XClient:
    """A window over the whole of `display`. `events` reads (kind, what, x, y) of what came since the last call.

    `what` of a key is its keysym by the keyboard map as it is when the event is read, as slow programs do it.
    """

    def __init__(self, display: str) -> None:
        self.connection = _untyped.Connection(display)
        core = self.core = self.connection.core
        screen = self.connection.setup.roots[0]
        self.root = screen.root
        self.window, self.gc = self.connection.generate_id(), self.connection.generate_id()
        core.CreateWindow(
            0, self.window, self.root, 0, 0, screen.width_in_pixels, screen.height_in_pixels, 0, 1, 0,
            x11.CW.BackPixel | x11.CW.EventMask, [0x808080, _EVENTS],
        )  # fmt: skip
        core.MapWindow(self.window)
        core.CreateGC(self.gc, self.window, 0, [])
        core.SetInputFocus(1, self.window, 0)
        self.sync()

    def paint(self, x: int, y: int, w: int, h: int, colour: tuple[int, int, int]) -> None:
        """Fills a rectangle with `colour` (blue, green, red)."""
        blue, green, red = colour
        self.core.ChangeGC(self.gc, x11.GC.Foreground, [red << 16 | green << 8 | blue])
        self.core.PolyFillRectangle(self.window, self.gc, 1, [x11.RECTANGLE.synthetic(x, y, w, h)])
        self.sync()

    def events(self) -> list[tuple[str, str, int, int]]:
        """Returns what has come since the last call."""
        self.sync()
        found = []
        while (event := self.connection.poll_for_event()) is not None:
            if isinstance(event, x11.MotionNotifyEvent):
                found.append(("motion", "", event.event_x, event.event_y))
            elif isinstance(event, _INPUTS):
                is_release = isinstance(event, x11.ButtonReleaseEvent | x11.KeyReleaseEvent)
                is_key = isinstance(event, x11.KeyPressEvent | x11.KeyReleaseEvent)
                what = self._keysym(event) if is_key else f"button {event.detail}"
                found.append(("release" if is_release else "press", what, event.event_x, event.event_y))
        return found

    def typed(self) -> str:
        """Returns the characters of the key presses since the last call, Shift and Lock applied."""
        keysyms = [int(what) for kind, what, *_ in self.events() if kind == "press" and what.isdigit()]
        return "".join(chr(sym & 0xFFFFFF) for sym in keysyms if sym not in _FUNCTION_KEYS)

    def sync(self) -> None:
        """Waits until the server has done everything that was asked."""
        self.core.GetInputFocus().reply()

    def close(self) -> None:
        """Ends the connection."""
        self.connection.disconnect()

    def _keysym(self, event: Any) -> str:
        row = list(self.core.GetKeyboardMapping(event.detail, 1).reply().keysyms)
        is_shifted, is_locked = event.state & 1, event.state & 2
        lower, upper = row[0], row[1] or row[0]
        if is_locked and lower < 0x100 and chr(lower).isalpha():
            is_shifted = not is_shifted
        return str(upper if is_shifted else lower)
