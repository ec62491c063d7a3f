"""Which lanes there are: one key on the fleet's servers, written by whoever submits the first job of a kind.

Cars read it every few seconds, counted from their own starts. A lane is never removed: its consumer costs a few KB.
"""

from __future__ import annotations

import time

from runtime.fleet.buckets import Bucket, Conflict
from runtime.fleet.connection import Connection
from runtime.fleet.records import ANY, Lane, encode, read_lanes
from runtime.fleet.streams import JOBS, LANES, OFFER, OFFERS
from runtime.jobs.store import Capabilities

FRESH_S = 5.0


class Lanes:
    """The list of lanes, kept fresh."""

    def __init__(self, connection: Connection, fresh_s: float = FRESH_S) -> None:
        self._connection = connection
        self._bucket = Bucket(connection, JOBS, LANES)
        self._fresh_s = fresh_s
        self._known: tuple[Lane, ...] = ()
        self._read_s = float("-inf")

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
