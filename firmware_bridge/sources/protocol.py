"""What every source is: an object that yields readings until it ends, on a clock that is handed in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from firmware_bridge.clock import Clock
from firmware_bridge.readings import Reading


class Source(Protocol):
    """One adapter. `url` names it in status, journal and errors.

    `readings` raises SourceError when the source breaks; an end without an error means that there will be no more.
    Either way its last readings are forgotten.
    """

    url: str

    def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        """Yields readings with source times of `clock`."""
