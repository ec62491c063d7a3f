"""A folder of published bundles, shared over any link: a car fetches from another, also where both can only dial out.

    fetching side ── [name, offset, size] ─►  sharing side      one request at a time, at most 512 KiB each
                  ◄── [what is wrong, data] ──

Only bundles (.ihb) and their indexes are given, by plain names; who may connect, the link says (dial.py). Nothing that
comes is trusted for where it came from: every chunk is checked by its hash, and the bundle by its signature.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from runtime.store import download
from runtime.store.bundle import SUFFIX
from runtime.store.publish import INDEX_SUFFIX
from runtime.transport.dial import dial, listen, shown
from runtime.transport.errors import TransportError
from runtime.transport.identity import Identity
from runtime.transport.stream import Server, Stream
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import Splitter, decode, frame

PART_BYTES = 512 << 10
SILENCE_S = 60.0


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """Give `size` bytes of `name` from `offset` on."""

    name: Annotated[str, Meta(max_length=200)]
    offset: Annotated[int, Meta(ge=0, le=2**40)]
    size: Annotated[int, Meta(ge=0, le=PART_BYTES)]


class Given(msgspec.Struct, array_like=True, frozen=True):
    """The bytes, fewer at the file's end; or what is wrong."""

    error: str
    data: bytes


_ask = msgspec.msgpack.Decoder(Ask)
_given = msgspec.msgpack.Decoder(Given)


async def share(folder: Path, url: str, identity: Identity | None) -> Server:
    """Shares `folder` at `url` with every peer that the link lets in. Raises what `listen` does."""
    source = download.FolderSource(folder)

    async def serve(stream: Stream) -> None:
        splitter = Splitter()
        try:
            while data := await asyncio.wait_for(stream.receive(), SILENCE_S):
                for payload in splitter.feed(data):
                    given = await asyncio.to_thread(_give, source, decode(payload, _ask))
                    await stream.send(frame(given))
        except (TransportError, ProtocolError, asyncio.TimeoutError, TimeoutError):
            return  # the link is closed, and the other side sees that

    return await listen(url, identity, serve)


def _give(source: download.Source, ask: Ask) -> Given:
    is_plain = Path(ask.name).name == ask.name and not ask.name.startswith(".")
    if not is_plain or not ask.name.removesuffix(INDEX_SUFFIX).endswith(SUFFIX):
        return Given(f"'{ask.name}' is not shared", b"")
    try:
        return Given("", source.read(ask.name, ask.offset, ask.size))
    except download.Unreachable:
        return Given(f"'{ask.name}' is not here", b"")


class PeerSource:
    """The other end, as a `download.Source`: `read` waits. `close` it in the end."""

    def __init__(self, url: str, identity: Identity | None) -> None:
        self._url, self._identity = url, identity
        self._loop = asyncio.new_event_loop()
        self._stream: Stream | None = None
        self._splitter = Splitter()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Returns at most `size` bytes of a file from `offset`. Raises download.Unreachable."""
        try:
            return self._loop.run_until_complete(self._read(name, offset, size))
        except (TransportError, ProtocolError, asyncio.TimeoutError, TimeoutError) as error:
            self._loop.run_until_complete(self._hang_up())
            raise download.Unreachable(f"{shown(self._url)}: {name} cannot be fetched: {error}") from error

    def close(self) -> None:
        """Ends the link."""
        self._loop.run_until_complete(self._hang_up())
        self._loop.close()

    async def _read(self, name: str, offset: int, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            part = await self._ask(Ask(name, offset + len(found), min(PART_BYTES, size - len(found))))
            found += part
            if len(part) < PART_BYTES:
                break
        return bytes(found)

    async def _ask(self, ask: Ask) -> bytes:
        if self._stream is None:
            self._stream = await dial(self._url, self._identity)
            self._splitter = Splitter()
        await self._stream.send(frame(ask))
        while data := await asyncio.wait_for(self._stream.receive(), SILENCE_S):
            for payload in self._splitter.feed(data):
                given: Given = decode(payload, _given)
                if given.error:
                    raise download.Unreachable(f"{shown(self._url)} says: {given.error}", next_step="name another file")
                return given.data
        raise download.Unreachable(f"{shown(self._url)} closed the link")

    async def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            await self._stream.wait_closed()
        self._stream = None
