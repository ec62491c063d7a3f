"""One connection to the fleet's servers that never gives up, and every request that is made over it.

    connect ─► check version ─► incarnation, server's clock ─► up ─► (lost) ─► again, later and later

A try comes after rand(0, min(128, 2^n)) s, so that four million cars do not come back in one second. While the link is
down a request fails at once with FleetAway: what must not be lost is kept by the caller, not in a socket's buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg

from kernels.gate.word import boottime_ns
from runtime.fleet.errors import CredentialsError, FleetAway, Refusal, ServerRefused, ServerUnfit
from runtime.fleet.streams import CONSUMER, INCARNATION, JOBS, LANES, STREAMS, check_echo, check_version, inbox_of
from runtime.jobs.clock import Now
from runtime.jobs.store import JobStoreError

log = logging.getLogger("idlehands.fleet")
LAST_BACKOFF_S = 128.0
REQUEST_S = 5.0
CONNECT_S = 10.0
LOOK_S = 5.0
WRONG_REVISION, NO_STREAM, NO_CONSUMER, NO_MESSAGE = 10071, 10059, 10014, 10037


@dataclass(frozen=True)
class FleetAddress:
    """Where the fleet's servers are and who asks. `credentials` is a folder made by credentials.py; None: none, for a
    server on this machine alone."""

    url: str
    credentials: Path | None = None
    name: str = "idlehands"
    ping_s: float = 20.0


def backoff_s(tries: int, draw: Callable[[], float] = random.random) -> float:
    """Returns how long to wait before try number `tries` (0, 1, …): evenly from 0 to min(128, 2^n) s."""
    return draw() * min(LAST_BACKOFF_S, 2.0 ** min(tries, 10))


class Connection:
    """A client of the fleet's servers. `incarnation` is the store's, 0 until the first time that it was reached.

    `clock` is this machine's, in ns, of any beginning: how far it is from the server's is measured at every greeting.
    """

    def __init__(self, address: FleetAddress, clock: Callable[[], int] = boottime_ns) -> None:
        self.address = address
        self._clock = clock
        self.incarnation = 0
        self._nc = Client()
        self._tries = 0
        self._skew_ns = 0
        self._is_ready = False
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None
        self._denied = ""
        self._changed = asyncio.Event()
        self.on_lost: list[Callable[[], None]] = []  # what waits for an answer that will not come any more

    @property
    def is_up(self) -> bool:
        return self._is_ready and self._nc.is_connected

    @property
    def client(self) -> Client:
        return self._nc

    def now(self) -> Now:
        """The fleet's time: the server's clock, carried on by this machine's. Its boot is the store's incarnation."""
        ns = self._clock() + self._skew_ns
        return Now(ns, ns, f"fleet-{self.incarnation}")

    async def open(self) -> None:
        """Connects once. Raises FleetAway, ServerRefused, ServerUnfit, CredentialsError; use `keep` to go on trying."""
        try:
            # The first time must fail if it fails; from then on the library reconnects by itself, for ever.
            first = self._nc.connect(
                **self._options(), allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0
            )
            await asyncio.wait_for(first, CONNECT_S)
            self._nc.options |= {"allow_reconnect": True, "max_reconnect_attempts": -1}
        except (OSError, nats.errors.Error, asyncio.TimeoutError, ssl.SSLError) as error:
            await self._drop()
            if "authorization" in str(error).lower():
                raise ServerRefused(f"{self.address.url} does not take these credentials: {error}") from error
            raise FleetAway(f"the fleet's server {self.address.url} cannot be reached: {_words(error)}") from error
        try:
            await self._greet()
        except BaseException:
            await self._drop()
            raise

    def keep(self) -> None:
        """Connects in the background and goes on trying for as long as this object lives."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._drop()

    async def request(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None, timeout_s: float = REQUEST_S
    ) -> Msg:
        """Asks and returns the answer. Raises FleetAway if there is none."""
        if not self._nc.is_connected:
            raise FleetAway(f"the link to {self.address.url} is down")
        try:
            return await self._nc.request(subject, payload, timeout=timeout_s, headers=headers)
        except nats.errors.NoRespondersError as error:
            raise FleetAway(f"{self.address.url} has nobody who answers {subject.split('.')[0]}") from error
        except (nats.errors.Error, OSError, asyncio.TimeoutError) as error:
            denied, self._denied = self._denied, ""
            if denied:
                raise ServerRefused(f"{self.address.url}: {denied}") from error
            raise FleetAway(f"{self.address.url} did not answer: {_words(error)}") from error

    async def call(self, subject: str, form: dict[str, Any] | None = None) -> dict[str, Any]:
        """Calls JetStream's API with JSON. Raises Refusal with the server's code, and as `request`."""
        answer = await self.request(f"$JS.API.{subject}", json.dumps(form).encode() if form else b"")
        return _checked(answer)

    async def write(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        """Writes one message to a stream and returns its sequence. Raises Refusal, and as `request`."""
        return int(_checked(await self.request(subject, payload, headers))["seq"])

    async def say(self, subject: str, payload: bytes = b"") -> None:
        """Publishes without an answer; lost if the link is down."""
        if self._nc.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._nc.publish(subject, payload)

    async def set_up(self, after: int = 0) -> int:
        """Makes what is missing of the fleet's streams, as its operator; returns the store's incarnation.

        A store that is made anew gets a higher one than any before: the minute, and above `after`. Raises ServerUnfit.
        """
        for name, wanted in STREAMS.items():
            form = {"name": name, **wanted}
            if name == JOBS:
                form["metadata"] = {INCARNATION: str(max(int(time.time() - 1_767_225_600) // 60, after + 1))}
            try:
                made = await self.call(f"STREAM.INFO.{name}")
            except Refusal:
                made = await self.call(f"STREAM.CREATE.{name}", form)
            check_echo(name, wanted, made["config"])
        await self._greet()
        return self.incarnation

    async def make_consumer(self, stream: str, name: str, subject: str) -> None:
        """Makes a shared consumer; one that is there stays as it is. Raises ServerUnfit, Refusal."""
        wanted = {**CONSUMER, "durable_name": name, "filter_subject": subject}
        made = await self.call(
            f"CONSUMER.CREATE.{stream}.{name}.{subject}", {"stream_name": stream, "config": {**wanted, "name": name}}
        )
        check_echo(name, wanted, made["config"])

    async def _keep(self) -> None:
        """Opens, and opens anew when the library gave up (it does after a refusal); greets after every reconnect."""
        while not self._closing:
            self._changed.clear()
            try:
                if self._nc.is_closed or not (self._nc.is_connected or self._nc.is_reconnecting):
                    self._is_ready = False
                    self._nc = Client()
                    await self.open()
                if self._is_ready or (self._nc.is_connected and await self._greet()):
                    self._tries = 0
                elif self._nc.is_connected:
                    await asyncio.sleep(self._next_try_s())
                    continue
            except (JobStoreError, ServerUnfit, CredentialsError) as error:
                log.warning("%s", error)
                await asyncio.sleep(self._next_try_s())
                continue
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)

    async def _greet(self) -> bool:
        """Checks the server and takes its clock and the store's incarnation; False if it has no store yet."""
        server = self._nc.connected_server_version
        check_version(str(server).removeprefix("<nats server v").removesuffix(">"))
        sent_ns = self._clock()
        try:
            info = await self.call(f"STREAM.INFO.{JOBS}")
        except Refusal as error:
            if error.code == NO_STREAM:
                return False  # nobody has set it up, or its store was lost: its operator may do so now
            raise ServerRefused(f"{self.address.url}: {error}") from error
        check_echo(JOBS, STREAMS[JOBS], info["config"])
        self.incarnation = int(info["config"].get("metadata", {}).get(INCARNATION, 0))
        middle_ns = (sent_ns + self._clock()) // 2
        self._skew_ns = _utc_ns(info["ts"]) - middle_ns
        self._is_ready = True
        return True

    async def _drop(self) -> None:
        self._is_ready = False
        with contextlib.suppress(nats.errors.Error, OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._nc.close(), 2.0)

    def _next_try_s(self) -> float:
        self._tries += 1
        return backoff_s(self._tries - 1)

    def _options(self) -> dict[str, Any]:
        async def lost() -> None:
            self._is_ready = False
            self._changed.set()
            for hear in self.on_lost:
                hear()

        async def closed() -> None:
            await lost()

        async def back() -> None:
            self._changed.set()
            if self._keeper is None and await self._greet():  # nobody keeps this connection: greet here
                self._tries = 0

        async def error(what: Exception) -> None:
            # Credentials of before a car heard of lanes do not allow it that; it then reads them every few seconds.
            said = str(what).lower()
            if "permissions violation" in said and f'subscription to "{LANES}"' not in said:
                self._denied = str(what)
            log.debug("nats: %s", what)

        def next_server(pool: list[Server], info: dict[str, Any]) -> tuple[Server | None, float]:
            return random.choice(pool), self._next_try_s()

        options: dict[str, Any] = {
            "servers": self.address.url,
            "name": self.address.name,
            "ping_interval": self.address.ping_s,
            "max_outstanding_pings": 2,
            "reconnect_to_server_handler": next_server,
            "disconnected_cb": lost,
            "reconnected_cb": back,
            "closed_cb": closed,
            "error_cb": error,
            "pending_size": 1 << 20,
            "inbox_prefix": inbox_of(self.address.name),
        }
        if self.address.credentials is not None:
            options |= _credentials(self.address.credentials)
        return options


def _credentials(folder: Path) -> dict[str, Any]:
    """Returns the options of mutual TLS and of the user's JWT. Raises CredentialsError."""
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        (folder / "user.creds").read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise CredentialsError(f"the credentials in {folder} cannot be used: {error}") from error
    logging.getLogger("asyncio").addFilter(_is_news)
    return {"tls": context, "user_credentials": str(folder / "user.creds")}


def _is_news(record: logging.LogRecord) -> bool:
    """The client's library keeps its stream half open at an end, which asyncio warns of with TLS, each time."""
    return "eof_received" not in record.getMessage()


def _checked(answer: Msg) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.data)
    if "error" in found:
        error = found["error"]
        description = str(error.get("description", "refused"))
        raise Refusal(int(error.get("err_code", 0)), f"the fleet's server refused: {description}")
    return found


def _utc_ns(text: str) -> int:
    """Returns the ns of "2026-11-28T19:23:09.343164983Z"."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
