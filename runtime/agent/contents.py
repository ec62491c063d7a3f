"""A small cache keyed by content: the bytes of a crop name what was computed from it, whatever frame it came from."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

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
