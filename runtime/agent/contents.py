"""Small caches keyed by content: what was computed from pixels is known, whatever frame they came from.

ContentCache: the bytes of a crop are the name. ByTiles: the hashes of the tiles that a box meets are, so that what lies
where nothing changed is known without a look at its pixels.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import TILE
from runtime.agent.geometry import Box

Key = TypeVar("Key")
Value = TypeVar("Value")


def content_key(pixels: NDArray[Any]) -> bytes:
    """Returns 16 bytes that name an array's shape and content (BLAKE2b)."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


class ContentCache(Generic[Value]):
    """Keeps the `capacity` values used last. Forgetting one costs time, never a different answer."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[bytes, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> Value | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)

    def get_or(self, pixels: NDArray[Any], compute: Callable[[], Value]) -> Value:
        """Returns the value kept for this content, or computes and keeps it."""
        key = content_key(pixels)
        value = self.get(key)
        if value is None:
            value = compute()
            self.put(key, value)
        return value

    def clear(self) -> None:
        self._values.clear()


class LastCall(Generic[Key, Value]):
    """Values by key; only those of the last call are kept."""

    def __init__(self) -> None:
        self._known: dict[Key, Value] = {}

    def of(self, keys: Sequence[Key], compute: Callable[[list[int]], Sequence[Value]]) -> list[Value]:
        """Returns the value of each of `keys`; `compute` is asked for those at the places that are not known."""
        fresh = [place for place, key in enumerate(keys) if key not in self._known]
        made = compute(fresh) if fresh else ()
        found = dict(zip((keys[place] for place in fresh), made, strict=True))
        self._known = {key: found[key] if key in found else self._known[key] for key in keys}
        return [self._known[key] for key in keys]

    def clear(self) -> None:
        self._known.clear()


class ByTiles(Generic[Value]):
    """What was computed from the pixels of boxes of a screen, known while all tiles that a box meets are as they were.

    Only what the last screen had is kept.
    """

    def __init__(self) -> None:
        self._known: LastCall[tuple[Box, bytes], Value] = LastCall()

    def of(
        self, hashes: NDArray[np.uint8], boxes: Sequence[Box], compute: Callable[[list[Box]], Sequence[Value]]
    ) -> list[Value]:
        """Returns the value of each of `boxes`; `compute` is asked for those that are not known. `hashes` (rows,
        columns, 16) are the frame's."""
        keys = [
            (box, hashes[box.y // TILE : -(-box.bottom // TILE), box.x // TILE : -(-box.right // TILE)].tobytes())
            for box in boxes
        ]
        return self._known.of(keys, lambda fresh: compute([boxes[place] for place in fresh]))

    def clear(self) -> None:
        self._known.clear()
