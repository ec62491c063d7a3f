"""What a session has to say, in order, over a link that only one task at a time may write to.

Who has something to say puts it in and flushes: with nobody else at it the bytes go to the link at once, without a
detour over another task (two turns of the event loop, some 50 µs). Whoever is at it takes the others' bytes along.
"""

from __future__ import annotations

import asyncio
from collections import deque

from runtime.transport.stream import Stream

_TOGETHER_BYTES = 1 << 14  # one TLS record


class Outbox:
    """The unsent messages of one link."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._waiting: deque[bytes | bytearray] = deque()
        self._is_sending = False
        self._emptied: asyncio.Future[None] | None = None

    def put(self, data: bytes | bytearray) -> None:
        """Adds one message; `flush` sends it."""
        self._waiting.append(data)

    @property
    def is_empty(self) -> bool:
        """Whether everything was handed to the link."""
        return not self._waiting and not self._is_sending

    async def flush(self) -> None:
        """Sends what waits; returns at once if another task is sending. Raises StreamBroken if the link is gone."""
        if self._is_sending:
            return
        self._is_sending = True
        try:
            while self._waiting:
                await self._stream.send(self._next())
        finally:
            self._is_sending = False
            if self._emptied is not None and not self._emptied.done():
                self._emptied.set_result(None)

    def _next(self) -> bytes | bytearray:
        """Takes what is sent in one write: small messages together, a large one alone."""
        first = self._waiting.popleft()
        if not self._waiting or len(first) > _TOGETHER_BYTES:
            return first
        together = bytearray(first)
        while self._waiting and len(together) + len(self._waiting[0]) <= _TOGETHER_BYTES:
            together += self._waiting.popleft()
        return together

    async def drain(self) -> None:
        """Returns when everything has been handed to the link, whoever did it."""
        while not self.is_empty:
            if self._is_sending:
                self._emptied = self._emptied or asyncio.get_running_loop().create_future()
                await asyncio.shield(self._emptied)
                self._emptied = None
            else:
                await self.flush()
