"""The time of job stores: two clocks, because leases must not jump and deadlines must outlive a reboot.

leases      CLOCK_BOOTTIME + the boot's id: no jump of the wall clock ends or prolongs one, a reboot ends them all
deadlines   UTC: counted on while the car is off
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kernels.gate.word import boottime_ns


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks, ns."""

    utc_ns: int
    boottime_ns: int
    boot_id: str


class JobClock(Protocol):
    """What a job store needs of time."""

    def now(self) -> Now:
        """Returns the present moment."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def now(self) -> Now:
        return Now(time.time_ns(), boottime_ns(), self._boot_id)


class ManualClock:
    """A clock that only its owner moves."""

    def __init__(self, utc_ns: int = 1_900_000_000_000_000_000) -> None:
        self._now = Now(utc_ns, 1_000_000_000, "boot-1")
        self._boots = 1

    def now(self) -> Now:
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves both clocks on."""
        step_ns = round(seconds * 1e9)
        self._now = Now(self._now.utc_ns + step_ns, self._now.boottime_ns + step_ns, self._now.boot_id)

    def jump_wall(self, seconds: float) -> None:
        """Sets the wall clock alone, as a time server does."""
        self._now = Now(self._now.utc_ns + round(seconds * 1e9), self._now.boottime_ns, self._now.boot_id)

    def reboot(self) -> None:
        """Starts CLOCK_BOOTTIME anew under another boot's id."""
        self._boots += 1
        self._now = Now(self._now.utc_ns, 1_000_000_000, f"boot-{self._boots}")
