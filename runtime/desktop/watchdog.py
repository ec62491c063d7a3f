"""A small process that lets go of every key and button when the connector can not: it died, or it was stopped.

    connector ──socket──► watchdog      the connector's end is closed by its death, whatever kills it
        └──► pressed list ◄──┘          what is down, the connector's heartbeat, since when it holds the server

    closed          ─► release what is listed, take lent keycodes back, exit
    silent for 1 s  ─► release what is listed (a stopped process comes back, or not)
    a server grab older than 1 s ─► end the connector's X connection: nobody else could draw or type

Its X connection is impervious to server grabs (XTEST GrabControl). It sleeps until the socket speaks; only while a
session is open does it wake every 250 ms. A pressed list has one watchdog at a time, by a lock on the file: that of a
connector that was killed has let go of everything before the next one begins.
Run as `python -m runtime.desktop.watchdog DISPLAY PRESSED_FILE FD`.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kernels.gate.word import boottime_ns
from runtime.desktop.errors import DesktopError, DesktopLost
from runtime.desktop.pressed import PressedList
from runtime.desktop.watchdog_process import READY, start
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.xtest import release_listed

STALL_NS = 1_000_000_000
GRAB_MAX_NS = 1_000_000_000  # as everywhere: who has not run for so long is taken for stopped, not for slow
LOOK_MS = 250
UNREAD_S = 1.0  # programs look up what was typed last: a lent keycode that means nothing any more would lose it
_OPEN, _CLOSED = b"o", b"c"


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
        watched = [self._display, str(self._pressed_file)]
        self._socket, self._process = start(__spec__.name, watched, f"display {self._display!r}")

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
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Watches until `connector` is closed from its other end. See the picture above."""
    poll = select.poll()
    poll.register(connector, select.POLLIN)
    is_open = False
    while True:
        if poll.poll(LOOK_MS if is_open else None):
            words = _heard(connector)
            if not words:
                break
            is_open = words[-1:] == _OPEN
        if not is_open:
            continue
        now_ns = clock()
        since_ns = pressed.grab_since_ns  # read once: it may be over by now
        if since_ns and now_ns - since_ns > GRAB_MAX_NS:
            pressed.count_cut_off()
            connection.core.KillClient(pressed.resource)
            connection.sync()
            pressed.grab_since_ns = 0
        if now_ns - pressed.heartbeat_ns > STALL_NS and release_listed(connection, pressed):
            pressed.count_release()
    if release_listed(connection, pressed):
        pressed.count_release()
    if pressed.lent():
        sleep(UNREAD_S)
    take_back_lent(connection, pressed)


def _heard(connector: socket.socket) -> bytes:
    """Returns what the connector said, b"" if it is gone, also before it had read what we said."""
    try:
        return connector.recv(64)
    except ConnectionError:
        return b""


def _alone(pressed_file: str) -> int:
    """Waits until the watchdog before us has let go of what is listed. Returns the locked descriptor, to be kept."""
    descriptor = os.open(pressed_file, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


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
            pressed = PressedList(pressed_file)
            _alone(pressed_file)  # for as long as this process lives
            with suppress(BrokenPipeError):  # it is gone already: what it left is let go of all the same
                connector.send(READY)
            watch(connector, pressed, connection)
        except DesktopLost:
            return 0  # the display is gone, and what was pressed with it
        except DesktopError as error:
            print(f"watchdog: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
