"""Puts weights into the order in which the kernels read them.

    dense        (blocks of 16 channels, runs, groups of 4 bytes, 16, 4): one vector load holds 4 inputs of 16 channels
    depthwise    (kh * kw, c) for the reference; `depthwise_columns` for the vector kernels

A run is what lies contiguous in an NHWC image: a kernel row, or a single tap where the kernel is dilated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.graph import planning

LANES = 16
COLUMN_LANES = 64

Int8 = npt.NDArray[np.int8]


def pack_dense(w: Int8, merged: bool) -> bytes:
    """Packs weights (n, kh, kw, c); `merged`: a kernel row is one run of kw * c bytes, else every tap is a run of c."""
    n, kh, kw, c = w.shape
    runs = w.reshape(n, kh, kw * c) if merged else w.reshape(n, kh * kw, c)
    groups, blocks = -(-runs.shape[2] // 4), -(-n // LANES)
    packed = np.empty((blocks, runs.shape[1] * groups, LANES, 4), np.int8)
    for block in range(blocks):
        planning.check()
        some = runs[block * LANES : (block + 1) * LANES]
        padded = np.zeros((LANES, runs.shape[1], groups * 4), np.int8)
        padded[: len(some), :, : runs.shape[2]] = some
        packed[block] = padded.reshape(LANES, -1, 4).transpose(1, 0, 2)
    return packed.tobytes()


def pack_depthwise(w: Int8) -> bytes:
    """Packs weights (c, kh, kw) as (kh * kw, c)."""
    return bytes(w.reshape(w.shape[0], -1).T.tobytes())


def depthwise_columns(w: Int8, pair: int, fold: int) -> bytes:
    """Packs weights (c, kh, kw) for kernels that take 64 or 32 channels and a column of four input rows at once.

    Order: block of 64 lanes, a last one of 32 where that holds what is left; group of four rows; kernel column; output
    line (with `pair` two lines share the columns, the second's rows start that much lower); quarter of the block, in
    the order in which byte unpacking leaves channels; 16-byte part; channel; row in the group. Unpacking rows (r0, r1)
    and (r2, r3), low and high, then their 16-bit pairs, leaves in quarter q the channels 4 q ... 4 q + 3 of each part.
    The last block overlaps the one before it where it would not be full; `fold` pixels of c channels lie side by side
    in one block where they fill it.
    """
    if fold > 1:
        w = np.tile(w, (fold, 1, 1))
    c, kh, kw = w.shape
    lines = 2 if pair else 1
    groups = -(-(kh + pair) // 4)
    packed = []
    for at in range(0, c, COLUMN_LANES):
        lanes = COLUMN_LANES if c - at > COLUMN_LANES // 2 else COLUMN_LANES // 2
        start = at if at + lanes <= c or c < lanes else c - lanes
        some = w[start : start + lanes].transpose(1, 2, 0)  # (kh, kw, <= lanes)
        rows = np.zeros((lines, groups * 4, kw, lanes), np.int8)
        for line in range(lines):
            rows[line, line * pair : line * pair + kh, :, : some.shape[2]] = some
        # (line, group, row, kw, part, quarter, channel) -> (group, kw, line, quarter, part, channel, row)
        apart = rows.reshape(lines, groups, 4, kw, lanes // 16, 4, 4)
        packed.append(apart.transpose(1, 3, 0, 5, 4, 6, 2).tobytes())
    return b"".join(packed)


def row_pair(kh: int, stride_y: int, dilation_y: int) -> int:
    """Returns how many rows lower the second of two output lines reads that share columns; 0 where that saves none."""
    return stride_y if dilation_y == 1 and -(-(kh + stride_y) // 4) < 2 * -(-kh // 4) else 0


def column_fold(c: int, stride_x: int, is_packed: bool) -> int:
    """Returns how many neighbouring pixels share a block of `depthwise_columns`."""
    return COLUMN_LANES // c if stride_x == 1 and is_packed and c in (8, 16, 32) else 1
