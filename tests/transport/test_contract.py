"""The contract of `Stream`, run over every implementation."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest

from runtime.transport.errors import StreamBroken
from runtime.transport.stream import RECEIVE_BYTES, Stream
from tests.transport.links import LINKS


@pytest.fixture(params=sorted(LINKS))
def over(request: pytest.FixtureRequest) -> Callable[[Callable[[Stream, Stream], Awaitable[None]]], None]:
    """Runs a coroutine with the two ends of a link of each kind."""

    def run(test: Callable[[Stream, Stream], Awaitable[None]]) -> None:
        async def main() -> None:
            async with LINKS[request.param]() as (near, far):
                await asyncio.wait_for(test(near, far), 20)

        asyncio.run(main())

    return run


Over = Callable[[Callable[[Stream, Stream], Awaitable[None]]], None]


async def exactly(stream: Stream, count: int) -> bytes:
    """Receives `count` bytes, however they are cut."""
    got = b""
    while len(got) < count:
        chunk = await stream.receive()
        assert chunk, f"the link ended after {len(got)} of {count} bytes"
        got += chunk
    return got


def test_it_is_a_stream_and_names_its_peer(over: Over) -> None:
    async def test(near: Stream, far: Stream) -> None:
        for end in (near, far):
            assert isinstance(end, Stream)
            assert end.peer

    over(test)


def test_bytes_arrive_in_order_both_ways_at_once(over: Over) -> None:
    rng = random.Random(7)
    pieces = [rng.randbytes(rng.choice([1, 2, 100, 5_000, 70_000, 400_000])) for _ in range(12)]
    whole = b"".join(pieces)

    async def send(stream: Stream) -> None:
        for piece in pieces:
            await stream.send(piece)

    async def test(near: Stream, far: Stream) -> None:
        _, _, there, back = await asyncio.gather(
            send(near), send(far), exactly(far, len(whole)), exactly(near, len(whole))
        )
        assert hashlib.sha256(there).digest() == hashlib.sha256(back).digest() == hashlib.sha256(whole).digest()

    over(test)


def test_any_buffer_can_be_sent_and_an_empty_one_is_nothing(over: Over) -> None:
    async def test(near: Stream, far: Stream) -> None:
        for data in (b"ab", b"", bytearray(b"cd"), memoryview(b"xefx")[1:3]):
            await near.send(data)
        assert await exactly(far, 6) == b"abcdef"

    over(test)


def test_one_receive_is_bounded(over: Over) -> None:
    async def test(near: Stream, far: Stream) -> None:
        sending = asyncio.ensure_future(near.send(bytes(3 * RECEIVE_BYTES)))
        got = 0
        while got < 3 * RECEIVE_BYTES:
            chunk = await far.receive()
            assert 0 < len(chunk) <= RECEIVE_BYTES
            got += len(chunk)
        await sending

    over(test)


def test_what_was_sent_before_a_close_arrives_and_then_the_end(over: Over) -> None:
    async def test(near: Stream, far: Stream) -> None:
        await near.send(b"last words")
        near.close()
        assert await exactly(far, 10) == b"last words"
        assert await far.receive() == b""
        assert await far.receive() == b""

    over(test)


def test_a_close_ends_a_waiting_receive_on_the_same_side(over: Over) -> None:
    async def test(near: Stream, far: Stream) -> None:
        waiting = asyncio.ensure_future(near.receive())
        await asyncio.sleep(0)
        near.close()
        near.close()
        assert await waiting == b""
        assert await near.receive() == b""
        with pytest.raises(StreamBroken):
            await near.send(b"too late")
        await near.wait_closed()

    over(test)


def test_a_sender_waits_for_a_slow_receiver(over: Over) -> None:
    sent = 0

    async def test(near: Stream, far: Stream) -> None:
        async def flood() -> None:
            nonlocal sent
            while True:
                await near.send(bytes(1 << 16))
                sent += 1 << 16

        flooding = asyncio.ensure_future(flood())
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < 32 << 20, "a sender that nobody reads from must be held back"
        flooding.cancel()

    over(test)


def test_sending_to_an_end_that_has_closed_fails_in_the_end(over: Over) -> None:
    async def test(near: Stream, far: Stream) -> None:
        far.close()

        async def flood() -> None:
            while True:
                await near.send(bytes(1 << 16))
                await asyncio.sleep(0)

        with pytest.raises(StreamBroken, match="link"):
            await flood()

    over(test)
