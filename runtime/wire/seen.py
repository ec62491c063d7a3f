"""The tiles that a car has already had in this session, by hash: kept on both sides, in step, without a word about it.

Both sides note the same records in the same order and forget by the same rule, so that each always knows what the other
has. The desktop keeps hashes and sizes; the car also the pixels. Least recently named goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

SEEN_BYTES = 8 << 20  # of pixels as B G R x; on the recorded sessions 64 MiB saved no more
V = TypeVar("V")


class Seen(Generic[V]):
    """A bounded memory of tiles: hash -> V, each weighing its pixels' bytes."""

    def __init__(self, limit_bytes: int = SEEN_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._tiles: OrderedDict[bytes, tuple[int, V]] = OrderedDict()

    def __contains__(self, name: bytes) -> bool:
        return name in self._tiles

    def __len__(self) -> int:
        return len(self._tiles)

    def recall(self, name: bytes) -> V | None:
        """Returns what was noted under `name` and counts it as used now; None if it is not there (any more)."""
        found = self._tiles.get(name)
        if found is None:
            return None
        self._tiles.move_to_end(name)
        return found[1]

    def note(self, name: bytes, weight_bytes: int, value: V) -> None:
        """Remembers `value`, forgetting the least recently used beyond the limit."""
        before = self._tiles.pop(name, None)
        self.held_bytes += weight_bytes - (before[0] if before else 0)
        self._tiles[name] = (weight_bytes, value)
        while self.held_bytes > self.limit_bytes:
            _, (weight, _) = self._tiles.popitem(last=False)
            self.held_bytes -= weight

    def clear(self) -> list[V]:
        """Forgets everything; returns what was held, for wiping."""
        held = [value for _, value in self._tiles.values()]
        self._tiles.clear()
        self.held_bytes = 0
        return held
