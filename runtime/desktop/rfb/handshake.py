"""The beginning of an RFB connection: version 3.3, 3.7 or 3.8, security none or VNC authentication, the pixel format.

    server: "RFB 003.008\\n" ─► ours ─► security types ─► our choice ─► (challenge ─► response) ─► result ─► ServerInit

After RFC 6143. The VNC authentication is DES with the password's bits mirrored, as its authors had it; it proves the
password and protects nothing else: use it inside a tunnel.
"""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from runtime.desktop.errors import DesktopError, DesktopLost, DisplayUnreachable

_NONE, _VNC_AUTH = 1, 2
_TEXT_MAX = 1 << 16
# 32 bits, depth 24, little-endian, true colour, 255 each, red 16, green 8, blue 0: B, G, R, x in memory.
PIXEL_FORMAT = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class RfbRefused(DesktopError):
    """The VNC server refused the connection, the password, or speaks something that we do not."""

    next_step = "check the password and that the server allows security type None or VncAuth"


@dataclass(frozen=True, slots=True)
class Screen:
    """What ServerInit says."""

    width: int
    height: int
    name: str


class Link:
    """A blocking RFB connection that reads exact counts. Raises DesktopLost once the server is gone."""

    def __init__(self, host: str, port: int, timeout_s: float = 10.0) -> None:
        self.name = f"{host}:{port}"
        try:
            self.socket = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise DisplayUnreachable(
                f"no VNC server answers at {self.name}: {error}", next_step="start it, or name its host and port"
            ) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sending = threading.Lock()  # a request for updates and an action come from two threads
        self._file = self.socket.makefile("rb", buffering=1 << 16)

    def read(self, count: int) -> bytes:
        """Returns exactly `count` bytes."""
        try:
            data = self._file.read(count)
        except (OSError, ValueError) as error:
            raise DesktopLost(f"the VNC server at {self.name} is gone: {error}") from error
        if data is None or len(data) != count:
            raise DesktopLost(f"the VNC server at {self.name} ended the connection")
        return bytes(data)

    def unpack(self, shape: struct.Struct) -> tuple[int, ...]:
        """Returns one `shape` from the server."""
        return shape.unpack(self.read(shape.size))

    def text(self) -> str:
        """Returns a text with its u32 length before it."""
        (length,) = self.unpack(_U32)
        if length > _TEXT_MAX:
            raise RfbRefused(f"the VNC server at {self.name} sends a text of {length} bytes")
        return self.read(length).decode("utf-8", "replace")

    def send(self, data: bytes) -> None:
        """Sends everything."""
        try:
            with self._sending:
                self.socket.sendall(data)
        except OSError as error:
            raise DesktopLost(f"the VNC server at {self.name} is gone: {error}") from error

    def close(self) -> None:
        """Ends the connection; a read in another thread ends with it."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it was gone already
        finally:
            self._file.close()
            self.socket.close()


_U8, _U32 = struct.Struct(">B"), struct.Struct(">I")
_INIT = struct.Struct(">HH16x")


def greet(link: Link, password: str | None) -> Screen:
    """Speaks the handshake; shares the desktop with other viewers. Raises RfbRefused with the server's own reason."""
    minor = _version(link)
    if minor == 3:
        (kind,) = link.unpack(_U32)
        if kind == 0:
            raise RfbRefused(f"the VNC server at {link.name} refused: {link.text()}")
    else:
        (count,) = link.unpack(_U8)
        if count == 0:
            raise RfbRefused(f"the VNC server at {link.name} refused: {link.text()}")
        offered = link.read(count)
        kind = _choose(link, offered, password)
        link.send(bytes([kind]))
    if kind == _VNC_AUTH:
        if password is None:
            raise RfbRefused(f"the VNC server at {link.name} wants a password")
        link.send(response(link.read(16), password))
    elif kind != _NONE:
        raise RfbRefused(f"the VNC server at {link.name} wants security type {kind}")
    if (kind == _VNC_AUTH or minor == 8) and link.unpack(_U32) != (0,):
        reason = link.text() if minor == 8 else "wrong password, or too many attempts"
        raise RfbRefused(f"the VNC server at {link.name} refused: {reason}")
    link.send(b"\x01")  # shared
    width, height = link.unpack(_INIT)
    return Screen(width, height, link.text())


def response(challenge: bytes, password: str) -> bytes:
    """Returns the answer to a VNC authentication's challenge of 16 bytes."""
    key = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    encryptor = Cipher(TripleDES(mirrored * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def _version(link: Link) -> int:
    """Agrees on a version. Returns its minor number: 3, 7 or 8."""
    banner = link.read(12)
    if not banner.startswith(b"RFB 003."):
        raise RfbRefused(f"{link.name} does not speak RFB 3: it says {banner!r}")
    offered = int(banner[8:11]) if banner[8:11].isdigit() else 3
    minor = 8 if offered >= 8 else 7 if offered == 7 else 3
    link.send(b"RFB 003.%03d\n" % minor)
    return minor


def _choose(link: Link, offered: bytes, password: str | None) -> int:
    wanted = [_VNC_AUTH, _NONE] if password is not None else [_NONE, _VNC_AUTH]
    for kind in wanted:
        if kind in offered:
            return kind
    raise RfbRefused(f"the VNC server at {link.name} offers only the security types {sorted(offered)}")
