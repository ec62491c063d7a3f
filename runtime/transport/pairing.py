"""Two strangers come to trust each other by eight digits that a person reads out: SPAKE2, then pinned certificates.

    desktop shows 4821-9035 and waits          car is given 4821-9035 and dials
        ◄─ Offer(pake) ─────────────────────────── Offer(pake) ─►         a shared key, if the digits agree
        ◄─ Proof(certificate, mac) ───────────────                         the dialler proves first
        ── Proof(certificate, mac) ──────────────►                         now each trusts the other's certificate

SPAKE2 (PyPI `spake2`, on Ed25519) gives whoever sits in between one guess a run, and nothing to try offline. Seven
digits are random, the eighth is a check digit that catches a misread one before it costs an attempt; after MAX_ATTEMPTS
wrong proofs the code is dead. The link under it may be anything, also open TCP, or a relay where both only dial out:

    471822-4821-9035        six digits more name the room at the relay; they are no secret

The two also agree on a relay token that nobody else can know, so that one pairing is all that a relayed desktop needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from spake2 import SPAKE2_A, SPAKE2_B  # type: ignore[import-untyped,unused-ignore]
from spake2.spake2 import SPAKEError  # type: ignore[import-untyped,unused-ignore]

from runtime.transport.errors import StreamBroken, TransportError, Unreachable
from runtime.transport.identity import MAX_CERTIFICATE_BYTES, Identity, Peer, read_certificate
from runtime.transport.relay import CALL, WAIT
from runtime.transport.rendezvous import Rendezvous, join_relay
from runtime.transport.stream import Stream
from runtime.transport.tcp import dial_tcp, listen_tcp
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import Splitter, decode, frame

VERSION = 1
DIGITS = 8  # the last is the check digit
ROOM_DIGITS = 6
MAX_ATTEMPTS = 3
STEP_S = 10.0
DIALLER, WAITER = b"idlehands pairing, who dials", b"idlehands pairing, who waits"


class PairingFailed(TransportError):
    """The other side did not know the code, or was not the other side at all. Nothing was trusted."""

    next_step: ClassVar[str] = "start the pairing again on both sides and use the new code"


class CodeMistyped(TransportError):
    """What was typed cannot be a code: its check digit does not fit. No attempt was used up."""

    next_step: ClassVar[str] = "compare the eight digits with the screen and type them again"


class Offer(msgspec.Struct, array_like=True, frozen=True, tag=1):
    version: int
    pake: Annotated[bytes, msgspec.Meta(max_length=128)]


class Proof(msgspec.Struct, array_like=True, frozen=True, tag=2):
    certificate: Annotated[bytes, msgspec.Meta(max_length=MAX_CERTIFICATE_BYTES)]
    mac: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


@dataclass(frozen=True)
class Paired:
    """The peer that is trusted now, and the token under which the two can meet at a relay, in hex digits."""

    peer: Peer
    token: str


_DECODER: msgspec.msgpack.Decoder[Offer | Proof] = msgspec.msgpack.Decoder(Offer | Proof)
M = TypeVar("M", Offer, Proof)


def new_code(random_digits: Callable[[int], int] = secrets.randbelow) -> str:
    """Returns a new code to be shown, such as "4821-9035"."""
    digits = f"{random_digits(10 ** (DIGITS - 1)):0{DIGITS - 1}d}"
    whole = digits + _check_digit(digits)
    return f"{whole[:4]}-{whole[4:]}"


def read_code(typed: str) -> str:
    """Returns the digits of what a person typed. Raises CodeMistyped."""
    digits = "".join(character for character in typed if character not in " -.\t\n")
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        raise CodeMistyped(f"a code has {DIGITS} digits")
    if digits[-1] != _check_digit(digits[:-1]):
        raise CodeMistyped("one of the digits is wrong")
    return digits


def new_room(random_digits: Callable[[int], int] = secrets.randbelow) -> str:
    """Returns the digits that name a room at a relay; they stand before the code."""
    return f"{random_digits(10**ROOM_DIGITS):0{ROOM_DIGITS}d}"


def room_of(typed: str) -> tuple[str, str]:
    """Splits what a person typed into (room, code). Raises CodeMistyped."""
    digits = "".join(character for character in typed if character not in " -.\t\n")
    if len(digits) != ROOM_DIGITS + DIGITS or not (digits.isascii() and digits.isdigit()):
        raise CodeMistyped(f"a code for a relay has {ROOM_DIGITS + DIGITS} digits, such as 471822-4821-9035")
    return digits[:ROOM_DIGITS], read_code(digits[ROOM_DIGITS:])


async def join(stream: Stream, identity: Identity, code: str) -> Paired:
    """The side that dials: pairs with whoever shows `code`. Raises PairingFailed, CodeMistyped, TransportError."""
    talk = _Talk(stream, SPAKE2_A, read_code(code))
    key = await talk.agree()
    await talk.prove(key, DIALLER, identity)
    peer = await talk.verify(key, WAITER)
    return Paired(identity.trust(peer), _token(key))


async def wait(stream: Stream, identity: Identity, code: str) -> Paired:
    """The side that shows `code`; says nothing about itself until the other has proved that it knows the code."""
    talk = _Talk(stream, SPAKE2_B, read_code(code))
    key = await talk.agree()
    peer = await talk.verify(key, DIALLER)
    trusted = identity.trust(peer)
    await talk.prove(key, WAITER, identity)
    return Paired(trusted, _token(key))


async def dial_and_pair(host: str, port: int, identity: Identity, code: str, timeout_s: float = STEP_S) -> Paired:
    """Pairs with the side that waits at `host`:`port`."""
    read_code(code)
    stream = await dial_tcp(host, port, timeout_s)
    try:
        return await join(stream, identity, code)
    finally:
        stream.close()
        await stream.wait_closed()


async def listen_and_pair(
    host: str,
    port: int,
    identity: Identity,
    code: str,
    timeout_s: float,
    listening: Callable[[str], None] = lambda address: None,
) -> Paired:
    """Waits for one peer that knows `code`, `timeout_s` at most; `listening` is told the address once it is open.

    Raises PairingFailed after MAX_ATTEMPTS that did not know it, Unreachable if nobody came in time.
    """
    paired: asyncio.Future[Paired] = asyncio.get_running_loop().create_future()
    failures = 0
    one_at_a_time = asyncio.Lock()

    async def attempt(stream: Stream) -> None:
        nonlocal failures
        async with one_at_a_time:  # attempts side by side would be guesses that are not counted
            if paired.done():
                return
            try:
                paired.set_result(await wait(stream, identity, code))
            except (PairingFailed, StreamBroken):
                failures += 1
                if failures >= MAX_ATTEMPTS:
                    paired.set_exception(PairingFailed(f"{failures} attempts did not know the code; it is dead"))
            except TransportError as error:  # a fault on this side, such as a folder that cannot be written
                paired.set_exception(error)

    server = await listen_tcp(host, port, "pair", attempt)
    listening(server.address)
    try:
        return await asyncio.wait_for(asyncio.shield(paired), timeout_s)
    except asyncio.TimeoutError as error:
        paired.cancel()
        raise Unreachable(
            f"nobody came to pair within {timeout_s:g} s", next_step="start again on both sides"
        ) from error
    finally:
        await server.close()


async def join_at_relay(host: str, port: int, identity: Identity, typed: str, timeout_s: float = STEP_S) -> Paired:
    """Pairs with the side that waits in the room of `typed` at the relay `host`:`port`."""
    room, code = room_of(typed)
    where = _room_at(host, port, room)
    stream = await dial_tcp(host, port, timeout_s)
    try:
        return await join(await join_relay(stream, where, CALL), identity, code)
    finally:
        stream.close()
        await stream.wait_closed()


async def wait_at_relay(
    host: str,
    port: int,
    identity: Identity,
    typed: str,
    timeout_s: float,
    waiting: Callable[[], None] = lambda: None,
) -> Paired:
    """Waits in the room of `typed` at the relay for one peer that knows the code; raises as `listen_and_pair`."""
    room, code = room_of(typed)
    where = _room_at(host, port, room)

    async def until_paired() -> Paired:
        for _ in range(MAX_ATTEMPTS):
            stream = await dial_tcp(host, port, STEP_S)
            try:
                is_there = asyncio.Event()
                joining = asyncio.ensure_future(join_relay(stream, where, WAIT, is_there))
                await is_there.wait()
                waiting()
                return await wait(await joining, identity, code)
            except (PairingFailed, StreamBroken):
                continue
            finally:
                stream.close()
        raise PairingFailed(f"{MAX_ATTEMPTS} attempts did not know the code; it is dead")

    try:
        return await asyncio.wait_for(until_paired(), timeout_s)
    except asyncio.TimeoutError as error:
        raise Unreachable(
            f"nobody came to pair within {timeout_s:g} s", next_step="start again on both sides"
        ) from error


def _room_at(host: str, port: int, room: str) -> Rendezvous:
    return Rendezvous(
        f"relay://{host}:{port}", host, port, hashlib.sha256(b"idlehands pairing room " + room.encode()).digest()
    )


class _Talk:
    """One run over one stream."""

    def __init__(self, stream: Stream, side: Callable[..., Any], digits: str) -> None:
        self._stream = stream
        self._splitter = Splitter(2 * MAX_CERTIFICATE_BYTES)
        self._waiting: list[Offer | Proof] = []
        self._pake = side(digits.encode(), idA=DIALLER, idB=WAITER)

    async def agree(self) -> bytes:
        """Exchanges offers; returns the key, which is the same on both sides only if the digits are."""
        mine = Offer(VERSION, self._pake.start())
        await self._stream.send(frame(mine))
        theirs = await self._receive(Offer)
        if theirs.version != VERSION:
            raise PairingFailed(f"the other side pairs in version {theirs.version}, this one in {VERSION}")
        try:
            shared: bytes = self._pake.finish(theirs.pake)
        except (SPAKEError, ValueError, AssertionError) as error:  # the library asserts that points are on the curve
            raise PairingFailed("the other side's offer is not one") from error
        return hashlib.sha256(b"idlehands pairing key" + shared).digest()

    async def prove(self, key: bytes, role: bytes, identity: Identity) -> None:
        certificate = identity.certificate_pem.encode()
        try:
            await self._stream.send(frame(Proof(certificate, _mac(key, role, certificate))))
        except StreamBroken as error:
            raise PairingFailed("the other side hung up") from error

    async def verify(self, key: bytes, role: bytes) -> str:
        """Returns the other side's certificate, once its proof holds."""
        proof = await self._receive(Proof)
        if not hmac.compare_digest(proof.mac, _mac(key, role, proof.certificate)):
            raise PairingFailed("the code was not the same on both sides")
        try:
            return read_certificate(proof.certificate).pem
        except ValueError as error:
            raise PairingFailed(f"the other side has no certificate that can be trusted: {error}") from error

    async def _receive(self, kind: type[M]) -> M:
        try:
            return await asyncio.wait_for(self._next(kind), STEP_S)
        except asyncio.TimeoutError as error:
            raise PairingFailed(f"the other side said nothing for {STEP_S:g} s") from error
        except ProtocolError as error:
            raise PairingFailed(f"the other side does not speak the pairing protocol: {error.message}") from error

    async def _next(self, kind: type[M]) -> M:
        while not self._waiting:
            data = await self._stream.receive()
            if not data:
                raise PairingFailed("the other side hung up: the code was not the same, or is dead")
            self._waiting += [decode(payload, _DECODER) for payload in self._splitter.feed(data)]
        message = self._waiting.pop(0)
        if not isinstance(message, kind):
            raise PairingFailed(f"the other side sent {type(message).__name__} instead of {kind.__name__}")
        return message


def _mac(key: bytes, role: bytes, certificate: bytes) -> bytes:
    return hmac.digest(hmac.digest(key, role, "sha256"), certificate, "sha256")


def _token(key: bytes) -> str:
    """Returns what only the two who know `key` can know, for a relay to tell them by; it says nothing of the key."""
    return hmac.digest(key, b"idlehands relay token", "sha256").hex()


def _check_digit(digits: str) -> str:
    """Luhn's: catches any one wrong digit and nearly every two that changed places."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)
