"""Puts weights into the order in which the kernels read them.

    dense        (blocks of 16 channels, runs, groups of 4 bytes, 16, 4): one vector load holds 4 inputs of 16 channels
    depthwise    (kh * kw, c) for the reference; see `depthwise_columns` for the vector kernels

A run is what lies contiguous in an NHWC image: a kernel row, or a single tap where the kernel is dilated.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LANES = 16

Int8 = npt.NDArray[np.int8]


def pack_dense(w: Int8, merged: bool) -> bytes:
    """Packs weights (n, kh, kw, c); `merged`: a kernel row is one run of kw * c bytes, else every tap is a run of c."""
    n, kh, kw, c = w.shape
    runs = w.reshape(n, kh, kw * c) if merged else w.reshape(n, kh * kw, c)
    groups, blocks = -(-runs.shape[2] // 4), -(-n // LANES)
    padded = np.zeros((blocks * LANES, runs.shape[1], groups * 4), np.int8)
    padded[:n, :, : runs.shape[2]] = runs
    return padded.reshape(blocks, LANES, runs.shape[1] * groups, 4).transpose(0, 2, 1, 3).tobytes()


def pack_depthwise(w: Int8) -> bytes:
    """Packs weights (c, kh, kw) as (kh * kw, c)."""
    return w.reshape(w.shape[0], -1).T.tobytes()


def depthwise_columns(w: Int8, lanes: int) -> bytes:
    """Packs weights (c, kh, kw) for kernels that read a column of four input rows at once.

    Order: block of `lanes` channels; kernel column; group of four rows; which of two output lines (its rows start one lower);
    quarter of the block in the order in which byte unpacking leaves channels; channel; row in the group.
    Unpacking 16-byte lanes of rows (r0, r1) and (r2, r3), low then high, then their 16-bit pairs, leaves quarter q with
    channels 4 q ... 4 q + 3 of each 16.
    """
    c, kh, kw = w.shape
    groups = (kh + 1 + 3) // 4
    blocks = max(1, -(-c // lanes))
    starts = [min(b * lanes, max(0, c - lanes)) for b in range(blocks)]
    out = np.zeros((blocks, kw, groups, 2, 4, lanes // 16, 4, 4), np.int8)
    for b, start in enumerate(starts):
        rows = np.zeros((2, groups * 4, kw, lanes), np.int8)
        some = w[start : start + lanes].transpose(1, 2, 0)  # (kh, kw, <= lanes)
        for line in range(2):
            rows[line, line : line + kh, :, : some.shape[2]] = some
        # (line, group, row, kw, lane16, quarter, channel) -> (kw, group, line, quarter, lane16, channel, row)
        split = rows.reshape(2, groups, 4, kw, lanes // 16, 4, 4)
        out[b] = split.transpose(3, 1, 0, 5, 4, 6, 2)
    return out.tobytes()
