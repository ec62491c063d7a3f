"""Interleaved measurement: every candidate runs once a round, so that a slow second of the machine hits all alike.

Percentiles are of single calls; a ratio is the median over the rounds of one candidate's time to another's.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Samples:
    """The times of one candidate, by round, in ns."""

    times_ns: tuple[int, ...]

    def percentile_ms(self, percent: float) -> float:
        """Returns the nearest-rank percentile."""
        ordered = sorted(self.times_ns)
        rank = max(1, ceil(percent * len(ordered) / 100))
        return ordered[rank - 1] / 1e6

    def ratio_to(self, other: Samples) -> float:
        """Returns the median over the rounds of this time over the other's (below 1: this one is faster)."""
        return median(mine / max(theirs, 1) for mine, theirs in zip(self.times_ns, other.times_ns, strict=True))

    def row(self) -> dict[str, float]:
        """Returns p50, p90, p99 and the best, in ms."""
        ms = {f"p{percent}_ms": round(self.percentile_ms(percent), 4) for percent in (50, 90, 99)}
        return ms | {"best_ms": round(min(self.times_ns) / 1e6, 4)}


def interleaved(
    candidates: Mapping[str, Callable[[int], object]],
    *,
    rounds: int,
    warmup: int = 3,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Samples]:
    """Runs every candidate once a round, in an order that rotates; returns their samples by name.

    A candidate is called with the number of the call over all candidates: taking input number `call % n` gives each
    call the input that was used longest ago, so that no candidate finds it warmed by the one before.
    `clock` in ns: `time.thread_time_ns` counts this thread's CPU time only, for what runs in one thread on a machine
    that others use too.
    """
    names = list(candidates)
    times: dict[str, list[int]] = {name: [] for name in names}
    call = 0
    for number in range(-warmup, rounds):
        for offset in range(len(names)):
            name = names[(number + offset) % len(names)]
            start = clock()
            candidates[name](call)
            spent = clock() - start
            call += 1
            if number >= 0:
                times[name].append(spent)
    return {name: Samples(tuple(values)) for name, values in times.items()}


def linux_version() -> str:
    """Returns the kernel's version without what its vendor adds."""
    return platform.release().partition("-")[0]


def machine() -> dict[str, str | float]:
    """Returns what a reader of the numbers has to know of the machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = named[0] if named else model
    return {"cpu": model, "cpus": os.cpu_count() or 0, "load_1min": round(os.getloadavg()[0], 2)}
