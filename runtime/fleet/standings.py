"""The standings of a fleet's cars on its servers: ih.car.CAR, which only the fleet's own side may write."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

import msgspec

from runtime.fleet import trust
from runtime.fleet.buckets import Bucket, Conflict
from runtime.fleet.connection import Connection
from runtime.fleet.records import encode, token
from runtime.fleet.streams import CAR, JOBS
from runtime.fleet.trust import Standing
from runtime.jobs.life import JobError
from runtime.jobs.store import JobStoreError

_decoder = msgspec.msgpack.Decoder(Standing)


class UnknownCar(JobError):
    """No check of a car of that name was ever decided."""

    next_step: ClassVar[str] = "list the cars with `idlehands fleet trust list`"


class Standings:
    """Reads for everyone, changes for an operator: for others the server refuses them."""

    def __init__(self, connection: Connection) -> None:
        self._bucket = Bucket(connection, JOBS, CAR)

    async def get(self, car: str) -> Standing:
        """Returns a car's standing, that of a new one if nothing is known."""
        entry = await self._bucket.get(token(car))
        return Standing(trust.VERSION, car) if entry is None else _read(entry.value)

    async def all(self) -> list[Standing]:
        """Returns every car of which something is known: the quarantined first, then by name."""
        found = {entry.key: _read(entry.value) async for entry in self._bucket.scan()}
        return sorted(found.values(), key=lambda standing: (not standing.quarantined, standing.car))

    async def change(self, car: str, change: Callable[[Standing, int], Standing]) -> Standing:
        """Writes what `change` makes of the standing and the time. Raises ServerRefused for all but an operator."""
        while True:
            entry = await self._bucket.get(token(car))
            known = Standing(trust.VERSION, car) if entry is None else _read(entry.value)
            made = change(known, time.time_ns())
            try:
                await self._bucket.put(token(car), encode(made), entry.revision if entry else 0)
            except Conflict:
                continue
            return made

    async def release(self, car: str) -> Standing:
        """Lets a car work again, as a new one. Raises UnknownCar."""
        if await self._bucket.get(token(car)) is None:
            raise UnknownCar(f"nothing is known of a car {car!r}")
        return await self.change(car, trust.released)


def _read(data: bytes) -> Standing:
    try:
        standing = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobStoreError(f"a car's standing on the fleet's servers is damaged: {error}") from error
    if standing.version != trust.VERSION:
        raise JobStoreError(f"a car's standing has version {standing.version}, this build reads {trust.VERSION}")
    return standing
