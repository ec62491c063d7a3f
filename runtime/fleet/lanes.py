"""Which lanes there are: one key on the fleet's servers, written by whoever submits the first job of a kind.

A car hears of a new lane by the very message that writes the key, and besides reads it every few seconds, counted from
its own start. A lane is never removed: its consumer costs a few KB.
"""

from __future__ import annotations

import asyncio
import random
import time

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from runtime.fleet.buckets import Bucket, Conflict
from runtime.fleet.connection import Connection
from runtime.fleet.errors import FleetAway
from runtime.fleet.records import ANY, Lane, encode, read_lanes
from runtime.fleet.streams import JOBS, LANES, OFFER, OFFERS
from runtime.jobs.store import Capabilities, JobStoreError

FRESH_S = 5.0


class Lanes:
    """The list of lanes, kept fresh."""

    def __init__(self, connection: Connection, fresh_s: float = FRESH_S) -> None:
        self._connection = connection
        self._bucket = Bucket(connection, JOBS, LANES)
        self._fresh_s = fresh_s
        self._known: tuple[Lane, ...] = ()
        self._read_s = float("-inf")
        self._heard_by: Client | None = None
        self.news = asyncio.Event()
        """Set when a lane was heard of; whoever waits for it clears it."""

    async def ensure(self, lane: Lane) -> None:
        """Makes a lane if it is new: its consumer first, so that nobody looks at a lane without one."""
        if lane in self._known:
            return
        while True:
            entry = await self._bucket.get("")
            known = read_lanes(entry.value) if entry else ()
            if lane not in known:
                await self._connection.make_consumer(OFFERS, lane.consumer, OFFER + lane.subject)
                known = tuple(sorted((*known, lane)))
                try:
                    await self._bucket.put("", encode(known), entry.revision if entry else 0)
                except Conflict:
                    continue
            self._known, self._read_s = known, time.monotonic()
            return

    async def listen(self, within_s: float) -> None:
        """From now on hears of lanes as they are made, at a moment of its own within that time: all idle cars pull anew
        then. Called again, it does nothing, but for a client that replaced one that was given up."""
        if self._heard_by is not self._connection.client:
            self._heard_by = self._connection.client

            async def hear(message: Msg) -> None:
                try:
                    made = read_lanes(message.data)
                except JobStoreError:
                    return  # of a later version: what is read says so
                asyncio.get_running_loop().call_later(random.random() * within_s, self._add, made)

            try:
                await self._heard_by.subscribe(LANES, cb=hear)
            except nats.errors.Error as error:
                self._heard_by = None
                raise FleetAway(f"new kinds of jobs cannot be heard of: {error}") from error

    def _add(self, made: tuple[Lane, ...]) -> None:
        """Adds what was heard of. It may not be written yet, but its consumer is there: a lane is told after that."""
        if not set(made) <= set(self._known):
            self._known = tuple(sorted({*self._known, *made}))
            self.news.set()

    async def matching(self, capabilities: Capabilities) -> list[list[Lane]]:
        """Returns the lanes of a claimer in the order in which it tries them, as groups of equal rank.

        Higher priority first; among equals the lanes whose model it holds already.
        """
        await self._refresh()
        groups: dict[tuple[int, bool], list[Lane]] = {}
        for lane in self._known:
            if _can_do(lane, capabilities):
                groups.setdefault((-lane.priority, _is_cold(lane, capabilities)), []).append(lane)
        return [groups[rank] for rank in sorted(groups)]

    def forget(self) -> None:
        """Forgets what was read: the store is another one."""
        self._known, self._read_s = (), float("-inf")

    async def _refresh(self) -> None:
        if time.monotonic() - self._read_s > self._fresh_s:
            entry = await self._bucket.get("")
            self._known, self._read_s = (read_lanes(entry.value) if entry else ()), time.monotonic()


def _is_cold(lane: Lane, capabilities: Capabilities) -> bool:
    return (lane.agent if lane.model == "-" else lane.model) not in capabilities.resident


def _can_do(lane: Lane, capabilities: Capabilities) -> bool:
    return (
        (capabilities.agents is None or lane.agent in capabilities.agents)
        and lane.region in (ANY, capabilities.region)
        and lane.device in (ANY, capabilities.device)
    )
