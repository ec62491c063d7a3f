"""Bounded decompression of a stream that a stranger wrote: never more out than was asked for, never a large window.

zstandard's `decompressobj` gives out whatever the input makes, gigabytes from a megabyte; its stream reader fills
exactly the buffer that it is handed.
"""

from __future__ import annotations

import io

import numpy as np
import zstandard
from numpy.typing import NDArray

from runtime.wire.errors import ProtocolError
from runtime.wire.tables import CloseReason

WINDOW_LOG = 23  # 8 MiB: a 1080p screen as planes


class _Pieces(io.RawIOBase):
    """What the stream reader reads from: one part's data, and an error instead of an end."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        if not len(self.rest):
            raise ProtocolError(CloseReason.bad_frame, "the compressed pixels of a frame part are cut short")
        piece, self.rest = self.rest[:size], self.rest[size:]
        return bytes(piece)


class Inflater:
    """One zstd stream over many parts."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._reader: zstandard.ZstdDecompressionReader | None = None

    def inflate(self, data: memoryview, expected_bytes: int, *, is_new: bool) -> NDArray[np.uint8]:
        """Returns exactly `expected_bytes` from `data`. Raises ProtocolError (bad_frame) if it holds less or more."""
        if is_new:
            self._pieces = _Pieces()
            limits = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
            self._reader = limits.stream_reader(self._pieces, closefd=False)  # type: ignore[arg-type]  # read() is all it calls
        if self._reader is None:
            raise ProtocolError(CloseReason.bad_frame, "a zstd stream goes on that was not begun")
        out = np.empty(expected_bytes, np.uint8)
        self._pieces.rest = data
        try:
            filled = 0
            while filled < expected_bytes:
                count = self._reader.readinto(out[filled:])
                if not count:
                    raise ProtocolError(CloseReason.bad_frame, "the zstd stream ended within a session")
                filled += count
        except zstandard.ZstdError as error:
            raise ProtocolError(CloseReason.bad_frame, f"the compressed pixels cannot be read: {error}") from error
        if len(self._pieces.rest):
            raise ProtocolError(CloseReason.bad_frame, f"{len(self._pieces.rest)} bytes too many in a frame part")
        return out
