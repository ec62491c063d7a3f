"""A small process that lets go of what is held on a VNC desktop when the connector can not: it died, or was stopped.

    connector ──socket──► watchdog      closed by the connector's death, whatever kills it
       each line: "held {keys, buttons, x, y}" before anything is sent, "open", "beat", "closed"

    closed          ─► connects to the server itself, lets go of what is listed, exits
    silent for 1 s  ─► the same, and goes on (a stopped process comes back, or not)

TigerVNC lets go of a lost viewer's keys by itself, x11vnc and others do not. The login comes over the socket: the
command line of a process can be read by others. Run as `python -m runtime.desktop.rfb.watchdog FD`.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from contextlib import suppress

import msgspec

from runtime.desktop.errors import DesktopError
from runtime.desktop.rfb.handshake import PIXEL_FORMAT, Login, greet
from runtime.desktop.rfb.link import Link
from runtime.desktop.watchdog_process import READY, start
from runtime.transport.dial import host_port

SILENCE_S = 1.0
LOOK_S = 0.1
TRIES, BETWEEN_S = 3, 0.3
KEY, POINTER, REQUEST = struct.Struct(">BBxxI"), struct.Struct(">BBHH"), struct.Struct(">BBHHHH")
_LINE_MAX = 1 << 16
_HEAR_S = 10.0  # a watchdog that takes no word for so long has been stopped: another takes its place


class Held(msgspec.Struct, frozen=True):
    """What may be down: keysyms, RFB's mask of buttons, and where the pointer is."""

    keys: tuple[int, ...] = ()
    buttons: int = 0
    x: int = 0
    y: int = 0


class Server(msgspec.Struct, frozen=True):
    """The first line: which server, and how to prove ourselves to it."""

    address: str
    login: Login


class RfbWatchdog:
    """The connector's handle of its watchdog for the VNC server at `address`; a `Guard`. Raises DesktopError."""

    def __init__(self, address: str, login: Login) -> None:
        self._server = Server(address, login)
        self._is_open = False
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the watchdog."""
        return self._process.pid

    def hold(self, held: Held) -> None:
        """Says what may be down from now on; call it before that is sent."""
        self._say(b"held " + msgspec.json.encode(held))

    def session_opened(self) -> None:
        """From now on silence counts."""
        self._is_open = True
        self._say(b"open")

    def beat(self) -> None:
        """Says that the connector runs."""
        self._say(b"beat")

    def session_closed(self) -> None:
        """Nothing is pressed any more."""
        self._is_open = False
        self._say(b"closed")

    def close(self) -> None:
        """Ends the process (it lets go of what is still listed first) and waits for it."""
        self._socket.close()
        self._process.wait()

    def _start(self) -> None:
        server = msgspec.json.encode(self._server) + b"\n"
        self._socket, self._process = start(__spec__.name, [], "the VNC desktop", server)
        self._socket.settimeout(_HEAR_S)

    def _say(self, line: bytes) -> None:
        try:
            self._socket.sendall(line + b"\n")
        except OSError:  # it was killed, or stopped
            self._socket.close()
            self._process.kill()
            self._process.wait()
            self._start()
            if self._is_open:
                self._socket.sendall(b"open\n" + line + b"\n")


def watch(connector: socket.socket, server: Server) -> None:
    """Watches until `connector` is closed from its other end. See the picture above."""
    held, is_open, rest = Held(), False, b""
    heard_s = time.monotonic()
    while True:
        ready, _, _ = select.select([connector], [], [], LOOK_S if is_open else None)
        now_s = time.monotonic()
        if ready:
            data = connector.recv(_LINE_MAX)
            if not data:
                break
            heard_s = now_s
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                word, _, said = line.partition(b" ")
                if word == b"held":
                    held = msgspec.json.decode(said, type=Held)
                elif word in (b"open", b"closed"):
                    is_open = word == b"open"
        elif is_open and now_s - heard_s > SILENCE_S and (held.keys or held.buttons):
            release(server, held)
            held = Held()
    if held.keys or held.buttons:
        release(server, held)


def release(server: Server, held: Held) -> bool:
    """Lets go of `held` over a connection of its own. Returns whether the server has taken it in."""
    for attempt in range(TRIES):
        with suppress(DesktopError):
            link = Link(*host_port(f"rfb://{server.address}"), timeout_s=1.0)
            try:
                greet(link, server.login)
                keys = b"".join(KEY.pack(4, 0, keysym) for keysym in reversed(held.keys))
                buttons = POINTER.pack(5, 0, held.x, held.y) if held.buttons else b""
                raw_only = struct.pack(">BxHi", 2, 1, 0)
                link.send(b"\0\0\0\0" + PIXEL_FORMAT + raw_only + keys + buttons + REQUEST.pack(3, 0, 0, 0, 1, 1))
                link.read(1)  # servers answer in order
                return True
            finally:
                link.close()
        if attempt < TRIES - 1:
            time.sleep(BETWEEN_S)
    return False


def main(arguments: list[str]) -> int:
    """Runs the watchdog. Returns the exit code."""
    with socket.socket(fileno=int(arguments[0])) as connector:
        first = b""
        while not first.endswith(b"\n"):
            data = connector.recv(_LINE_MAX)
            if not data:
                return 0
            first += data
        connector.send(READY)
        watch(connector, msgspec.json.decode(first, type=Server))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
