"""The local channel: messages go through whole, garbage and huge lengths are refused without allocating."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.daemon.channel import MESSAGE_CAP, BadMessage, Channel
from runtime.daemon.control import Event, Follow, GetStatus, Refused, Request


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Channel[Request], asyncio.StreamWriter, asyncio.StreamReader]]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    their_reader, their_writer = await asyncio.open_unix_connection(sock=theirs)
    channel: Channel[Request] = Channel(reader, writer, Request)
    try:
        yield channel, their_writer, their_reader
    finally:
        their_writer.close()
        await channel.close()


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + payload


def test_a_message_goes_through() -> None:
    async def go() -> None:
        async with pair() as (channel, writer, reader):
            writer.write(framed(msgspec.msgpack.encode(Follow("job-1"))) + framed(msgspec.msgpack.encode(GetStatus())))
            assert await channel.receive() == Follow("job-1")
            assert await channel.receive() == GetStatus()
            channel.send(Refused("what", "next"))
            await channel.drain()
            length = int.from_bytes(await reader.readexactly(4), "little")
            assert msgspec.msgpack.decode(await reader.readexactly(length), type=Refused) == Refused("what", "next")
            writer.close()
            assert await channel.receive() is None

    asyncio.run(go())


def test_a_message_of_the_other_side_is_refused() -> None:
    async def go() -> None:
        async with pair() as (channel, writer, _):
            writer.write(framed(msgspec.msgpack.encode(Event(0, "", "", b""))))
            with pytest.raises(BadMessage):
                await channel.receive()

    asyncio.run(go())


def test_a_huge_length_is_refused_before_it_is_read() -> None:
    async def go() -> None:
        async with pair() as (channel, writer, _):
            writer.write((MESSAGE_CAP + 1).to_bytes(4, "little"))
            with pytest.raises(BadMessage, match="at most"):
                await channel.receive()

    asyncio.run(go())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_a_message_or_refused(payload: bytes) -> None:
    async def go() -> None:
        async with pair() as (channel, writer, _):
            writer.write(framed(payload))
            try:
                message = await channel.receive()
            except BadMessage:
                return
            assert isinstance(message, Request)

    asyncio.run(go())


def test_half_a_message_is_the_end() -> None:
    async def go() -> None:
        async with pair() as (channel, writer, _):
            writer.write(b"\x10\0\0\0abc")
            writer.close()
            assert await channel.receive() is None

    asyncio.run(go())
