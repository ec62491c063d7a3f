"""The flags source: files that other services write, each named like its signal and holding `true` or `false`.

    flags:/run/idlehands-flags          /run/idlehands-flags/Vehicle.IdleHands.Link.IsMetered

For what no bus tells: a metered link, an update in progress, the operator's pause. Only flags under
`Vehicle.IdleHands` can be set so, and never the consent; a file with anything else in it is invalid.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from firmware_bridge import signals
from firmware_bridge.clock import Clock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Quality, Reading
from firmware_bridge.sources.table import SourceUrl

SETTABLE = (signals.METERED, signals.CRASH, signals.OTA, signals.LOW_POWER, signals.PAUSE)
_EVERY_NS = 100_000_000
_WORDS = {b"true": True, b"false": False}


def open_flags(url: SourceUrl) -> FlagsSource:
    """Returns the source of `flags:FOLDER`."""
    url.check_options()
    if not Path(url.path).is_dir():
        raise SourceError(f"source {url.text}: there is no folder {url.path}")
    return FlagsSource(url.text, Path(url.path))


class FlagsSource:
    """Polls the folder; a flag without a file is absent (unknown), and its row of the policy closes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        while True:
            now_ns = clock.now_ns()
            for name in SETTABLE:
                yield self._look(name, now_ns)
            await clock.sleep_until(now_ns + _EVERY_NS)

    def _look(self, name: str, now_ns: int) -> Reading:
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return Reading(name, None, "", now_ns)
        except OSError:
            return Reading(name, None, "", now_ns, Quality.INVALID)
        try:
            value = _WORDS.get(os.read(descriptor, 16).strip())
        except OSError:
            value = None
        finally:
            os.close(descriptor)
        return Reading(name, value, "", now_ns, Quality.INVALID if value is None else Quality.GOOD)
