"""A link that does not mean well: it delays, reorders, doubles and cuts whole messages, and goes deaf."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

ACT = 3  # the message's number, its first byte after the length and the array's head
REORDERED, DOUBLED = 0.002, 0.003  # of the messages of a car, of its actions


@dataclass
class Counts:
    """What was done to the links."""

    cuts: int = 0
    deaf: int = 0
    duplicates: int = 0
    reordered: int = 0


class Proxy:
    """Stands between car and connector, knows the framing, and does not mean well. Counts what it did in `counts`."""

    def __init__(self, path: str, target: str, luck: random.Random, counts: Counts) -> None:
        self._path, self._target, self._luck, self._counts = path, target, luck, counts
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._deaf_until = 0.0

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self._path)

    async def close(self) -> None:
        self._server.close()
        self._drop()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Drops every link at once."""
        self._counts.cuts += 1
        self._drop()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def go_deaf(self, seconds: float) -> None:
        """Takes everything and hands nothing on."""
        self._counts.deaf += 1
        self._deaf_until = asyncio.get_running_loop().time() + seconds

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        there = self._pump(reader, far_writer, from_car=True)
        back = self._pump(far_reader, writer, from_car=False)
        await asyncio.gather(there, back, return_exceptions=True)
        for end in (writer, far_writer):
            self._writers.discard(end)
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_car: bool) -> None:
        loop = asyncio.get_running_loop()
        late: bytes | None = None
        try:
            while True:
                message = await _message(reader)
                if self._luck.random() < 0.01:
                    await asyncio.sleep(self._luck.uniform(0, 0.02))
                while loop.time() < self._deaf_until:
                    await asyncio.sleep(0.01)
                if from_car and late is None and self._luck.random() < REORDERED:
                    late = message  # goes out behind the next one: a heartbeat comes in a quarter of a second
                    continue
                writer.write(message)
                if late is not None:
                    self._counts.reordered += 1
                    writer.write(late)
                    late = None
                if from_car and message[5] == ACT and self._luck.random() < DOUBLED:
                    self._counts.duplicates += 1
                    writer.write(message)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "little"))
