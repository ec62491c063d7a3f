"""An X server as a `Desktop`: capture, injection and letting go, each over a connection of its own.

The display has one connector at a time: it owns the selection `_IDLEHANDS_CONNECTOR`. The server takes a selection from
a client when it has done everything that the client had sent before it ended; so who gets the selection also knows that
nothing of the connector before it is still on its way, and can believe the mark that it left.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kernels.gate.word import boottime_ns
from runtime.desktop.errors import DisplayTaken
from runtime.desktop.frame import Frame
from runtime.desktop.pressed import PressedList
from runtime.desktop.protocol import Applied, Mark, Step
from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.inject import Injector
from runtime.desktop.x11.keyboard import Keyboard
from runtime.desktop.x11.own_events import OwnEvents
from runtime.desktop.x11.xtest import release_listed
from runtime.wire.actions import Action, Precondition

PRESSED_FILE = "pressed"
_HANDOVER_S = 2.0
KEY_BYTES = 16
_NEW_WINDOW_CLASS = 2  # InputOnly


class X11Desktop:
    """The X server at `display` (None: $DISPLAY). What is pressed is listed in `state_folder`/pressed.

    Raises DisplayUnreachable, DisplayUnsuitable, DisplayTaken, StateFolderError.
    """

    def __init__(self, display: str | None, state_folder: str | os.PathLike[str]) -> None:
        self._pressed_list = PressedList(Path(state_folder) / PRESSED_FILE)
        self.own_events = OwnEvents()
        self._connections: list[Connection] = []
        try:
            self._injecting = self._connect(display)
            take_display(self._injecting)
            self._releasing = self._connect(display)
            release_listed(self._releasing, self._pressed_list)
            self._pressed_list.grab_since_ns = 0  # of a connector that was killed while it held the server
            self._keyboard = Keyboard(self._injecting, self._pressed_list)
            self._injector = Injector(
                self._injecting, self._releasing, self._keyboard, self._pressed_list, self.own_events
            )
            self._key = bytes(KEY_BYTES)
            self._capture = Capture(self._connect(display), self._key)
        except BaseException:
            for connection in self._connections:
                connection.close()
            raise
        self.display = self._injecting.name

    @property
    def pressed_list(self) -> PressedList:
        """What the watchdog watches."""
        return self._pressed_list

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._capture.size

    def rekey(self, key: bytes) -> None:
        """Makes `key` (16 bytes) the key of every tile and region hash from now on."""
        self._key = key
        self._capture.rekey(key)

    def fileno(self) -> int:
        """Returns the socket that is readable when the screen may have changed."""
        return self._capture.fileno()

    def drain(self) -> int:
        """Takes in damage without waiting. Returns how many tiles may have changed since the last capture."""
        return self._capture.drain()

    def capture(self, since: int) -> Frame:
        """Returns the screen as it is now, `changed` against the frame `since`."""
        return self._capture.capture(since)

    def apply(self, action: Action, precondition: Precondition | None, step: Step) -> Applied:
        """Applies `action` under a server grab, unless the pixels of `precondition` have changed."""
        return self._injector.apply(action, precondition, step, self._key, self.size)

    def is_quick(self, action: Action, precondition: Precondition | None) -> bool:
        """Returns whether `apply` takes no longer than a few milliseconds."""
        return self._injector.is_quick(action)

    def last_mark(self) -> Mark | None:
        """Returns how far the last action on this server came."""
        return self._injector.last_mark()

    def sign_on(self, journal: int) -> None:
        """Leaves the mark of `journal` on a server that has none of it."""
        self._injector.sign_on(journal)

    def pressed(self) -> frozenset[str]:
        """Returns the names of what is held down by us."""
        return self._injector.pressed()

    def release_all(self) -> None:
        """Lets go of every key and button, over a connection that no action can block."""
        self._injector.release_all()

    def rest(self) -> bool:
        """Takes back the keycodes that were lent to characters, if programs have read what was typed."""
        return self._keyboard.restore()

    def close(self) -> None:
        """Lets go of everything and of the display. A second call does nothing."""
        if self._connections:
            if self._injecting.is_alive() and self._releasing.is_alive():
                self.release_all()
            self._keyboard.close()
            self._injector.close()
            self._capture.close()
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._pressed_list.close()

    def _connect(self, display: str | None) -> Connection:
        connection = Connection(display)
        self._connections.append(connection)
        return connection


def take_display(connection: Connection) -> None:
    """Makes `connection` the one connector of its display; waits up to 2 s for one that is just ending.

    Raises DisplayTaken if another keeps it.
    """
    core, root = connection.core, connection.root
    atom, window = connection.atom("_IDLEHANDS_CONNECTOR"), connection.conn.generate_id()
    core.CreateWindow(0, window, root, 0, 0, 1, 1, 0, _NEW_WINDOW_CLASS, 0, 0, [])
    until_ns = boottime_ns() + int(_HANDOVER_S * 1e9)
    while True:
        core.GrabServer()
        try:
            owner = connection.asking(lambda: core.GetSelectionOwner(atom).reply()).owner
            if not owner:
                core.SetSelectionOwner(window, atom, 0)
                return
        finally:
            core.UngrabServer()
            connection.sync()
        if boottime_ns() > until_ns:
            raise DisplayTaken(f"another connector works display {connection.name!r}")
        time.sleep(0.02)
