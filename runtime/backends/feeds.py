"""Checks what is fed to a model against its inputs, once for all backends."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from runtime.backends.protocol import Feeds
from runtime.store.manifest import TensorSpec


def check_feeds(inputs: tuple[TensorSpec, ...], feeds: Feeds) -> dict[str, int]:
    """Returns the sizes of the named dimensions ("n" -> 3).

    Raises ValueError: a feed missing or unknown, of another dtype or shape, or one name with two sizes.
    """
    names = {spec.name for spec in inputs}
    if set(feeds) != names:
        raise ValueError(f"expected the inputs {sorted(names)}, got {sorted(feeds)}")
    sizes: dict[str, int] = {}
    for spec in inputs:
        array = feeds[spec.name]
        fits = _dtype_name(array.dtype) == spec.dtype and len(array.shape) == len(spec.shape)
        for dimension, size in zip(spec.shape, array.shape, strict=False):
            expected = sizes.setdefault(dimension, size) if isinstance(dimension, str) else dimension
            fits = fits and size == expected
        if not fits:
            raise ValueError(
                f"input '{spec.name}' must be {spec.dtype} {_shown(spec.shape)}, got {array.dtype.name} {array.shape}"
            )
    return sizes


@functools.cache
def _dtype_name(dtype: np.dtype[Any]) -> str:
    """Returns numpy's name, which it puts together anew each time, in as long as a small model's run takes to begin."""
    return str(dtype.name)


def _shown(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(str(dimension) for dimension in shape)})"
