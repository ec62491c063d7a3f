"""Both sides of a relayed link: the car calls, the desktop waits, TLS runs end to end between them.

    relay://host:port/TOKEN         TOKEN: 32 to 128 hex digits that only the two sides know (`new_token`)

The desktop keeps one link waiting; as soon as that is taken it dials the next. A relay that cannot be reached is tried
again after a random time up to 1, 2, 4 … 128 s, so that a thousand desktops do not come back in the same moment.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime.transport.errors import BadAddress, StreamBroken, TransportError, Unreachable
from runtime.transport.identity import Identity
from runtime.transport.relay import (
    CALL,
    TOKEN_BYTES,
    VERSION,
    WAIT,
    Join,
    Joined,
    Ping,
    Refused,
    RelayRefused,
    read_message,
)
from runtime.transport.stream import RECEIVE_BYTES, Handler, Stream
from runtime.transport.tcp import dial_tcp
from runtime.transport.tls import secure
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import frame

MAX_BACKOFF_S = 128.0
DIAL_S = 10.0
QUIET_S = 90.0  # a relay pings every 25 s; one that is silent for so long is gone

log = logging.getLogger("idlehands.transport")


@dataclass(frozen=True)
class Rendezvous:
    """Where two sides meet."""

    url: str
    host: str
    port: int
    token: bytes


def new_token() -> str:
    """Returns a new token for the URL of a relay."""
    return secrets.token_hex(TOKEN_BYTES * 2)


def parse_relay(url: str) -> Rendezvous:
    """Returns the parts of relay://host:port/TOKEN. Raises BadAddress; the token is in no message."""
    parts = urlsplit(url)
    try:
        host, port, token = parts.hostname, parts.port, bytes.fromhex(parts.path.removeprefix("/"))
    except ValueError as error:
        raise BadAddress("the relay's URL is not of the form relay://host:port/TOKEN, TOKEN in hex digits") from error
    if not host or port is None or not TOKEN_BYTES <= len(token) <= 64 or parts.query or parts.username:
        raise BadAddress("the relay's URL is not of the form relay://host:port/TOKEN with 32 to 128 hex digits")
    return Rendezvous(f"relay://{host}:{port}", host, port, token)


async def dial_relay(where: Rendezvous, identity: Identity, timeout_s: float) -> Stream:
    """The car's side: a TLS link to the desktop that waits there. Raises RelayRefused or another TransportError."""
    stream = await dial_tcp(where.host, where.port, timeout_s)
    try:
        joined = await asyncio.wait_for(join_relay(stream, where, CALL), timeout_s)
    except asyncio.TimeoutError as error:
        stream.close()
        raise Unreachable(f"{where.url} did not answer within {timeout_s:g} s") from error
    except BaseException:
        stream.close()
        raise
    return await secure(joined, identity, is_server=False)


async def listen_relay(where: Rendezvous, identity: Identity, handler: Handler) -> RelayListener:
    """The desktop's side: waits at the relay and runs `handler` for every car that comes and is trusted."""
    identity.trusted()
    listener = RelayListener(where, identity, handler)
    listener.start()
    return listener


class RelayListener:
    """A `Server` whose listening is done by a relay."""

    def __init__(self, where: Rendezvous, identity: Identity, handler: Handler) -> None:
        self.address = f"{where.url}/{where.token.hex()}"
        self.is_waiting = asyncio.Event()
        self._where, self._identity, self._handler = where, identity, handler
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._spawn(self._wait_forever())

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait_forever(self) -> None:
        failures = 0
        while True:
            try:
                stream = await dial_tcp(self._where.host, self._where.port, DIAL_S)
            except TransportError as error:
                failures += 1
                await self._back_off(failures, error)
                continue
            try:
                joined = await join_relay(stream, self._where, WAIT, self.is_waiting)
                failures = 0
                self._spawn(self._serve(joined))
            except (TransportError, ProtocolError) as error:
                stream.close()
                failures += 1
                await self._back_off(failures, error)
            except BaseException:
                stream.close()
                raise
            finally:
                self.is_waiting.clear()

    async def _serve(self, joined: Stream) -> None:
        try:
            stream = await secure(joined, self._identity, is_server=True)
        except TransportError as error:
            log.warning("refused a caller at %s: %s", self._where.url, error.message)
            return
        try:
            await self._handler(stream)
        except Exception:  # a fault with one peer must not end the listener for all
            log.exception("the handler of %s failed", stream.peer)
        finally:
            stream.close()
            await stream.wait_closed()

    async def _back_off(self, failures: int, error: TransportError | ProtocolError) -> None:
        wait_s = random.uniform(0, min(MAX_BACKOFF_S, 2.0**failures))
        log.warning("%s: %s; trying again in %.1f s", self._where.url, error.message, wait_s)
        await asyncio.sleep(wait_s)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Joined:
    """A `Stream` whose first bytes were already read behind the relay's last message."""

    def __init__(self, stream: Stream, rest: bytes) -> None:
        self.peer = stream.peer
        self._stream, self._rest = stream, rest

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send(data)

    async def receive(self) -> bytes:
        if self._rest:
            first, self._rest = self._rest[:RECEIVE_BYTES], self._rest[RECEIVE_BYTES:]
            return first
        return await self._stream.receive()

    def close(self) -> None:
        self._stream.close()

    async def wait_closed(self) -> None:
        await self._stream.wait_closed()


async def join_relay(stream: Stream, where: Rendezvous, side: int, waiting: asyncio.Event | None = None) -> Stream:
    """Returns the link as it is once the relay has joined it to the other side's."""
    await stream.send(frame(Join(VERSION, side, where.token)))
    if waiting is not None:
        waiting.set()
    rest = b""
    while True:
        try:
            message, rest = await asyncio.wait_for(read_message(stream, rest), QUIET_S)
        except asyncio.TimeoutError as error:
            raise StreamBroken(f"{where.url} has been silent for {QUIET_S:g} s") from error
        if isinstance(message, Refused):
            raise RelayRefused(f"{where.url} says: {message.why}")
        if isinstance(message, Joined):
            return _Joined(stream, rest)
        if not isinstance(message, Ping):
            raise StreamBroken(f"{where.url} does not speak the relay's protocol")
