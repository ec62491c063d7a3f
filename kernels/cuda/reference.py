"""What the kernels of gemv.cu mean, in numpy: slow, plain, and the same bits (float32 in the kernels' own order)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LANES = 32
BLOCK = 32  # values of int4 that share a scale
Float = NDArray[np.float32]


def gemv_int8(w: NDArray[np.int8], w_scale: Float, x: NDArray[np.int8], x_scale: float) -> Float:
    """Returns y float32 (rows): w int8 (rows, k), w_scale (rows), x int8 (k)."""
    sums = (w.astype(np.int32) @ x.astype(np.int32)).astype(np.float32)
    return np.asarray(sums * w_scale * np.float32(x_scale), np.float32)


def pack_int4(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Packs values from -8 to 7 (rows, k) as the kernel reads them: uint8 (rows, k / 2)."""
    blocks = (values.astype(np.int16) + 8).astype(np.uint8).reshape(values.shape[0], -1, BLOCK)
    halves = blocks[..., : BLOCK // 2] | blocks[..., BLOCK // 2 :] << 4
    return np.asarray(halves.reshape(values.shape[0], -1), np.uint8)


def gemv_int4(q: NDArray[np.uint8], scale: Float, x: NDArray[np.int8], x_scale: float) -> Float:
    """Returns y float32 (rows): q uint8 (rows, k / 2), scale (rows, k / 32), x int8 (k)."""
    rows, blocks = scale.shape
    halves = q.reshape(rows, blocks, BLOCK // 2)
    values = np.concatenate([halves & 15, halves >> 4], axis=2).astype(np.int32) - 8
    sums = np.einsum("rbk,bk->rb", values, x.astype(np.int32).reshape(blocks, BLOCK)).astype(np.float32)
    terms = np.zeros((rows, -(-blocks // LANES) * LANES), np.float32)
    terms[:, :blocks] = sums * scale
    lanes = np.zeros((rows, LANES), np.float32)
    for at in range(0, terms.shape[1], LANES):  # what a lane adds up, one block after the other
        lanes = lanes + terms[:, at : at + LANES]
    step = LANES // 2
    while step:  # lower + upper at distance 16, 8, 4, 2, 1
        lanes = lanes[:, :step] + lanes[:, step : 2 * step]
        step //= 2
    return np.asarray(lanes[:, 0] * np.float32(x_scale), np.float32)


def action_head(
    w: NDArray[np.int8], w_scale: Float, bias: Float, x: NDArray[np.int8], x_scale: float, first: NDArray[np.int32]
) -> tuple[Float, NDArray[np.int64]]:
    """Returns (logits, the row of the largest in each group); group g has the rows from first[g] on."""
    logits = gemv_int8(w, w_scale, x, x_scale) + bias
    ends = [*first[1:], len(logits)]
    best = [int(logits[begin:end].argmax()) for begin, end in zip(first, ends, strict=True)]
    return logits, np.array(best, np.int64)
