"""What decisions cost, as seen: kept from worker to worker, so that admission need not guess each time.

One entry for each agent and bundle: the latest decisions' times on a lane (pauses for the duty taken out, waiting for
cores and interpreter left in: that is what a lane is busy for) and the bytes of weights that they read.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path

import msgspec

from runtime.store.files import write_atomically

KEPT = 200  # decisions of an entry
ENTRIES = 256
RANK = 0.99  # what a decision is taken to cost: the time that 99 of 100 keep to


class Seen(msgspec.Struct):
    """The latest decisions, oldest first."""

    ms: list[float]
    bytes_read: list[int]


class Costs:
    """The record in the file `path` (None: in memory alone). Safe to use from several threads."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}
        if path is not None:
            try:
                self._seen = msgspec.json.decode(path.read_bytes(), type=dict[str, Seen])
            except (OSError, msgspec.DecodeError):
                self._seen = {}  # none yet, or of another build: costs are seen anew

    def note(self, key: str, ms: float, bytes_read: int) -> None:
        """Adds one decision."""
        with self._lock:
            seen = self._seen.pop(key, None) or Seen([], [])
            seen.ms = [*seen.ms[-KEPT + 1 :], round(ms, 3)]
            seen.bytes_read = [*seen.bytes_read[-KEPT + 1 :], bytes_read]
            self._seen[key] = seen  # the latest used is last: the first goes when there are too many
            while len(self._seen) > ENTRIES:
                del self._seen[next(iter(self._seen))]

    def cost(self, key: str) -> tuple[float, int] | None:
        """Returns (ms, bytes read) that 99 of 100 decisions kept to, None if none was seen."""
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or not seen.ms:
                return None
            return _ranked(seen.ms), int(_ranked(seen.bytes_read))

    def save(self) -> None:
        """Writes the record, whole or not at all. Raises StoreUnusable."""
        if self._path is not None:
            with self._lock:
                data = msgspec.json.encode(self._seen)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, data)


def _ranked(values: list[float] | list[int]) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(RANK * len(ordered)) - 1]
