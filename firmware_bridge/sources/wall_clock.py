"""The clock source: the local minute of the day and the day, unknown while the machine has no idea of the date."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from firmware_bridge import signals
from firmware_bridge.clock import Clock
from firmware_bridge.readings import Reading, Value
from firmware_bridge.sources.table import SourceUrl

_EVERY_NS = 1_000_000_000
# A board without a battery-backed clock begins in 1970 or at its image's build date; nothing of ours is older.
_EARLIEST_S = 1_735_689_600  # 2025-01-01


def open_wall_clock(url: SourceUrl) -> WallClock:
    """Returns the source of `clock:`."""
    url.check_options()
    return WallClock(url.text)


class WallClock:
    def __init__(self, url: str, wall_s: Callable[[], float] = time.time) -> None:
        self.url = url
        self._wall_s = wall_s

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        while True:
            now_ns = clock.now_ns()
            wall_s = self._wall_s()
            minute: Value = None
            day: Value = None
            if wall_s >= _EARLIEST_S:
                local = time.localtime(wall_s)
                minute = local.tm_hour * 60 + local.tm_min + local.tm_sec / 60
                day = float((wall_s + local.tm_gmtoff) // 86_400)
            yield Reading(signals.MINUTE_OF_DAY, minute, "min", now_ns)
            yield Reading(signals.DAY, day, "", now_ns)
            await clock.sleep_until(now_ns + _EVERY_NS)
