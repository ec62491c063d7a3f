"""A link within one process: two ends and two queues of bytes. A product, not a mock: demos run sessions on it.

Bounded like a socket: `send` waits while the other end has not yet taken `capacity_bytes`.
"""

from __future__ import annotations

import asyncio
from collections import deque

from runtime.transport.errors import StreamBroken
from runtime.transport.stream import RECEIVE_BYTES

CAPACITY_BYTES = 1 << 18


class _Pipe:
    """One direction: one writer, one reader."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.chunks: deque[bytes] = deque()
        self.held_bytes = 0
        self.ended = False  # the writer closed: what is held may still be read
        self.cut = False  # the reader closed, or the link broke: nothing goes through any more
        self.changed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        while self.held_bytes >= self.capacity_bytes and not self.cut and not self.ended:
            self.changed.clear()
            await self.changed.wait()
        if self.cut or self.ended:
            raise StreamBroken("the in-memory link is closed")
        self.chunks.append(data)
        self.held_bytes += len(data)
        self.changed.set()

    async def read(self) -> bytes:
        while not self.chunks and not self.ended and not self.cut:
            self.changed.clear()
            await self.changed.wait()
        if self.cut:
            raise StreamBroken("the in-memory link was cut")
        if not self.chunks:
            return b""
        chunk = self.chunks.popleft()
        if len(chunk) > RECEIVE_BYTES:
            self.chunks.appendleft(chunk[RECEIVE_BYTES:])
            chunk = chunk[:RECEIVE_BYTES]
        self.held_bytes -= len(chunk)
        self.changed.set()
        return chunk

    def end(self, *, cut: bool = False) -> None:
        self.ended = True
        self.cut = self.cut or cut
        self.changed.set()


class MemoryStream:
    """One end of a pair made by `pair()`; a `Stream`."""

    def __init__(self, peer: str, outgoing: _Pipe, incoming: _Pipe) -> None:
        self.peer = peer
        self._outgoing, self._incoming = outgoing, incoming
        self._closed = False

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        if len(data):
            await self._outgoing.write(bytes(data))

    async def receive(self) -> bytes:
        return b"" if self._closed else await self._incoming.read()

    def close(self) -> None:
        self._closed = True
        self._outgoing.end()
        self._incoming.end()
        self._incoming.chunks.clear()

    async def wait_closed(self) -> None:
        return

    def cut(self) -> None:
        """Breaks the link for both ends, as a pulled cable does; what is under way is lost."""
        self._outgoing.end(cut=True)
        self._incoming.end(cut=True)


def pair(capacity_bytes: int = CAPACITY_BYTES) -> tuple[MemoryStream, MemoryStream]:
    """Returns the two ends of a new link."""
    there, back = _Pipe(capacity_bytes), _Pipe(capacity_bytes)
    return MemoryStream("memory", there, back), MemoryStream("memory", back, there)
