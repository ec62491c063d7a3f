"""Messages over a local stream socket: u32 little-endian length, then one MessagePack message. Both ends are ours.

The control socket and the worker links speak over it; a session with a desktop has machines of its own (runtime/wire).
"""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

import msgspec

MESSAGE_CAP = 1 << 20
Received = TypeVar("Received")


class BadMessage(Exception):
    """The peer sent something that is no message of this channel."""


class Channel(Generic[Received]):
    """One end. `receives` is the union of message types that the peer may send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receives: Any) -> None:
        self._reader, self._writer = reader, writer
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(receives)
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, message: msgspec.Struct) -> None:
        """Queues one message; `drain()` waits until it is out."""
        if self._writer.is_closing():
            return
        payload = self._encoder.encode(message)
        self._writer.write(len(payload).to_bytes(4, "little") + payload)

    async def drain(self) -> None:
        """Returns once what was sent is out; an end that is gone is the reader's to notice."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    async def receive(self) -> Received | None:
        """Returns the next message, None at the end. Raises BadMessage for garbage and for lengths above 1 MiB."""
        try:
            length = int.from_bytes(await self._reader.readexactly(4), "little")
            if length > MESSAGE_CAP:
                raise BadMessage(f"a message of {length} bytes, at most {MESSAGE_CAP} are taken")
            payload = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        try:
            return self._decoder.decode(payload)
        except msgspec.DecodeError as error:  # ValidationError is one too
            raise BadMessage(f"not a message of this channel: {error}") from error

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
