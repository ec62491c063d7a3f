"""Measures the device for admission.py: how fast memory is read, and how fast the lanes compute, while they all work.

Both by what is there anyway: numpy's maximum over an array far larger than the caches, on every lane at once, and the
int8 work that the caller hands in. A fraction of a second; the median of several rounds. A worker knows what decisions
cost by having seen them; `idlehands doctor --calibrate` keeps for it what it cannot see, the bandwidth.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from runtime.residency.admission import Device
from runtime.store.files import write_atomically

READ_BYTES = 64 << 20


def calibrate(lanes: int, compute: Callable[[int], int], *, rounds: int = 5) -> Device:
    """Returns the device's model. `compute(lane)` does some int8 work and returns its operations."""
    return replace(measure_reading(lanes, rounds=rounds), int8_GOPs=_rate(lanes, compute, rounds))


def measure_reading(lanes: int, *, rounds: int = 5) -> Device:
    """Returns the device's model without its int8 rate: as if computing took no time."""
    arrays = [np.ones(READ_BYTES // 8, np.int64) for _ in range(lanes)]

    def read(lane: int) -> int:
        arrays[lane].max()
        return READ_BYTES

    return Device(lanes=lanes, read_GBps=_rate(lanes, read, rounds) * lanes, int8_GOPs=1e9)


def write_device(path: Path, device: Device) -> None:
    """Keeps a model of the device. Raises StoreUnusable."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(device)) + b"\n")


def read_device(path: Path) -> Device | None:
    """Returns what was kept, None if nothing was, or by another build."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Device)
    except (OSError, msgspec.DecodeError):
        return None


def _rate(lanes: int, work: Callable[[int], int], rounds: int) -> float:
    """Returns the median rate of one lane while all work, in units a nanosecond (so GB/s, GOP/s)."""
    rates: list[float] = []
    barrier = threading.Barrier(lanes)

    def run(lane: int) -> None:
        work(lane)  # the first touches memory, and builds what is built once
        for _ in range(rounds):
            barrier.wait()
            began_ns = time.perf_counter_ns()
            units = work(lane)
            rates.append(units / (time.perf_counter_ns() - began_ns))

    threads = [threading.Thread(target=run, args=(lane,)) for lane in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(rates)
