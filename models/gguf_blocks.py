"""GGML's blocks of 32 weights, both ways: what a tensor's bytes mean, and the block nearest to given weights.

    Q8_0   f16 d, 32 × int8 q                       w = d·q
    Q4_0   f16 d, 16 bytes: q[j] | q[j+16] << 4     w = d·(q - 8)
    Q4_1   f16 d, f16 m, the same nibbles           w = d·q + m

Layout: ggml's `block_q*` structs. The scales are chosen here: of some candidates around the block's range, the one with
the least squared error after rounding to f16, which is what ggml's own choice for these types does not look for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
BLOCK = 32
KINDS = ("Q4_0", "Q4_1", "Q8_0")
_STRETCH = (1.0, 0.98, 0.95, 0.92, 0.89, 0.86, 0.83, 0.8, 1.03, 1.06)


def weights(kind: str, data: Bytes, rows: int, cols: int) -> Floats:
    """Returns the weights (rows, cols) of a tensor's bytes. Raises KeyError for a kind that is not read here."""
    if kind in ("F32", "F16"):
        return data.view(np.float32 if kind == "F32" else np.float16).reshape(rows, cols).astype(np.float32)
    blocks = data.reshape(rows * cols // BLOCK, {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[kind])
    scale = _f16(blocks[:, 0:2])
    if kind == "Q8_0":
        return (scale * blocks[:, 2:].view(np.int8)).astype(np.float32).reshape(rows, cols)
    nibbles = blocks[:, 2 if kind == "Q4_0" else 4 :]
    q = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32)
    found = scale * (q - 8) if kind == "Q4_0" else scale * q + _f16(blocks[:, 2:4])
    return found.reshape(rows, cols)


def blocks_of(kind: str, values: Floats) -> Bytes:
    """Returns the bytes of the nearest tensor of `kind`; `values` (rows, 32·n), all below 65504."""
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, BLOCK)
    best: Bytes | None = None
    least = np.full(len(blocks), np.inf, np.float32)
    for stretch in _STRETCH if kind != "Q8_0" else (1.0,):
        made = _made(kind, blocks, stretch)
        error = ((weights(kind, made, len(blocks), BLOCK) - blocks) ** 2).sum(axis=1)
        if best is None:
            best, least = made, error
        else:
            better = error < least
            best[better], least[better] = made[better], error[better]
    assert best is not None
    return best.reshape(-1)


def _made(kind: str, blocks: Floats, stretch: float) -> Bytes:
    if kind == "Q8_0":
        scale = _rounded(np.abs(blocks).max(axis=1, keepdims=True) / 127)
        q = np.clip(np.rint(_divided(blocks, scale)), -127, 127).astype(np.int8)
        return np.concatenate([_bytes(scale), q.view(np.uint8)], axis=1)
    if kind == "Q4_0":
        at = np.abs(blocks).argmax(axis=1)[:, None]
        scale = _rounded(np.take_along_axis(blocks, at, axis=1) * (stretch / -8))  # the largest becomes -8
        q = np.clip(np.rint(_divided(blocks, scale)) + 8, 0, 15).astype(np.uint8)
        return np.concatenate([_bytes(scale), _nibbles(q)], axis=1)
    low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    middle, half = (low + high) / 2, (high - low) / 2 * stretch
    least, scale = _rounded(middle - half), _rounded(half * 2 / 15)
    q = np.clip(np.rint(_divided(blocks - least, scale)), 0, 15).astype(np.uint8)
    return np.concatenate([_bytes(scale), _bytes(least), _nibbles(q)], axis=1)


def _divided(values: Floats, scale: Floats) -> Floats:
    found: Floats = np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)
    return found


def _rounded(scale: Floats) -> Floats:
    limit = np.finfo(np.float16).max
    return np.clip(scale, -limit, limit).astype(np.float16).astype(np.float32)


def _bytes(scale: Floats) -> Bytes:
    return np.ascontiguousarray(scale.astype(np.float16)).view(np.uint8)


def _nibbles(q: Bytes) -> Bytes:
    packed: Bytes = q[:, :16] | q[:, 16:] << 4
    return packed


def _f16(data: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(data).view(np.float16).astype(np.float32)
