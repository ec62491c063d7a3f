"""Pairing: the right code makes trust on both sides, anything else makes none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.transport import pairing
from runtime.transport.errors import TransportError, Unreachable
from runtime.transport.identity import Identity
from runtime.transport.memory import MemoryStream, pair
from runtime.transport.pairing import (
    MAX_ATTEMPTS,
    CodeMistyped,
    Offer,
    PairingFailed,
    Proof,
    dial_and_pair,
    join,
    join_at_relay,
    listen_and_pair,
    new_code,
    new_room,
    read_code,
    room_of,
    wait,
    wait_at_relay,
)
from runtime.transport.relay import serve_relay
from runtime.transport.stream import Stream
from runtime.transport.tls import secure
from runtime.wire.framing import Splitter, frame

CODE = new_code(lambda below: 4_821_903)
OTHER = new_code(lambda below: 4_821_904)


def strangers(folder: Path) -> tuple[Identity, Identity]:
    return Identity.create(folder / "car", "car"), Identity.create(folder / "desktop", "desktop")


def test_codes_are_eight_digits_and_a_wrong_one_is_caught_before_it_costs_an_attempt() -> None:
    assert new_code(lambda below: 0) == "0000-0000"
    digits = read_code(CODE)
    assert len(digits) == 8
    assert read_code(f" {digits[:3]} {digits[3:]}\n") == digits
    for position in range(8):
        wrong = digits[:position] + str((int(digits[position]) + 1) % 10) + digits[position + 1 :]
        with pytest.raises(CodeMistyped, match="compare the eight digits"):
            read_code(wrong)
    for typed in ("", "1234", "1234-567", "abcd-efgh", "１２３４５６７８"):
        with pytest.raises(CodeMistyped, match="8 digits"):
            read_code(typed)


def test_the_same_code_makes_trust_on_both_sides_and_then_tls_works(tmp_path: Path) -> None:
    car, desktop = strangers(tmp_path)

    async def main() -> None:
        near, far = pair()
        at_car, at_desktop = await asyncio.gather(join(near, car, CODE), wait(far, desktop, CODE))
        assert at_car.peer == desktop.me
        assert at_desktop.peer == car.me
        assert at_car.token == at_desktop.token
        assert len(bytes.fromhex(at_car.token)) == 32
        near, far = pair()
        secured, _ = await asyncio.gather(secure(near, car, is_server=False), secure(far, desktop, is_server=True))
        assert secured.peer == desktop.fingerprint

    asyncio.run(main())
    assert set(car.trusted()) == {desktop.fingerprint}
    assert set(desktop.trusted()) == {car.fingerprint}


def test_different_codes_make_no_trust_and_the_one_that_shows_it_says_nothing_of_itself(tmp_path: Path) -> None:
    car, desktop = strangers(tmp_path)
    said: list[bytes] = []

    class Noted(MemoryStream):
        async def send(self, data: bytes | bytearray | memoryview) -> None:
            said.append(bytes(data))
            await super().send(data)

    async def main() -> None:
        near, far = pair()
        noted = Noted("memory", far._outgoing, far._incoming)

        async def waiting() -> None:
            with pytest.raises(PairingFailed, match="not the same"):
                await wait(noted, desktop, CODE)
            noted.close()

        async def joining() -> None:
            with pytest.raises(PairingFailed, match=r"hung up.*start the pairing again"):
                await join(near, car, OTHER)

        await asyncio.gather(waiting(), joining())

    asyncio.run(main())
    assert car.trusted() == desktop.trusted() == {}
    assert len(said) == 1, "only its offer"
    assert b"CERTIFICATE" not in said[0]


async def in_between(near: Stream, far: Stream, change: str) -> None:
    """Somebody on the line, who does not know the code and alters what passes from the car to the desktop."""
    splitter = Splitter()
    while data := await near.receive():
        for payload in splitter.feed(data):
            message = pairing._DECODER.decode(payload)
            if isinstance(message, Proof) and change == "certificate":
                message = Proof(message.certificate.replace(b"A", b"B", 1), message.mac)
            if isinstance(message, Proof) and change == "mac":
                message = Proof(message.certificate, bytes(32))
            if isinstance(message, Offer) and change == "offer":
                message = Offer(1, message.pake[:1] + bytes(32))
            if isinstance(message, Offer) and change == "version":
                message = Offer(2, message.pake)
            if isinstance(message, Offer) and change == "order":
                message = Proof(b"", bytes(32))
            await far.send(b"\xff\xff\xff\xff" if change == "garbage" else frame(message))


@pytest.mark.parametrize("change", ["certificate", "mac", "offer", "version", "order", "garbage"])
def test_whoever_alters_what_passes_makes_no_trust(tmp_path: Path, change: str) -> None:
    car, desktop = strangers(tmp_path)

    async def main() -> None:
        near, from_car = pair()
        to_desktop, far = pair()
        tasks = [
            asyncio.ensure_future(in_between(from_car, to_desktop, change)),
            asyncio.ensure_future(in_between(to_desktop, from_car, "")),
        ]

        async def joining() -> None:
            with pytest.raises(PairingFailed):
                await join(near, car, CODE)

        async def waiting() -> None:
            with pytest.raises(PairingFailed):
                await wait(far, desktop, CODE)
            from_car.close()

        await asyncio.gather(joining(), waiting())
        for task in tasks:
            task.cancel()

    asyncio.run(main())
    assert car.trusted() == desktop.trusted() == {}


def test_replaying_a_sides_own_offer_and_proof_to_it_makes_no_trust(tmp_path: Path) -> None:
    car, _ = strangers(tmp_path)

    async def main() -> None:
        near, mirror = pair()

        async def reflect() -> None:
            while data := await mirror.receive():
                await mirror.send(data)

        reflecting = asyncio.ensure_future(reflect())
        with pytest.raises(PairingFailed):
            await join(near, car, CODE)
        reflecting.cancel()

    asyncio.run(main())
    assert car.trusted() == {}


def test_over_tcp_and_three_wrong_guesses_kill_the_code(tmp_path: Path) -> None:
    car, desktop = strangers(tmp_path)

    async def main() -> None:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(listen_and_pair("127.0.0.1", 0, desktop, CODE, 20, address.set_result))
        port = int((await address).rpartition(":")[2])
        for _ in range(MAX_ATTEMPTS - 1):
            with pytest.raises(TransportError):
                await dial_and_pair("127.0.0.1", port, car, OTHER)
        assert (await dial_and_pair("127.0.0.1", port, car, CODE)).peer == desktop.me
        assert (await waiting).peer == car.me

        address = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(listen_and_pair("127.0.0.1", 0, desktop, OTHER, 20, address.set_result))
        port = int((await address).rpartition(":")[2])
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(TransportError):
                await dial_and_pair("127.0.0.1", port, car, CODE)
        with pytest.raises(PairingFailed, match="it is dead"):
            await waiting
        with pytest.raises(Unreachable):
            await dial_and_pair("127.0.0.1", port, car, OTHER)

    asyncio.run(main())


def test_nobody_comes(tmp_path: Path) -> None:
    _, desktop = strangers(tmp_path)
    with pytest.raises(Unreachable, match="nobody came to pair"):
        asyncio.run(listen_and_pair("127.0.0.1", 0, desktop, CODE, 0.01))


def test_two_that_can_only_dial_out_pair_at_a_relay_and_share_a_token_that_it_does_not_know(tmp_path: Path) -> None:
    car, desktop = strangers(tmp_path)

    async def main() -> None:
        server, relay = await serve_relay("127.0.0.1", 0)
        port = int(server.address.rpartition(":")[2])
        room = new_room(lambda below: 471_822)
        waits = asyncio.Event()
        waiting = asyncio.ensure_future(wait_at_relay("127.0.0.1", port, desktop, f"{room}-{CODE}", 20, waits.set))
        await waits.wait()
        with pytest.raises(TransportError, match="nobody waits"):
            await join_at_relay("127.0.0.1", port, car, f"999999-{CODE}")
        while relay.waiting == 0:
            await asyncio.sleep(0)
        with pytest.raises(PairingFailed):
            await join_at_relay("127.0.0.1", port, car, f"{room}-{OTHER}")
        assert car.trusted() == {}
        while relay.waiting == 0:
            await asyncio.sleep(0)
        joined = await join_at_relay("127.0.0.1", port, car, f"{room}{CODE}")
        waited = await waiting
        assert (joined.peer, waited.peer) == (desktop.me, car.me)
        assert joined.token == waited.token
        await server.close()

    asyncio.run(main())
    with pytest.raises(CodeMistyped, match="14 digits"):
        room_of(CODE)


def test_nobody_comes_to_the_relay(tmp_path: Path) -> None:
    _, desktop = strangers(tmp_path)

    async def main() -> None:
        server, _ = await serve_relay("127.0.0.1", 0)
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(Unreachable, match="nobody came"):
            await wait_at_relay("127.0.0.1", port, desktop, f"471822-{CODE}", 0.05)
        await server.close()

    asyncio.run(main())
