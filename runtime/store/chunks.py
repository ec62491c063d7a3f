"""Cuts bytes where their content says so, so that two bundles that share most bytes share most chunks.

A boundary is where a rolling hash of the last 32 bytes has its 16 low bits zero: on average every 64 KiB, never below
16 KiB or above 256 KiB. An insertion moves boundaries near it and no others. (The gear hash of Xia et al., "FastCDC",
ATC 2016.)

The index of a file lists its chunks in order: MessagePack [version, [[size, sha256], …]]. It is not signed and need not
be: what is put together by it is checked as any bundle is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.store.errors import BundleError

INDEX_VERSION = 1
INDEX_CAP_BYTES = 16 << 20
SMALLEST, MASK, LARGEST = 16 << 10, (1 << 16) - 1, 256 << 10
WINDOW = 32
BLOCK_BYTES = 4 << 20  # rolled at once: bounds the memory, changes nothing
# The table belongs to the format: other numbers, other chunks. From sha256, so that it can be made again anywhere.
_GEAR: NDArray[np.uint32] = np.frombuffer(
    b"".join(hashlib.sha256(b"idlehands gear %d" % value).digest()[:4] for value in range(256)), "<u4"
)


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a file."""

    size: int
    sha256: bytes


class Index(msgspec.Struct, frozen=True, array_like=True):
    """The chunks of one file, in order."""

    version: int
    chunks: tuple[Chunk, ...]

    @property
    def total_bytes(self) -> int:
        return sum(chunk.size for chunk in self.chunks)


def cut(data: bytes | memoryview) -> list[int]:
    """Returns the ends of the chunks of `data`, the last its length ([] if it is empty)."""
    size = len(data)
    everything = np.frombuffer(data, np.uint8)
    pieces = [
        _candidates(everything[max(0, begin - WINDOW + 1) : begin + BLOCK_BYTES], min(begin, WINDOW - 1), begin)
        for begin in range(0, size, BLOCK_BYTES)
    ]
    candidates = np.concatenate([np.zeros(0, np.int64), *pieces])
    ends: list[int] = []
    begin = 0
    while begin < size:
        at = int(np.searchsorted(candidates, begin + SMALLEST))
        end = int(candidates[at]) if at < len(candidates) else size
        begin = min(end, begin + LARGEST, size)
        ends.append(begin)
    return ends


def _candidates(data: NDArray[np.uint8], overlap: int, begin: int) -> NDArray[np.int64]:
    """Returns the offsets behind which a chunk may end. The block is at `begin`; `data` has `overlap` bytes before it.

    The hash of 2m bytes is made of two of m bytes: five additions of whole arrays in place of a loop over bytes.
    """
    rolled = _GEAR[data]
    span = 1
    while span < WINDOW:
        longer = rolled.copy()
        longer[span:] += rolled[:-span] << np.uint32(span)
        rolled = longer
        span *= 2
    return np.flatnonzero((rolled[overlap:] & np.uint32(MASK)) == 0) + begin + 1


def chunks_of(path: Path) -> Iterator[tuple[int, Chunk]]:
    """Yields (offset, chunk) of a file. It is read whole: a bundle's files fit into memory. Raises OSError."""
    data = memoryview(path.read_bytes())
    begin = 0
    for end in cut(data):
        yield begin, Chunk(end - begin, hashlib.sha256(data[begin:end]).digest())
        begin = end


def write_index(path: Path) -> bytes:
    """Returns the index of a file, to be published beside it as `<file>.chunks`."""
    return msgspec.msgpack.encode(Index(INDEX_VERSION, tuple(chunk for _, chunk in chunks_of(path))))


def read_index(data: bytes, where: str) -> Index:
    """Reads an index from elsewhere. Raises BundleError for anything that `write_index` does not make."""
    try:
        index = msgspec.msgpack.decode(data, type=Index)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BundleError(f"{where} is no index of chunks: {error}") from error
    fits = all(0 < chunk.size <= LARGEST and len(chunk.sha256) == 32 for chunk in index.chunks)
    if index.version != INDEX_VERSION or not fits:
        raise BundleError(f"{where} is no index of chunks of version {INDEX_VERSION}")
    return index
