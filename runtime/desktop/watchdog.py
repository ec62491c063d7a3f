"""A small process that lets go of every key and button when the connector can not: it died, or it was stopped.

    connector ──socket──► watchdog      the connector's end is closed by its death, whatever kills it
        └──► pressed list ◄──┘          what is down, the connector's heartbeat, since when it holds the server

    closed          ─► release what is listed, take lent keycodes back, exit
    silent for 1 s  ─► release what is listed (a stopped process comes back, or not)
    a server grab older than 500 ms ─► end the connector's X connection: nobody else could draw or type

Its X connection is impervious to server grabs (XTEST GrabControl). It sleeps until the socket speaks; only while a
session is open does it wake every 250 ms. Run as `python -m runtime.desktop.watchdog DISPLAY PRESSED_FILE FD`.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kernels.gate.word import boottime_ns
from runtime.desktop.errors import DesktopError, DesktopLost
from runtime.desktop.pressed import PressedList
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.xtest import release_listed

STALL_NS = 1_000_000_000
GRAB_MAX_NS = 500_000_000  # a busy machine may take a while to give us the processor back
LOOK_MS = 250
_READY, _OPEN, _CLOSED = b"r", b"o", b"c"
_START_S = 10.0


class Watchdog:
    """The connector's handle of its watchdog process for `display`, which watches `pressed_file`.

    Returns once the process is ready. Raises DesktopError if it does not come up.
    """

    def __init__(self, display: str, pressed_file: str | os.PathLike[str]) -> None:
        self._display, self._pressed_file = display, Path(pressed_file)
        self._pressed = PressedList(pressed_file)
        self._is_open = False
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the watchdog."""
        return self._process.pid

    def session_opened(self) -> None:
        """From now on the heartbeat in the pressed list is watched. Starts the process again if it was killed."""
        self._is_open = True
        self._say(_OPEN)

    def beat(self) -> None:
        """Says that the connector runs; a second without it while a session is open releases everything."""
        self._pressed.heartbeat_ns = boottime_ns()

    def session_closed(self) -> None:
        """Nothing is pressed any more: the watchdog may sleep."""
        self._is_open = False
        self._say(_CLOSED)

    def close(self) -> None:
        """Ends the process (it releases what is still listed first) and waits for it."""
        self._socket.close()
        self._process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, self._display, str(self._pressed_file), str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C at the terminal is for the connector
            )
        ours.settimeout(_START_S)
        if ours.recv(1) != _READY:
            ours.close()
            raise DesktopError(
                f"the watchdog for display {self._display!r} ended with code {self._process.wait()} at its start",
                next_step="see its message above; without it a crash could leave keys pressed",
            )
        ours.settimeout(None)
        self._socket = ours

    def _say(self, word: bytes) -> None:
        try:
            self._socket.send(word)
        except OSError:
            self._socket.close()
            self._process.wait()
            self._start()
            if self._is_open:
                self._socket.send(_OPEN)


def watch(
    connector: socket.socket,
    pressed: PressedList,
    connection: Connection,
    *,
    clock: Callable[[], int] = boottime_ns,
) -> None:
    """Watches until `connector` is closed from its other end. See the picture above."""
    poll = select.poll()
    poll.register(connector, select.POLLIN)
    is_open = False
    while True:
        if poll.poll(LOOK_MS if is_open else None):
            words = connector.recv(64)
            if not words:
                break
            is_open = words[-1:] == _OPEN
        if not is_open:
            continue
        now_ns = clock()
        if pressed.grab_since_ns and now_ns - pressed.grab_since_ns > GRAB_MAX_NS:
            connection.core.KillClient(pressed.resource)
            connection.sync()
            pressed.grab_since_ns = 0
        if now_ns - pressed.heartbeat_ns > STALL_NS and release_listed(connection, pressed):
            pressed.count_release()
    if release_listed(connection, pressed):
        pressed.count_release()
    take_back_lent(connection, pressed)


def take_back_lent(connection: Connection, pressed: PressedList) -> None:
    """Takes the symbols of lent keycodes away again."""
    lent = pressed.lent()
    for keycode in lent:
        connection.core.ChangeKeyboardMapping(1, keycode, 1, [0])
    if lent:
        connection.sync()
        pressed.clear_lent()


def main(arguments: list[str]) -> int:
    """Runs the watchdog. Returns the exit code."""
    display, pressed_file, descriptor = arguments
    with socket.socket(fileno=int(descriptor)) as connector:
        try:
            connection = Connection(display)
            connection.xtest.GrabControl(True)
            connection.sync()
            connector.send(_READY)
            watch(connector, PressedList(pressed_file), connection)
        except DesktopLost:
            return 0  # the display is gone, and what was pressed with it
        except DesktopError as error:
            print(f"watchdog: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
