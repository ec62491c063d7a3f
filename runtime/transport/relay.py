"""A blind relay for cars behind a carrier's NAT and desktops behind an office's: it joins two dialled-in links.

    desktop ── Join(wait, token) ─► relay ◄─ Join(call, token) ── car
            ◄─ Joined ─────────────       ───────────── Joined ─►
            ◄═════════════ TLS of the two, end to end ══════════►      bytes in, the same bytes out

What passes is TLS between two sides that pinned each other: a relay cannot read, alter or replay it, only stop it. It
keeps nothing on disk and logs no token. Whoever waits is sent a Ping now and then, so that NATs keep the path open.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from runtime.transport.errors import StreamBroken, TransportError
from runtime.transport.sockets import SocketServer
from runtime.transport.stream import Stream
from runtime.transport.tcp import listen_tcp
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import PREFIX, decode, frame

VERSION = 1
WAIT, CALL = 0, 1
TOKEN_BYTES = 16  # at least: nobody guesses one
MAX_MESSAGE = 256
MAX_SOURCES = 10_000  # addresses whose joins are counted

log = logging.getLogger("idlehands.relay")


class Join(msgspec.Struct, array_like=True, frozen=True, tag=1):
    version: int
    side: Annotated[int, msgspec.Meta(ge=WAIT, le=CALL)]
    token: Annotated[bytes, msgspec.Meta(min_length=TOKEN_BYTES, max_length=64)]


class Joined(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """What follows comes from the other side."""


class Refused(msgspec.Struct, array_like=True, frozen=True, tag=3):
    why: Annotated[str, msgspec.Meta(max_length=128)]


class Ping(msgspec.Struct, array_like=True, frozen=True, tag=4):
    pass


@dataclass(frozen=True)
class RelayLimits:
    """What one relay lets its users do."""

    max_links: int = 4_000
    waiting_a_token: int = 4
    joins_a_minute: int = 60  # from one address, with as many at once
    bytes_per_s: float = 4e6  # of a pair, both ways together, with one second's worth at once
    join_s: float = 5.0
    idle_s: float = 30.0  # a session's heart beats four times a second
    ping_s: float = 25.0


class Bucket:
    """A token bucket: `take` returns how many seconds to wait before what was taken is paid for."""

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self.rate_per_s, self.burst = rate_per_s, burst
        self._level, self._at_s = burst, now_s

    def take(self, amount: float, now_s: float) -> float:
        self._level = min(self.burst, self._level + (now_s - self._at_s) * self.rate_per_s) - amount
        self._at_s = now_s
        return max(0.0, -self._level / self.rate_per_s)

    def would_take(self, amount: float, now_s: float) -> bool:
        """Takes `amount` if it is there; returns whether it was."""
        level = min(self.burst, self._level + (now_s - self._at_s) * self.rate_per_s)
        if level < amount:
            return False
        self._level, self._at_s = level - amount, now_s
        return True


@dataclass(eq=False)
class _Waiting:
    """A side that waits: the caller takes it by setting `taken`, and sets `over` when the pair has ended."""

    stream: Stream
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """The relay's state: who waits under which token. Start it with `serve_relay`."""

    def __init__(self, limits: RelayLimits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._waiting: dict[bytes, deque[_Waiting]] = {}
        self._joins: OrderedDict[str, Bucket] = OrderedDict()
        self.pairs = 0
        self.carried_bytes = 0

    @property
    def waiting(self) -> int:
        """How many sides wait for a caller."""
        return sum(len(queue) for queue in self._waiting.values())

    async def handle(self, stream: Stream) -> None:
        """One link, from its join to its end."""
        with contextlib.suppress(StreamBroken):  # a link that is cut has nobody left to tell
            refusal = await self._handle(stream)
            if refusal:
                log.info("refused %s: %s", stream.peer, refusal)
                await stream.send(frame(Refused(refusal)))

    async def _handle(self, stream: Stream) -> str:
        if not self._may_join(stream.peer):
            return "too many joins from this address"
        try:
            join, rest = await asyncio.wait_for(read_message(stream, b""), self._limits.join_s)
        except asyncio.TimeoutError:
            return "no join in time"
        except ProtocolError as error:
            return error.message[:128]
        if not isinstance(join, Join) or rest:
            return "a join was expected, and nothing behind it"
        if join.version != VERSION:
            return f"this relay speaks version {VERSION}"
        token = hashlib.sha256(join.token).digest()  # so that no lookup's time tells of a token's bytes
        return await (self._wait(stream, token) if join.side == WAIT else self._call(stream, token))

    async def _wait(self, stream: Stream, token: bytes) -> str:
        queue = self._waiting.setdefault(token, deque())
        if len(queue) >= self._limits.waiting_a_token:
            return "enough sides wait under this token"
        me = _Waiting(stream)
        queue.append(me)
        try:
            said = await self._keep(me)
        finally:
            if me in queue:
                queue.remove(me)
            if not queue and self._waiting.get(token) is queue:
                del self._waiting[token]
        if said is not None:
            return "whoever waits has nothing to say" if said else ""
        me.ready.set()
        await me.over.wait()
        return ""

    async def _keep(self, me: _Waiting) -> bytes | None:
        """Keeps a waiting link alive. Returns None once it is taken, else what it said (nothing at its end)."""
        listening = asyncio.ensure_future(me.stream.receive())
        taken = asyncio.ensure_future(me.taken.wait())
        try:
            while True:
                await asyncio.wait((listening, taken), timeout=self._limits.ping_s, return_when=asyncio.FIRST_COMPLETED)
                if taken.done():
                    return None
                if listening.done():
                    return listening.result()
                await me.stream.send(frame(Ping()))
        finally:
            for task in (listening, taken):
                task.cancel()
            await asyncio.gather(listening, taken, return_exceptions=True)

    async def _call(self, stream: Stream, token: bytes) -> str:
        queue = self._waiting.get(token)
        if not queue:
            return "nobody waits under this token"
        other = queue.popleft()
        other.taken.set()
        try:
            await asyncio.wait_for(other.ready.wait(), self._limits.join_s)
            for side in (other.stream, stream):
                await side.send(frame(Joined()))
            self.pairs += 1
            try:
                await self._carry(stream, other.stream)
            finally:
                self.pairs -= 1
        except asyncio.TimeoutError:
            return "whoever waited has gone"
        finally:
            other.over.set()
            other.stream.close()
        return ""

    async def _carry(self, near: Stream, far: Stream) -> None:
        """Carries bytes both ways until one side ends, or nothing passes for `idle_s`."""
        bucket = Bucket(self._limits.bytes_per_s, self._limits.bytes_per_s, self._clock())
        tasks = [
            asyncio.ensure_future(self._pump(near, far, bucket)),
            asyncio.ensure_future(self._pump(far, near, bucket)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, source: Stream, sink: Stream, bucket: Bucket) -> None:
        while data := await asyncio.wait_for(source.receive(), self._limits.idle_s):
            owed_s = bucket.take(len(data), self._clock())
            self.carried_bytes += len(data)
            await sink.send(data)
            if owed_s > 0:
                await asyncio.sleep(owed_s)

    def _may_join(self, peer: str) -> bool:
        source = peer.rpartition(":")[0]
        limit = self._limits.joins_a_minute
        bucket = self._joins.pop(source, None) or Bucket(limit / 60, limit, self._clock())
        self._joins[source] = bucket
        while len(self._joins) > MAX_SOURCES:
            self._joins.popitem(last=False)
        return bucket.would_take(1, self._clock())


RelayMessage = Join | Joined | Refused | Ping
_DECODER: msgspec.msgpack.Decoder[RelayMessage] = msgspec.msgpack.Decoder(RelayMessage)


async def read_message(stream: Stream, begun: bytes) -> tuple[RelayMessage, bytes]:
    """Returns the next message and the bytes behind it; `begun` are bytes that came before. Raises ProtocolError."""
    while True:
        length = int.from_bytes(begun[:PREFIX], "little")
        if len(begun) >= PREFIX and not 0 < length <= MAX_MESSAGE:
            raise StreamBroken("the other end does not speak the relay's protocol", next_step="check address and port")
        if len(begun) - length >= PREFIX:
            message: RelayMessage = decode(begun[PREFIX : PREFIX + length], _DECODER)
            return message, begun[PREFIX + length :]
        data = await stream.receive()
        if not data:
            raise StreamBroken("the link ended before the two sides were joined")
        begun += data


async def serve_relay(host: str, port: int, limits: RelayLimits | None = None) -> tuple[SocketServer, Relay]:
    """Starts a relay. Raises AddressTaken. Close the server to end it and every pair."""
    limits = limits or RelayLimits()
    relay = Relay(limits, asyncio.get_running_loop().time)
    server = await listen_tcp(host, port, "relay", relay.handle, max_peers=limits.max_links, backlog=512)
    return server, relay


class RelayRefused(TransportError):
    """The relay did not join the two sides: the other one is not there, or a limit of the relay is reached."""

    next_step = "see that the desktop's connector runs with the same relay URL; the relay's answer says more"
