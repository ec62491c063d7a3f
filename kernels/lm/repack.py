"""Rearranges a GGUF matrix into panels of sixteen interleaved rows (lm.h has the byte table). No value is changed.

Done once a file; the result is kept by cache.py. Rows are padded with zeros to a multiple of sixteen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.lm.gguf import GgufError, Tensor

PANEL, BLOCK = 16, 32
TYPES = ("Q4_0", "Q4_1", "Q8_0", "Q6_K", "F16", "F32")
"""Index = `enum ih_lm_type`."""

Bytes = NDArray[np.uint8]


def panel_bytes(kind: str, cols: int) -> int:
    """Returns the bytes of one panel of a matrix with `cols` columns."""
    blocks = cols // BLOCK
    pairs = -(-blocks // 2)
    sizes = {"Q4_0": pairs * 576, "Q4_1": blocks * 320, "Q8_0": pairs * 1088, "Q6_K": blocks * 640}
    return sizes.get(kind, blocks * (1024 if kind == "F16" else 2048))


def repack(tensor: Tensor) -> Bytes:
    """Returns the panels of `tensor`, uint8 (ceil(rows / 16), panel_bytes). Raises GgufError when cols % 32 != 0."""
    if tensor.cols % BLOCK:
        raise GgufError(f"tensor {tensor.name} has {tensor.cols} columns, expected a multiple of {BLOCK}")
    packer = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q8_0": _q8_0, "Q6_K": _q6_k, "F16": _floats, "F32": _floats}[tensor.kind]
    raw = tensor.data.reshape(tensor.rows, -1)
    missing = -tensor.rows % PANEL
    if missing:
        raw = np.concatenate([raw, np.zeros((missing, raw.shape[1]), np.uint8)])
    panels = packer(raw.reshape(-1, PANEL, raw.shape[1]), tensor.cols)
    return np.ascontiguousarray(panels).reshape(len(panels), panel_bytes(tensor.kind, tensor.cols))


def _lines(values: NDArray[Any]) -> Bytes:
    """(panels, 16 rows, blocks, n) bytes to lines: (panels, blocks, n / 4 lines, 16 rows, 4)."""
    panels, rows, blocks, count = values.shape
    lines: Bytes = values.reshape(panels, rows, blocks, count // 4, 4).transpose(0, 2, 3, 1, 4)
    return lines


def _per_row(values: Bytes) -> Bytes:
    """(panels, 16 rows, blocks, n) bytes to (panels, blocks, 16 * n): one value a row, side by side."""
    panels, rows, blocks, count = values.shape
    side_by_side: Bytes = values.transpose(0, 2, 1, 3).reshape(panels, blocks, rows * count)
    return side_by_side


def _q4_1(raw: Bytes, cols: int) -> Bytes:
    blocks = raw.reshape(len(raw), PANEL, cols // BLOCK, 20)
    nibbles = _lines(blocks[..., 4:]).reshape(len(raw), cols // BLOCK, 256)
    return np.concatenate([_per_row(blocks[..., 0:2]), _per_row(blocks[..., 2:4]), nibbles], axis=2)


def _in_pairs(scales: Bytes, lines: Bytes) -> Bytes:
    """Scales (panels, blocks, 32) and lines (panels, blocks, n) as pairs of blocks: both scales, then both lines."""
    panels, blocks, size = lines.shape
    if blocks % 2:
        scales = np.concatenate([scales, np.zeros((panels, 1, 32), np.uint8)], axis=1)
        lines = np.concatenate([lines, np.zeros((panels, 1, size), np.uint8)], axis=1)
    pairs = (panels, -1)
    return np.concatenate([scales.reshape(panels, -1, 64), lines.reshape(panels, -1, 2 * size)], axis=2).reshape(pairs)


def _q4_0(raw: Bytes, cols: int) -> Bytes:
    blocks = raw.reshape(len(raw), PANEL, cols // BLOCK, 18)
    nibbles = _lines(blocks[..., 2:]).reshape(len(raw), cols // BLOCK, 256)
    return _in_pairs(_per_row(blocks[..., 0:2]), nibbles)


def _q8_0(raw: Bytes, cols: int) -> Bytes:
    blocks = raw.reshape(len(raw), PANEL, cols // BLOCK, 34)
    lines = _lines(blocks[..., 2:] ^ 0x80).reshape(len(raw), cols // BLOCK, 512)  # signed + 128
    return _in_pairs(_per_row(blocks[..., 0:2]), lines)


def _q6_k(raw: Bytes, cols: int) -> Bytes:
    """ggml's block_q6_K: 128 low nibbles, 64 high pairs of bits, 16 int8 sub-scales, an f16 scale, for 256 values."""
    blocks = raw.reshape(len(raw), PANEL, cols // 256, 210)
    low = blocks[..., :128].reshape(*blocks.shape[:3], 2, 64)
    high = blocks[..., 128:192].reshape(*blocks.shape[:3], 2, 32)
    quarters = [
        (low[..., :32] & 15) | (high & 3) << 4,
        (low[..., 32:] & 15) | (high >> 2 & 3) << 4,
        (low[..., :32] >> 4) | (high >> 4 & 3) << 4,
        (low[..., 32:] >> 4) | (high >> 6) << 4,
    ]
    values = np.stack(quarters, axis=-2).reshape(len(raw), PANEL, cols // BLOCK, BLOCK)
    scale = np.ascontiguousarray(blocks[..., 208:210]).view(np.float16).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        scales = scale * np.ascontiguousarray(blocks[..., 192:208]).view(np.int8).astype(np.float32)
    scales = scales.reshape(len(raw), PANEL, cols // BLOCK, 2)
    in_order = np.ascontiguousarray(scales.transpose(0, 2, 3, 1)).view(np.uint8).reshape(len(raw), cols // BLOCK, 128)
    return np.concatenate([in_order, _lines(values).reshape(len(raw), cols // BLOCK, 512)], axis=2)


def _floats(raw: Bytes, cols: int) -> Bytes:
    size = raw.shape[2] // cols
    by_column: Bytes = raw.reshape(len(raw), PANEL, cols, size).transpose(0, 2, 1, 3)
    return by_column
