"""Frames into parts and back: only tiles whose hash is not what the car has at that place.

    Frame ─► TileSender.pack ─► FramePart … FramePart(last) ─► TileMirror.add ─► the same pixels and hashes in the car

The records of a part are those of runtime/wire/records.py. Tiles lie in `data` one after another, each its own rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import HASH_BYTES, grid
from runtime.desktop.frame import Frame, tile_box
from runtime.wire.errors import ProtocolError
from runtime.wire.messages import MESSAGE_CAP, FramePart
from runtime.wire.records import RECORD, SEEN
from runtime.wire.tables import CloseReason, Encoding

_PART_BYTES = MESSAGE_CAP - (1 << 16)  # of pixels; the records of as many tiles and the head fit into the rest


class TileSender:
    """The desktop's side: what the car has of the screen. A new one for each session (the hashes are keyed by it)."""

    def __init__(self) -> None:
        self._sent: NDArray[np.uint8] = np.zeros((0, 0, HASH_BYTES), np.uint8)
        self._size = (0, 0)

    def differs(self, frame: Frame) -> bool:
        """Returns whether the car lacks anything of `frame`."""
        return (frame.width, frame.height) != self._size or bool((frame.hashes != self._sent).any())

    def pack(self, frame: Frame) -> list[FramePart]:
        """Returns the parts that make the car's picture into `frame`; empty if it is that already.

        Call it only for what will be sent: the car is taken to have it from now on.
        """
        size = frame.width, frame.height
        if size != self._size:
            self._size, self._sent = size, np.zeros_like(frame.hashes)
        indices = np.flatnonzero((frame.hashes != self._sent).any(axis=2))
        self._sent = frame.hashes
        parts: list[FramePart] = []
        data, first = bytearray(), 0
        for at, index in enumerate(indices.tolist()):
            x, y, w, h = tile_box(index, *size)
            if len(data) + w * h * 4 > _PART_BYTES:
                parts.append(_part(frame, indices[first:at], data, is_last=False))
                data, first = bytearray(), at
            data += frame.pixels[y : y + h, x : x + w].tobytes()
        if len(indices):
            parts.append(_part(frame, indices[first:], data, is_last=True))
        return parts


class TileMirror:
    """The car's side: the desktop's screen as far as it has come. `frame` is the last complete one, in one buffer.

    Raises ProtocolError from `add` for a part that contradicts itself; the session is to be ended then.
    """

    def __init__(self) -> None:
        self.pixels: NDArray[np.uint8] = np.zeros((0, 0, 4), np.uint8)
        self.hashes: NDArray[np.uint8] = np.zeros((0, 0, HASH_BYTES), np.uint8)
        self.changed: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)

    def add(self, part: FramePart) -> bool:
        """Takes one part in. Returns whether it completed its frame."""
        if (part.height, part.width) != self.pixels.shape[:2]:
            self.pixels = np.zeros((part.height, part.width, 4), np.uint8)
            self.hashes = np.zeros((*grid(part.height, part.width), HASH_BYTES), np.uint8)
            self.changed = np.zeros(grid(part.height, part.width), np.bool_)
        records = np.frombuffer(part.tiles, RECORD)
        if part.encoding is not Encoding.raw:
            raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} is encoded as {part.encoding.name}")
        data, at = np.frombuffer(part.data, np.uint8), 0
        flat_hashes, flat_changed = self.hashes.reshape(-1, HASH_BYTES), self.changed.reshape(-1)
        for index, flags, tile_hash in zip(
            records["index"].tolist(), records["flags"].tolist(), records["hash"], strict=True
        ):
            if index >= len(flat_changed) or flags & SEEN:
                raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} has an impossible tile {index}")
            x, y, w, h = tile_box(index, part.width, part.height)
            size = w * h * 4
            if at + size > len(data):
                raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} has less pixels than its tiles")
            self.pixels[y : y + h, x : x + w] = data[at : at + size].reshape(h, w, 4)
            flat_hashes[index] = tile_hash
            flat_changed[index] = True
            at += size
        if at != len(data):
            raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} has more pixels than its tiles")
        return part.last


def _part(frame: Frame, indices: NDArray[np.intp], data: bytearray, *, is_last: bool) -> FramePart:
    records = np.zeros(len(indices), RECORD)
    records["index"] = indices
    records["hash"] = frame.hashes.reshape(-1, HASH_BYTES)[indices]
    return FramePart(
        frame.frame_id,
        frame.width,
        frame.height,
        frame.captured_ns,
        frame.capture_us,
        memoryview(records.tobytes()),
        Encoding.raw,
        memoryview(data),
        is_last,
    )
