"""One nats-server for a whole test run, and job stores on it: each folder is a fleet of its own, one at a time."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.errors import Refusal
from runtime.fleet.server import FleetServer
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import STREAMS
from runtime.jobs.clock import ManualClock
from runtime.jobs.store import Capabilities, Claim

_last: list[Path] = []


@cache
def shared_server() -> FleetServer:
    folder = Path(tempfile.mkdtemp(prefix="idlehands-nats-"))
    server = FleetServer(folder)
    server.start()

    def end() -> None:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


async def connect(folder: Path, name: str = "test") -> Connection:
    """Returns a connection to the fleet of `folder`; what another folder left on the server is thrown away."""
    connection = Connection(FleetAddress(shared_server().url, name=name))
    await connection.open()
    if _last[-1:] != [folder]:
        for stream in STREAMS:
            with contextlib.suppress(Refusal):
                await connection.call(f"STREAM.DELETE.{stream}")
        _last[:] = [folder]
    await connection.set_up()
    return connection


class _Late:
    """A store that connects in the loop that first asks something of it: fixtures are made outside of any."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._store: Any = None
        self._is_closed = False

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._store is None:
                self._store = await self._make()
            return await getattr(self._store, name)(*args, **kwargs)

        return call

    async def close(self) -> None:
        if self._store is not None and not self._is_closed:
            self._is_closed = True
            await self._store.close()


class SweptStore(NatsJobStore):
    """What a dead owner had comes back when the server's ack_wait has passed, in real time; here a sweep brings it."""

    async def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        await self.sweep()
        return await super().claim(capabilities, owner, lease_s)


def nats_store(folder: Path, clock: ManualClock, max_attempts: int) -> Any:
    async def make() -> NatsJobStore:
        connection = await connect(folder)
        return SweptStore(connection, clock=clock, max_attempts=max_attempts, defer=lambda wait_s: 0.0)

    return _Late(make)
