"""The relay: it joins those who know a token, sees nothing, and gives nobody more than the limits say.

That a relayed link is a `Stream` like any other is held by test_contract.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.transport.dial import dial, listen
from runtime.transport.errors import BadAddress, StreamBroken, TransportError, Unreachable, WrongCertificate
from runtime.transport.identity import Identity
from runtime.transport.relay import (
    CALL,
    VERSION,
    WAIT,
    Bucket,
    Join,
    Joined,
    Ping,
    Refused,
    Relay,
    RelayLimits,
    RelayRefused,
    read_message,
    serve_relay,
)
from runtime.transport.rendezvous import new_token, parse_relay
from runtime.transport.stream import Stream
from runtime.transport.tcp import dial_tcp, listen_tcp
from runtime.wire.framing import frame
from tests.transport.links import identities

TOKEN = bytes(range(32))


def with_relay(test: Callable[[str, Relay], Awaitable[None]], limits: RelayLimits | None = None) -> None:
    async def main() -> None:
        server, relay = await serve_relay("127.0.0.1", 0, limits)
        try:
            await asyncio.wait_for(test(server.address, relay), 30)
        finally:
            await server.close()

    asyncio.run(main())


async def joined(address: str, side: int, token: bytes = TOKEN) -> Stream:
    stream = await dial_tcp("127.0.0.1", int(address.rpartition(":")[2]), 5)
    await stream.send(frame(Join(VERSION, side, token)))
    return stream


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def answer(stream: Stream) -> object:
    message, rest = await read_message(stream, b"")
    assert not rest
    return message


def test_who_waits_and_who_calls_are_joined_and_the_end_of_one_is_the_end_of_both() -> None:
    async def test(address: str, relay: Relay) -> None:
        waiting = await joined(address, WAIT)
        await until(lambda: relay.waiting == 1)
        calling = await joined(address, CALL)
        assert isinstance(await answer(waiting), Joined)
        assert isinstance(await answer(calling), Joined)
        await calling.send(b"ping")
        assert await waiting.receive() == b"ping"
        await waiting.send(b"pong")
        assert await calling.receive() == b"pong"
        calling.close()
        assert await waiting.receive() == b""
        waiting.close()
        await until(lambda: relay.pairs == 0)
        assert relay.waiting == 0
        assert relay._waiting == {}

    with_relay(test)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (frame(Join(VERSION, CALL, TOKEN)), "nobody waits under this token"),
        (frame(Join(VERSION + 1, CALL, TOKEN)), "this relay speaks version 1"),
        (frame(Join(VERSION, CALL, b"short")), "not a message"),
        (frame(Join(VERSION, 2, TOKEN)), "not a message"),
        (frame(Ping()), "a join was expected"),
        (frame(Join(VERSION, CALL, TOKEN)) + b"too early", "a join was expected, and nothing behind it"),
    ],
)
def test_a_join_that_cannot_be_is_told_why(said: bytes, why: str) -> None:
    async def test(address: str, relay: Relay) -> None:
        stream = await dial_tcp("127.0.0.1", int(address.rpartition(":")[2]), 5)
        await stream.send(said)
        told = await answer(stream)
        assert isinstance(told, Refused)
        assert why in told.why
        assert await stream.receive() == b""
        stream.close()

    with_relay(test)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", bytes(4), b"\xff" * 300])
def test_other_protocols_are_hung_up_on(said: bytes) -> None:
    async def test(address: str, relay: Relay) -> None:
        stream = await dial_tcp("127.0.0.1", int(address.rpartition(":")[2]), 5)
        await stream.send(said)
        with contextlib.suppress(StreamBroken):  # hung up with our bytes unread
            assert await stream.receive() == b""
        stream.close()

    with_relay(test)


def test_limits_of_joins_of_waiting_and_of_silence() -> None:
    limits = RelayLimits(joins_a_minute=4, waiting_a_token=2, join_s=0.05, ping_s=0.01)

    async def test(address: str, relay: Relay) -> None:
        silent = await dial_tcp("127.0.0.1", int(address.rpartition(":")[2]), 5)
        assert await answer(silent) == Refused("no join in time")
        waiting = [await joined(address, WAIT) for _ in range(2)]
        await until(lambda: relay.waiting == 2)
        assert await answer(await joined(address, WAIT)) == Refused("enough sides wait under this token")
        assert await answer(await joined(address, WAIT)) == Refused("too many joins from this address")
        assert isinstance(await answer(waiting[0]), Ping)
        for stream in waiting:
            stream.close()
        await until(lambda: relay.waiting == 0)

    with_relay(test, limits)


def test_who_waits_and_talks_is_not_kept() -> None:
    async def test(address: str, relay: Relay) -> None:
        waiting = await joined(address, WAIT)
        await until(lambda: relay.waiting == 1)
        await waiting.send(b"hello?")
        assert await answer(waiting) == Refused("whoever waits has nothing to say")
        waiting.close()

    with_relay(test)


def test_a_pair_that_is_silent_is_ended() -> None:
    async def test(address: str, relay: Relay) -> None:
        waiting = await joined(address, WAIT)
        await until(lambda: relay.waiting == 1)
        calling = await joined(address, CALL)
        await answer(calling)
        await answer(waiting)
        assert await calling.receive() == b""
        calling.close()
        waiting.close()

    with_relay(test, RelayLimits(idle_s=0.02))


def test_a_bucket_pays_out_at_its_rate() -> None:
    bucket = Bucket(10, 20, now_s=0)
    assert bucket.take(20, 0) == 0
    assert bucket.take(5, 0) == 0.5
    assert bucket.take(0, 0.5) == 0
    assert bucket.take(0, 100) == 0
    assert bucket.take(30, 100) == 1
    assert not bucket.would_take(1, 100)
    assert not bucket.would_take(1, 101)
    assert bucket.would_take(1, 101.2)


def test_a_car_and_a_desktop_meet_again_and_again_and_the_relay_sees_only_tls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    car, desktop = identities(tmp_path)
    seen = bytearray()
    secret = b"a password that was typed"
    caplog.set_level(logging.DEBUG)

    async def echo(stream: Stream) -> None:
        while data := await stream.receive():
            await stream.send(data)

    async def main() -> None:
        server, relay = await serve_relay("127.0.0.1", 0)
        pump = relay._pump

        async def noted(source: Stream, sink: Stream, bucket: Bucket) -> None:
            class Noting:
                peer = source.peer

                async def receive(self) -> bytes:
                    data = await source.receive()
                    seen.extend(data)
                    return data

            await pump(Noting(), sink, bucket)  # type: ignore[arg-type]

        relay._pump = noted  # type: ignore[method-assign]
        url = f"{server.address}/{new_token()}"
        listener = await listen(url, desktop, echo)
        for _ in range(3):
            await until(lambda: relay.waiting == 1)
            stream = await dial(url, car)
            assert stream.peer == desktop.fingerprint
            await stream.send(secret)
            assert await stream.receive() == secret
            stream.close()
            await stream.wait_closed()
        stranger = Identity.create(tmp_path / "stranger", "stranger")
        stranger.trust(desktop.certificate_pem)
        await until(lambda: relay.waiting == 1)
        stream = await dial(url, stranger)
        with pytest.raises(WrongCertificate):
            await stream.receive()
        stream.close()
        await listener.close()
        await server.close()
        assert url.rpartition("/")[2] not in caplog.text, "no log holds a token"

    asyncio.run(main())
    assert len(seen) > 3 * 2 * len(secret)
    assert secret not in seen
    assert seen[0] == 0x16, "a TLS record"


def test_a_relay_that_alters_what_it_carries_is_noticed(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    is_altering = False
    got: list[object] = []

    async def altering(source: Stream, sink: Stream, bucket: Bucket) -> None:
        while data := bytearray(await source.receive()):
            data[-1] ^= is_altering
            await sink.send(data)

    async def handler(stream: Stream) -> None:
        try:
            while True:
                got.append(await stream.receive())
        except TransportError as error:
            got.append(error)

    async def test(address: str, relay: Relay) -> None:
        nonlocal is_altering
        relay._pump = altering  # type: ignore[method-assign]
        url = f"{address}/{new_token()}"
        listener = await listen(url, desktop, handler)
        await until(lambda: relay.waiting == 1)
        stream = await dial(url, car)
        await stream.send(b"click 1 1")
        await until(lambda: got == [b"click 1 1"])
        is_altering = True
        await stream.send(b"click 2 2")
        await until(lambda: len(got) == 2)
        stream.close()
        await listener.close()

    with_relay(test)
    assert isinstance(got[1], TransportError)


def test_nobody_is_there(tmp_path: Path) -> None:
    car, _ = identities(tmp_path)

    async def test(address: str, relay: Relay) -> None:
        with pytest.raises(RelayRefused, match=r"nobody waits under this token; see that the desktop's connector runs"):
            await dial(f"{address}/{new_token()}", car)

    with_relay(test)
    with pytest.raises(Unreachable):
        asyncio.run(dial(f"relay://127.0.0.1:1/{new_token()}", car))


def test_something_else_answers_at_the_relays_address(tmp_path: Path) -> None:
    car, _ = identities(tmp_path)

    async def main() -> None:
        async def shout(stream: Stream) -> None:
            await stream.send(b"220 smtp.example ESMTP\r\n")
            await stream.receive()

        server = await listen_tcp("127.0.0.1", 0, "relay", shout)
        with pytest.raises(StreamBroken, match="relay's protocol"):
            await dial(f"{server.address}/{new_token()}", car)
        await server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "url", ["relay://h:1", "relay://h:1/abc", "relay://h:1/" + "zz" * 16, "relay://h/" + "00" * 16]
)
def test_a_bad_relay_url_is_told_without_its_token(url: str) -> None:
    with pytest.raises(BadAddress, match="relay://host:port/TOKEN") as raised:
        parse_relay(url)
    assert "zzzz" not in str(raised.value)
