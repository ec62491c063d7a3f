"""The desktops of a soak: one process that applies actions behind the same fence as a real one, and counts them itself.

    car ─► hello(job, owner_epoch) ─► last seq, or refused: an older owner
        ─► act(job, owner_epoch, seq, number) ─► applied, or refused

The fence is the rule of runtime/desktop/connector.py: no older owner_epoch, no seq that was used. The count is not the
fence's: it is how often action `number` of a job was applied, so a fence that leaks shows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_FRAME = 4


class Said(msgspec.Struct, array_like=True):
    """What a car says and is answered: (number of the request, job, owner_epoch, seq, number of the action)."""

    request: int
    job: str
    owner_epoch: int
    seq: int
    action: int


class Answer(msgspec.Struct, array_like=True):
    """`ok` False is an older owner or a used seq. `last_seq` is the highest that was applied."""

    request: int
    ok: bool
    last_seq: int


@dataclass
class Desks:
    """All jobs' desktops."""

    epochs: dict[str, int] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    applied: Counter[tuple[str, int]] = field(default_factory=Counter)
    refused: int = 0

    def hear(self, said: Said) -> Answer:
        known, last = self.epochs.get(said.job, 0), self.seqs.get(said.job, 0)
        if said.owner_epoch < known or (said.seq and said.seq <= last):
            self.refused += 1
            return Answer(said.request, False, last)
        self.epochs[said.job] = said.owner_epoch
        if said.seq:
            self.seqs[said.job] = last = said.seq
            self.applied[said.job, said.action] += 1
        return Answer(said.request, True, last)

    @property
    def doubled(self) -> int:
        """How many actions were applied a second time, or more often."""
        return sum(count - 1 for count in self.applied.values())

    async def serve(self, path: Path) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve_one, str(path))

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = msgspec.msgpack.Decoder(Said)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(_FRAME), "little")
                answer = msgspec.msgpack.encode(self.hear(decoder.decode(await reader.readexactly(size))))
                writer.write(len(answer).to_bytes(_FRAME, "little") + answer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()  # the car's process was killed


class DeskLink:
    """A process's connection to the desks, shared by its cars."""

    def __init__(self) -> None:
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    async def open(self, path: Path) -> None:
        reader, self._writer = await asyncio.open_unix_connection(str(path))
        self._task = asyncio.create_task(self._read(reader))

    async def say(self, job: str, owner_epoch: int, seq: int = 0, action: int = 0) -> Answer:
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        body = msgspec.msgpack.encode(Said(self._number, job, owner_epoch, seq, action))
        self._writer.write(len(body).to_bytes(_FRAME, "little") + body)
        said: Answer = await answer
        return said

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = msgspec.msgpack.Decoder(Answer)
        while True:
            size = int.from_bytes(await reader.readexactly(_FRAME), "little")
            answer = decoder.decode(await reader.readexactly(size))
            self._waiting.pop(answer.request).set_result(answer)
