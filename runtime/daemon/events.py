"""What happened, as it happens: a bounded fan-out of events to the followers of the control socket and to the log."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from kernels.gate.word import boottime_ns
from runtime.daemon.control import Event

FOLLOWER_QUEUE = 10_000


class Events:
    """Publishes events. A follower that does not read is cut off when its queue is full: nobody waits for it."""

    def __init__(self) -> None:
        self._followers: dict[asyncio.Queue[Event | None], str] = {}
        self._standing: dict[str, Event] = {}

    def publish(
        self, kind: str, job: str = "", *, over: bool = False, at_ns: int = 0, stands: bool = False, **detail: Any
    ) -> None:
        """Tells followers. What `stands` is a state until the next of its kind: who begins to follow hears it first."""
        event = Event(at_ns or boottime_ns(), job, kind, msgspec.json.encode(detail), over)
        if stands:
            self._standing[kind] = event
        for queue, wanted in list(self._followers.items()):
            if wanted in ("", job) or not job:
                try:
                    queue.put_nowait(event)
                except asyncio.QueueFull:
                    del self._followers[queue]
                    _end(queue)

    def follow(self, job: str) -> asyncio.Queue[Event | None]:
        """Returns a queue of what happens to `job` (empty: to all, after what stands) from now on; None in it: it was
        cut off."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(FOLLOWER_QUEUE)
        for event in () if job else self._standing.values():
            queue.put_nowait(event)
        self._followers[queue] = job
        return queue

    def unfollow(self, queue: asyncio.Queue[Event | None]) -> None:
        self._followers.pop(queue, None)


def _end(queue: asyncio.Queue[Event | None]) -> None:
    queue.get_nowait()
    queue.put_nowait(None)
