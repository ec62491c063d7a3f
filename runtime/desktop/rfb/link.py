"""The bytes of an RFB connection: exact counts in, whole messages out, in the clear or, from VeNCrypt on, inside TLS.

    reader thread ─► read ─► BufferedReader ─► socket, or Secured ─► socket
    any thread    ─► send ───────────────────► socket, or Secured ─► socket

`ssl.SSLSocket` may not be read and written by two threads at once, so TLS stands on memory BIOs here: its state is
touched under a lock, and never while the socket is waited for.
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
import threading

from runtime.desktop.errors import DesktopError, DesktopLost, DisplayUnreachable

_TEXT_MAX = 1 << 16
_RECEIVE_BYTES = 1 << 16
_U32 = struct.Struct(">I")


class RfbRefused(DesktopError):
    """The VNC server refused the connection, the password, or speaks something that we do not."""

    next_step = "check the password, and that the server allows None, VncAuth or VeNCrypt (TLS*, X509*)"


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
        self._secured: Secured | None = None
        self._file = self.socket.makefile("rb", _RECEIVE_BYTES)

    def secure(self, context: ssl.SSLContext) -> None:
        """Goes on inside TLS. Raises RfbRefused if the server is not who it must be, or speaks no such TLS."""
        secured = Secured(self.socket, context)
        try:
            secured.handshake()
        except ssl.SSLCertVerificationError as error:
            raise RfbRefused(
                f"the VNC server at {self.name} shows another certificate: {error.verify_message}",
                next_step="name the certificate that it shows (desktop.rfb_certificate), if it is the right one",
            ) from error
        except OSError as error:
            raise RfbRefused(f"no TLS with the VNC server at {self.name}: {error}") from error
        self._secured = secured
        self._file = io.BufferedReader(secured, _RECEIVE_BYTES)

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
                self.socket.sendall(data if self._secured is None else self._secured.seal(data))
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


class Secured(io.RawIOBase):
    """TLS over a blocking socket: one thread reads, others `seal` what they then send in that order."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__()
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._lock = threading.Lock()

    def handshake(self) -> None:
        """Completes the handshake, before anybody else reads or sends. Raises ssl.SSLError, OSError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                self._receive()
                continue
            finally:
                if self._outgoing.pending:
                    self._socket.sendall(self._outgoing.read())
            return

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fills `buffer` as far as there is something; 0 at the end. What TLS answers goes out with the next `seal`."""
        while True:
            with self._lock:
                try:
                    return int(self._tls.read(len(buffer), buffer))
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    return 0
            self._receive()

    def seal(self, data: bytes) -> bytes:
        """Returns `data` as TLS records."""
        with self._lock:
            self._tls.write(data)
            return self._outgoing.read()

    def _receive(self) -> None:
        data = self._socket.recv(_RECEIVE_BYTES)
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
