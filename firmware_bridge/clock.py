"""Clocks that are handed in: the machine's, and a virtual one that jumps from wait to wait.

Times are CLOCK_BOOTTIME in ns: the clock of the gate's lease, which goes on through suspend.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol

from kernels.gate.word import boottime_ns


class Clock(Protocol):
    """What a source or the bridge needs of time."""

    def now_ns(self) -> int:
        """Returns the time."""

    async def sleep_until(self, time_ns: int) -> None:
        """Returns when it is `time_ns` or later."""


class BootClock:
    """The machine's CLOCK_BOOTTIME."""

    def now_ns(self) -> int:
        return boottime_ns()

    async def sleep_until(self, time_ns: int) -> None:
        await asyncio.sleep(max(0, time_ns - boottime_ns()) / 1e9)


class VirtualClock:
    """A clock that only `advance_to` moves; sleepers wake in the order of their times, each at exactly its own."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns
        self._waits: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep_until(self, time_ns: int) -> None:
        if time_ns <= self._now_ns:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waits, (time_ns, self._count, future))
        await future

    async def advance_to(self, time_ns: int, *, settle: int = 10) -> None:
        """Moves time to `time_ns`; after each wake the loop turns `settle` times, so that what was woken can run."""
        await _turn(settle)
        while self._waits and self._waits[0][0] <= time_ns:
            wake_ns, _, future = heapq.heappop(self._waits)
            self._now_ns = max(self._now_ns, wake_ns)
            if not future.done():
                future.set_result(None)
            await _turn(settle)
        self._now_ns = max(self._now_ns, time_ns)
        await _turn(settle)


async def _turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)
