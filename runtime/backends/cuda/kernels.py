"""Our own kernels (kernels/cuda) on a device: weights are put there once, a vector goes in, its product comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.build import SOURCES, cubin
from runtime.backends.cuda.device import Buffer, Device, Function, Stream
from runtime.backends.cuda.transfer import put, take

WARPS = 8  # rows a block, as in gemv.cu
Float = NDArray[np.float32]


class Kernels:
    """The kernels, built for this device unless they are given. `cache` keeps what nvcc made.

    Raises NvccMissing, CudaError.
    """

    def __init__(self, device: Device, cache: Path, functions: dict[str, Function] | None = None) -> None:
        self.device = device
        if functions is None:
            major, minor = device.identity.capability
            image = cubin(f"sm_{major}{minor}", cache)
            functions = {name: device.load(image, name) for name in SOURCES["gemv.cu"]}
        self.functions = functions

    def put(self, stream: Stream, array: NDArray[Any]) -> Buffer:
        """Returns a copy on the device."""
        return put(self.device, stream, array)

    def take(self, stream: Stream, buffer: Buffer, dtype: type[np.generic]) -> NDArray[Any]:
        """Returns what a buffer of the device holds."""
        return take(self.device, stream, buffer, dtype)

    def gemv_int8(
        self, stream: Stream, w: Buffer, w_scale: Buffer, x: Buffer, x_scale: float, y: Buffer, rows: int, k: int
    ) -> None:
        """Queues y = (w @ x) * scales: w int8 (rows, k), k a multiple of 16."""
        _multiple(k, 16)
        arguments = (w, w_scale, x, np.float32(x_scale), y, np.int32(rows), np.int32(k))
        self._launch(stream, "ih_gemv_int8", rows, arguments)

    def gemv_int4(
        self, stream: Stream, q: Buffer, scale: Buffer, x: Buffer, x_scale: float, y: Buffer, rows: int, k: int
    ) -> None:
        """Queues y for q of 4 bits (rows, k / 2), scale (rows, k / 32), k a multiple of 32."""
        _multiple(k, 32)
        arguments = (q, scale, x, np.float32(x_scale), y, np.int32(rows), np.int32(k))
        self._launch(stream, "ih_gemv_int4", rows, arguments)

    def action_head(
        self,
        stream: Stream,
        w: Buffer,
        w_scale: Buffer,
        bias: Buffer,
        x: Buffer,
        x_scale: float,
        first: Buffer,
        logits: Buffer,
        best: Buffer,
        k: int,
    ) -> None:
        """Queues a head: `best` (uint64, zeros before) gets of each group its largest logit's bits and row."""
        _multiple(k, 16)
        rows, groups = logits.nbytes // 4, first.nbytes // 4
        arguments = (w, w_scale, bias, x, np.float32(x_scale), first, np.int32(groups), logits, best)
        self._launch(stream, "ih_action_head", rows, (*arguments, np.int32(rows), np.int32(k)))

    def read_probe(self, stream: Stream, data: Buffer, out: Buffer) -> None:
        """Queues a read of all of `data`."""
        blocks = 32 * 132
        self._queue(stream, "ih_read_probe", blocks, (data, out, np.int64(data.nbytes // 16)))

    def _queue(self, stream: Stream, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        stream.launch(self.functions[name], (blocks, 1, 1), (WARPS * 32, 1, 1), arguments)

    def _launch(self, stream: Stream, name: str, rows: int, arguments: tuple[Any, ...]) -> None:
        self._queue(stream, name, -(-rows // WARPS), arguments)


def chosen_rows(best: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the rows that `action_head` chose."""
    low = np.asarray(best & np.uint64(0xFFFFFFFF), np.uint64)
    return np.asarray(np.uint64(0xFFFFFFFF) - low, np.int64)


def _multiple(k: int, of: int) -> None:
    if k <= 0 or k % of:
        raise ValueError(f"a row has {k} values, expected a multiple of {of}")
