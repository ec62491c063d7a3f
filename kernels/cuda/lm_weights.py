"""Arranges the matrices of a GGUF for lm.cu: integers and scales apart, each in rows. No value is changed.

GGUF block   Q4_1  d m 16 bytes        Q4_0  d 16 bytes            Q8_0  d 32 bytes
device       q 16 bytes · (d, m)       q 16 bytes · (d, -8 d)      q 32 bytes · d
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.lm.gguf import GgufError, Tensor

BLOCK = 32
_INT4 = ("Q4_0", "Q4_1")
KINDS = (*_INT4, "Q8_0")


class Arranged(NamedTuple):
    """A matrix as lm.cu reads it: `q` uint8 (rows, bytes), `scale` uint32 or uint16 (rows, cols / 32)."""

    q: NDArray[np.uint8]
    scale: NDArray[Any]
    rows: int
    cols: int

    @property
    def is_int4(self) -> bool:
        return self.scale.dtype == np.uint32

    @property
    def nbytes(self) -> int:
        return self.q.nbytes + self.scale.nbytes


def arrange(tensors: Sequence[Tensor]) -> Arranged:
    """Returns matrices with the same columns as one, row after row. Raises GgufError for a kind that is not of KINDS.

    The kinds must all have 4 bits, or all 8.
    """
    parts = [_arranged(tensor) for tensor in tensors]
    q = np.concatenate([part.q for part in parts])
    return Arranged(q, np.concatenate([part.scale for part in parts]), len(q), parts[0].cols)


def in_groups(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Returns neighbours of one width together: those that `arrange` takes as one."""
    groups: list[list[Tensor]] = []
    for tensor in tensors:
        if groups and (groups[-1][-1].kind in _INT4) == (tensor.kind in _INT4):
            groups[-1].append(tensor)
        else:
            groups.append([tensor])
    return groups


def _arranged(tensor: Tensor) -> Arranged:
    if tensor.kind not in KINDS or tensor.cols % BLOCK:
        raise GgufError(
            f"tensor {tensor.name} is {tensor.kind} with {tensor.cols} columns; the CUDA kernels take "
            f"{', '.join(KINDS)} with a multiple of {BLOCK}",
            next_step="name `native` after `cuda` in the bundle's description, or quantise to one of these",
        )
    blocks = tensor.data.reshape(tensor.rows, tensor.cols // BLOCK, -1)
    d = np.ascontiguousarray(blocks[..., 0:2]).view(np.uint16)[..., 0]
    if tensor.kind == "Q8_0":
        return Arranged(_rows(blocks[..., 2:]), d, tensor.rows, tensor.cols)
    if tensor.kind == "Q4_1":
        least, q = np.ascontiguousarray(blocks[..., 2:4]).view(np.uint16)[..., 0], blocks[..., 4:]
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            eighths = d.view(np.float16).astype(np.float32) * np.float32(-8)
            least, q = eighths.astype(np.float16).view(np.uint16), blocks[..., 2:]
    return Arranged(_rows(q), d.astype(np.uint32) | least.astype(np.uint32) << 16, tensor.rows, tensor.cols)


def _rows(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).reshape(len(values), -1)
