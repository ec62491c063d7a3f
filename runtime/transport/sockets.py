"""Streams over the sockets of the event loop: what Unix and TCP links share.

socket ──data_received──► chunks ──receive()──►     reading pauses while 1 MiB waits to be received
──send()──► transport ──► socket                    sending waits while 256 KiB wait for the kernel
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque

from runtime.transport.errors import StreamBroken
from runtime.transport.stream import RECEIVE_BYTES, WRITE_HIGH_BYTES, Handler

READ_HIGH_BYTES = 1 << 20
CLOSE_S = 1.0  # what was sent has this long to go out after `close`
MAX_PEERS = 64  # at once on one listener, unless it says otherwise; more are hung up on

log = logging.getLogger("idlehands.transport")


class SocketStream(asyncio.Protocol):
    """A `Stream` on one connected socket. Made by the event loop; `made` is set once it is connected."""

    def __init__(self) -> None:
        self.peer = ""
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._is_reading = True
        self._ended = False  # the peer closed, or we did
        self._broken: BaseException | None = None
        self._closed = False
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._gone = asyncio.get_running_loop().create_future()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        sock: socket.socket = transport.get_extra_info("socket")
        tune(sock)
        self.peer = name_peer(sock)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._chunks.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= READ_HIGH_BYTES and self._transport is not None:
            self._transport.pause_reading()
            self._is_reading = False
        _wake(self._readable)

    def eof_received(self) -> bool:
        self._ended = True
        _wake(self._readable)
        return False  # the loop closes our side too: a session has no use for half a link

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._writable)
        self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._broken = exc
        self._ended = True
        _wake(self._readable)
        self.resume_writing()
        _wake(self._gone)

    # The Stream.

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise StreamBroken(f"the link to {self.peer} is closed") from self._broken
        transport.write(data)
        if self._writable is not None:
            await asyncio.shield(self._writable)
            if self._ended:
                raise StreamBroken(f"the link to {self.peer} was cut while sending") from self._broken

    async def receive(self) -> bytes:
        while not self._chunks:
            if self._closed or (self._ended and self._broken is None):
                return b""
            if self._broken is not None:
                raise StreamBroken(f"the link to {self.peer} was cut: {self._broken}") from self._broken
            self._readable = asyncio.get_running_loop().create_future()
            await self._readable
        chunk = self._chunks.popleft()
        if len(chunk) > RECEIVE_BYTES:
            self._chunks.appendleft(chunk[RECEIVE_BYTES:])
            chunk = chunk[:RECEIVE_BYTES]
        self._held_bytes -= len(chunk)
        if not self._is_reading and self._held_bytes < READ_HIGH_BYTES // 2:
            self._is_reading = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
        return chunk

    def close(self) -> None:
        self._closed = True
        self._chunks.clear()
        self._held_bytes = 0
        if self._transport is not None:
            self._transport.close()
            if not self._gone.done():
                asyncio.get_running_loop().call_later(CLOSE_S, self._transport.abort)
        _wake(self._readable)

    async def wait_closed(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._gone), 2 * CLOSE_S)


class SocketServer:
    """Runs `handler` with a stream for each peer; `serve` is given the peers by the event loop."""

    def __init__(self, address: str, handler: Handler, max_peers: int = MAX_PEERS) -> None:
        self.address = address
        self._max_peers = max_peers
        self._handler = handler
        self._is_closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.listening: asyncio.Server | None = None

    def protocol(self) -> asyncio.Protocol:
        """Returns the protocol of one new peer: the factory that the event loop's listener takes."""
        return _Served(self)

    def greet(self, stream: SocketStream) -> None:
        """Runs the handler for a new peer, or hangs up."""
        if self._is_closing:
            stream.close()
            return
        if len(self._tasks) >= self._max_peers:
            log.warning("hung up on %s: %d peers are connected already", stream.peer, self._max_peers)
            stream.close()
            return
        task = asyncio.ensure_future(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: SocketStream) -> None:
        try:
            await self._handler(stream)
        except asyncio.CancelledError:
            pass  # the server closes
        except Exception:  # a fault with one peer must not end the listener for all
            log.exception("the handler of %s failed", stream.peer)
        finally:
            stream.close()
            await stream.wait_closed()

    async def close(self) -> None:
        self._is_closing = True
        for _ in range(3):  # turns that the loop takes to hand over a peer that it has accepted, or would leak it
            await asyncio.sleep(0)
        if self.listening is not None:
            self.listening.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Served(SocketStream):
    def __init__(self, server: SocketServer) -> None:
        super().__init__()
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.greet(self)


def tune(sock: socket.socket) -> None:
    """Sets what a session wants of TCP: no waiting for more bytes, no queue of old screens in the kernel."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WRITE_HIGH_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000
        )  # ms; the session gives up after 1 s anyway


def name_peer(sock: socket.socket) -> str:
    """Returns `uid:N` for a Unix socket, `host:port` for TCP, "gone" if it is no longer connected."""
    try:
        if sock.family == socket.AF_UNIX:
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return f"uid:{int.from_bytes(credentials[4:8], 'little')}"
        host, port = sock.getpeername()[:2]
    except OSError:
        return "gone"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
