"""A connection to an X server that has what capture and injection need, and the raw bytes of its events.

One process opens several: capture, injection and watching each have their own, so that a screen that is being read
never stands between an action and the server. XCB queues per connection; none of them is shared by threads at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import xcffib
import xcffib.damage
import xcffib.shm
import xcffib.xfixes
import xcffib.xinput
import xcffib.xproto
import xcffib.xtest
from xcffib import c_free, lib
from xcffib.ffi import ffi

from runtime.desktop.errors import DesktopLost, DisplayUnreachable, DisplayUnsuitable

GENERIC_EVENT = 35
_EVENT_BYTES = 32
_LSB_FIRST = 0
_RED, _GREEN, _BLUE = 0xFF0000, 0x00FF00, 0x0000FF
# (the extension's module, its name, the version to ask for); XInput 2.2 gives raw events whoever holds a grab.
_EXTENSIONS: tuple[tuple[Any, str, tuple[int, int]], ...] = (
    (xcffib.shm, "MIT-SHM", (1, 2)),
    (xcffib.xfixes, "XFIXES", (5, 0)),
    (xcffib.damage, "DAMAGE", (1, 1)),
    (xcffib.xtest, "XTEST", (2, 2)),
    (xcffib.xinput, "XInputExtension", (2, 2)),
)
Result = TypeVar("Result")
_untyped: Any = xcffib  # it says that it is typed, and is not


class Connection:
    """One connection to `display` (":7"; None is $DISPLAY). `conn` is xcffib's, `root` the window of the whole screen.

    Raises DisplayUnreachable if no server answers, DisplayUnsuitable if it lacks an extension or shows other pixels
    than 32-bit B, G, R, x in little-endian order.
    """

    def __init__(self, display: str | None = None) -> None:
        self.name = os.environ.get("DISPLAY", "") if display is None else display
        if not self.name:
            raise DisplayUnreachable("DISPLAY is not set and no display was named")
        try:
            self.conn = _untyped.Connection(self.name)
        except xcffib.ConnectionException as error:
            raise DisplayUnreachable(f"no X server answers at display {self.name!r}") from error
        try:
            self._screen = self.conn.setup.roots[self.conn.pref_screen]
            self.root: int = self._screen.root
            self.core = self.conn.core
            self._demand_extensions()
            self._demand_pixels()
        except BaseException:
            self.conn.disconnect()
            raise
        self.shm = self.conn(xcffib.shm.key)
        self.xfixes = self.conn(xcffib.xfixes.key)
        self.damage = self.conn(xcffib.damage.key)
        self.xtest = self.conn(xcffib.xtest.key)
        self.xinput = self.conn(xcffib.xinput.key)

    def size(self) -> tuple[int, int]:
        """Returns the screen's (width, height) in pixels as it is now; RandR may have changed it."""
        geometry = self.asking(lambda: self.core.GetGeometry(self.root).reply())
        return geometry.width, geometry.height

    def atom(self, name: str) -> int:
        """Returns the atom called `name`, made if need be."""
        return int(self.asking(lambda: self.core.InternAtom(False, len(name), name).reply()).atom)

    def fileno(self) -> int:
        """Returns the socket, readable when events wait (more may wait in XCB's own queue: drain it first)."""
        return int(self.conn.get_file_descriptor())

    def flush(self) -> None:
        """Sends what is queued. Raises DesktopLost if the server is gone."""
        if lib.xcb_flush(self.conn._conn) <= 0:
            raise self.lost()

    def sync(self) -> None:
        """Waits until the server has done every request before this one."""
        self.asking(lambda: self.core.GetInputFocus().reply())

    def asking(self, request: Callable[[], Result]) -> Result:
        """Runs `request`, turning a broken connection into DesktopLost."""
        try:
            return request()
        except xcffib.ConnectionException as error:
            raise self.lost() from error

    def events(self) -> Iterator[memoryview]:
        """Yields the bytes of every event that has come, without waiting.

        xcffib's own parser costs 25 µs an event and misplaces the valuators of raw events (it moves the words after
        the 36th byte by one too many); what is needed here is a handful of fields at fixed places.
        """
        while (event := lib.xcb_poll_for_event(self.conn._conn)) != ffi.NULL:
            try:
                size = _EVENT_BYTES
                if event.response_type & 0x7F == GENERIC_EVENT:
                    extra_words = ffi.cast("uint32_t *", event)[1]
                    size += 4 + 4 * int(extra_words)
                yield memoryview(bytes(ffi.buffer(event, size)))
            finally:
                c_free(event)
        if lib.xcb_connection_has_error(self.conn._conn):
            raise self.lost()

    def is_alive(self) -> bool:
        """Returns whether the connection is open and, as far as is known, the server at its other end."""
        return self.conn._conn is not None and not self.conn.has_error()

    def lost(self) -> DesktopLost:
        """Returns the error that says that this display is gone."""
        return DesktopLost(f"display {self.name!r} is gone: the X server ended, or ended our connection")

    def close(self) -> None:
        """Ends the connection; a second call does nothing."""
        if self.conn._conn is not None:
            self.conn.disconnect()

    def _demand_extensions(self) -> None:
        for module, name, (major, minor) in _EXTENSIONS:
            if not self.asking(lambda name=name: self.core.QueryExtension(len(name), name).reply()).present:  # type: ignore[misc]
                raise DisplayUnsuitable(f"the X server at {self.name!r} has no {name} extension")
            extension = self.conn(module.key)
            if module is xcffib.xinput:
                extension.XIQueryVersion(major, minor).reply()
            elif module is xcffib.xtest:
                extension.GetVersion(major, minor).reply()
            elif module is xcffib.shm:
                extension.QueryVersion().reply()
            else:
                extension.QueryVersion(major, minor).reply()

    def _demand_pixels(self) -> None:
        setup, depth = self.conn.setup, self._screen.root_depth
        bits = next((entry.bits_per_pixel for entry in setup.pixmap_formats if entry.depth == depth), 0)
        visuals = {v.visual_id: v for allowed in self._screen.allowed_depths for v in allowed.visuals}
        visual = visuals[self._screen.root_visual]
        masks = (visual.red_mask, visual.green_mask, visual.blue_mask)
        if setup.image_byte_order != _LSB_FIRST or bits != 32 or masks != (_RED, _GREEN, _BLUE):
            raise DisplayUnsuitable(
                f"the screen at {self.name!r} has depth {depth} in {bits} bits a pixel, expected 24 in 32 (B, G, R, x)",
                next_step="start the X server with 24 bits of depth (Xvfb: -screen 0 1920x1080x24)",
            )
