"""Frames as messages: what changed since the last frame that was *sent*, packed and put together again.

    desktop   pixels + hashes ─► TilePacker.parts ─► FramePart …     a hash a tile, and pixels if the car lacks them
    car       FramePart … ─► TileMirror.apply ─► pixels, hashes, changed

Compressed parts of a session are pieces of one zstd stream whose window reaches over earlier frames; `zstd_begin`
starts a new one. The pixels of recorded 1080p and MiniWoB sessions took 1.16 MB and 53 KB so (level 3), where zstd
frames by themselves took 2.94 MB and 159 KB, and lz4 7.11 MB and 196 KB. The other candidate, XOR with the old tile,
shrinks small changes nearly as well (0.20 KB, the stream 0.14 KB), but doubles pages that scroll.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from runtime.wire.errors import ProtocolError
from runtime.wire.inflate import WINDOW_LOG, Inflater
from runtime.wire.layout import (
    Pixels,
    Run,
    gather_planes,
    gather_raw,
    plane_bytes,
    raw_bytes,
    runs,
    scatter_planes,
    scatter_raw,
)
from runtime.wire.messages import MAX_TILES, FramePart
from runtime.wire.records import HASH_BYTES, RECORD, SEEN, tile_box, tile_count, tile_grid
from runtime.wire.seen import SEEN_BYTES, Seen
from runtime.wire.tables import CloseReason, Encoding

# Pixels (as B G R x) and records of one part: together below the cap, even where zstd only adds its headers.
MAX_PART_BYTES = 960 << 10


@dataclass(frozen=True, slots=True)
class Packing:
    """How parts are made for one kind of link. `level` is zstd's; 0 means not compressed.

    `far` looks for long matches in the whole window. It is what finds a scrolled page again once parts are small: every
    part ends a block, and the short-match finder then forgets most of what came before.
    """

    level: int
    far: bool
    part_bytes: int  # of pixels before compression; small parts let results through between them


# On one machine a memcpy beats any codec. The recorded 1080p session took 1.70 MB and 55 ms at level 1, 1.16 MB and
# 560 ms at level 3 with far matches: 11 KB and 10 ms a step, so the latter pays below some 1 MB/s. lz4 lost everywhere.
LOCAL = Packing(level=0, far=False, part_bytes=MAX_PART_BYTES)
FAST = Packing(level=1, far=False, part_bytes=MAX_PART_BYTES)
SLOW = Packing(level=3, far=True, part_bytes=512 << 10)
SLOW_BYTES_PER_S = 1e6


class TilePacker:
    """The desktop's side: knows what the car has. One for each session; `packing` may be set between frames."""

    def __init__(self, packing: Packing = FAST, *, seen_bytes: int = SEEN_BYTES) -> None:
        self.packing = packing
        self._sent: NDArray[np.uint64] | None = None  # (tiles, 2): the hashes that the car shows now
        self._size = (0, 0)
        self._seen: Seen[None] = Seen(seen_bytes)
        self._stream: zstandard.ZstdCompressionObj | None = None
        self._stream_made_for = (0, False, 0)

    def parts(
        self,
        frame_id: int,
        pixels: Pixels,
        hashes: NDArray[np.uint8],
        *,
        captured_ns: int,
        capture_us: int,
        interest: tuple[int, int, int, int] | None = None,
    ) -> list[FramePart]:
        """Returns the parts of a frame, at least one; send all of them, in order. `pixels` may change afterwards.

        `pixels` (h, w, 4) uint8, rows contiguous; `hashes` (rows, cols, 16) uint8 of its tiles; the tiles of `interest`
        (x, y, w, h) go first. Raises ValueError if pixels and hashes do not fit together.
        """
        height, width = pixels.shape[:2]
        if hashes.shape != (*tile_grid(width, height), HASH_BYTES):
            raise ValueError(f"hashes {hashes.shape} are not those of {width}x{height} pixels")
        changed = self._changed(np.ascontiguousarray(hashes), width, height)
        if interest is not None and interest[2] > 0 and interest[3] > 0:
            changed = _interesting_first(changed, interest, width, height)
        records = self._records(changed, hashes.reshape(-1, HASH_BYTES), width, height)
        made = []
        for chunk, is_last in _cut(records, width, height, self.packing.part_bytes):
            fresh = chunk["index"][chunk["flags"] == 0].tolist()
            encoding, data = self._encode(pixels, list(runs(fresh, width, height)))
            tiles = memoryview(chunk.tobytes())
            made.append(
                FramePart(frame_id, width, height, captured_ns, capture_us, tiles, encoding, memoryview(data), is_last)
            )
        return made

    def _changed(self, hashes: NDArray[np.uint8], width: int, height: int) -> NDArray[np.intp]:
        """Returns the indices of the tiles that the car does not show, and counts them as shown."""
        now = hashes.reshape(-1, HASH_BYTES).view(np.uint64)
        if self._sent is None or self._size != (width, height):
            changed = np.arange(len(now))
        else:
            changed = np.flatnonzero((now[:, 0] != self._sent[:, 0]) | (now[:, 1] != self._sent[:, 1]))
        self._sent, self._size = now.copy(), (width, height)
        return changed

    def _records(
        self, changed: NDArray[np.intp], hashes: NDArray[np.uint8], width: int, height: int
    ) -> NDArray[np.void]:
        records = np.zeros(len(changed), RECORD)
        records["index"] = changed
        records["hash"] = hashes[changed]
        for position, index in enumerate(changed.tolist()):
            name = hashes[index].tobytes()
            if name in self._seen:
                self._seen.recall(name)
                records["flags"][position] = SEEN
            else:
                self._seen.note(name, _tile_bytes(index, width, height), None)
        return records

    def _encode(self, pixels: Pixels, which: list[Run]) -> tuple[Encoding, bytes]:
        if not which or not self.packing.level:
            return Encoding.raw, gather_raw(pixels, which)
        # The window holds about two screens; 8 MiB, where a 1080p screen fits, is what a car grants.
        screen = pixels.shape[0] * pixels.shape[1] * 3
        made_for = (self.packing.level, self.packing.far, min(WINDOW_LOG, max(18, screen.bit_length() + 1)))
        encoding = Encoding.zstd
        if self._stream is None or self._stream_made_for != made_for:
            level, far, window_log = self._stream_made_for = made_for
            settings = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_log, enable_ldm=far)
            self._stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()
            encoding = Encoding.zstd_begin
        planes = gather_planes(pixels, which)
        return encoding, self._stream.compress(planes.data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


class TileMirror:
    """The car's side: the desktop's screen as far as it was sent.

    pixels   uint8 (height, width, 4), B G R 0        written in place: take what must stay before the next `apply`
    hashes   uint8 (rows, cols, 16)
    changed  bool (rows, cols)                        by the frame that is being applied, or was last
    """

    def __init__(self, *, seen_bytes: int = SEEN_BYTES) -> None:
        self.frame = 0
        self.pixels: Pixels = np.zeros((0, 0, 4), np.uint8)
        self.hashes: NDArray[np.uint8] = np.zeros((0, 0, HASH_BYTES), np.uint8)
        self.changed: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._seen: Seen[Pixels] = Seen(seen_bytes)
        self._inflater = Inflater()
        self._begun = False

    def apply(self, part: FramePart) -> bool:
        """Puts one part in place; returns whether its frame is complete.

        Raises ProtocolError (bad_frame) for a part that contradicts itself or what came before; end the session then.
        """
        height, width = part.height, part.width
        if not self._begun:
            self._begin(part.frame, width, height)
        records = np.frombuffer(part.tiles, RECORD) if len(part.tiles) else np.zeros(0, RECORD)
        indices = records["index"].astype(np.intp)
        fresh = records["flags"] == 0
        self._check(part, records, indices)
        which = list(runs(indices[fresh].tolist(), width, height))
        self._decode(part, which)
        changed, hashes = self.changed.reshape(-1), self.hashes.reshape(-1, HASH_BYTES)
        for position, index in enumerate(indices.tolist()):
            if changed[index]:
                raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} names tile {index} twice")
            changed[index] = True
            self._remember(records["hash"][position].tobytes(), index, is_fresh=bool(fresh[position]))
        hashes[indices] = records["hash"]
        self._begun = not part.last
        return part.last

    def wipe(self) -> None:
        """Overwrites every pixel that is held with zeros; the mirror is as new."""
        self.pixels.fill(0)
        for tile in self._seen.clear():
            tile.fill(0)
        self._inflater = Inflater()
        self._begun = False

    def _begin(self, frame: int, width: int, height: int) -> None:
        if self.pixels.shape[:2] != (height, width):
            self.pixels = np.zeros((height, width, 4), np.uint8)
            self.hashes = np.zeros((*tile_grid(width, height), HASH_BYTES), np.uint8)
            self.changed = np.zeros(tile_grid(width, height), np.bool_)
        self.frame, self._begun = frame, True
        self.changed.fill(False)

    def _check(self, part: FramePart, records: NDArray[np.void], indices: NDArray[np.intp]) -> None:
        if (part.frame, part.height, part.width) != (self.frame, *self.pixels.shape[:2]):
            raise ProtocolError(CloseReason.bad_frame, f"a part of frame {part.frame} within frame {self.frame}")
        count = tile_count(part.width, part.height)
        if len(records) > MAX_TILES or (len(indices) and int(indices.max()) >= count):
            raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} names tiles beyond its {count}")
        if bool((records["flags"] > SEEN).any()):
            raise ProtocolError(CloseReason.bad_frame, f"frame {part.frame} has records with unknown flags")

    def _decode(self, part: FramePart, which: list[Run]) -> None:
        if sum(map(raw_bytes, which)) > MAX_PART_BYTES:
            raise ProtocolError(CloseReason.bad_frame, f"a part of frame {part.frame} holds too many pixels")
        if part.encoding == Encoding.raw:
            expected = sum(map(raw_bytes, which))
            if len(part.data) != expected:
                raise ProtocolError(CloseReason.bad_frame, f"{len(part.data)} bytes of pixels, expected {expected}")
            scatter_raw(np.frombuffer(part.data, np.uint8) if expected else np.zeros(0, np.uint8), which, self.pixels)
            return
        is_new = part.encoding == Encoding.zstd_begin
        planes = self._inflater.inflate(part.data, sum(map(plane_bytes, which)), is_new=is_new)
        scatter_planes(planes, which, self.pixels)

    def _remember(self, name: bytes, index: int, *, is_fresh: bool) -> None:
        height, width = self.pixels.shape[:2]
        x, y, w, h = tile_box(index, width, height)
        here = self.pixels[y : y + h, x : x + w]
        if is_fresh:
            self._seen.note(name, w * h * 4, here.copy())
            return
        there = self._seen.recall(name)
        if there is None or there.shape != here.shape:
            raise ProtocolError(CloseReason.bad_frame, f"tile {index} is said to be known, and is not")
        here[:] = there


def _tile_bytes(index: int, width: int, height: int) -> int:
    _, _, w, h = tile_box(index, width, height)
    return w * h * 4


def _cut(
    records: NDArray[np.void], width: int, height: int, part_bytes: int
) -> Iterator[tuple[NDArray[np.void], bool]]:
    """Yields the records in pieces of `part_bytes` of pixels and MAX_TILES at most, and whether each is the last."""
    begin = held = 0
    for position, (index, flags, _) in enumerate(records.tolist()):
        weight = 0 if flags & SEEN else _tile_bytes(index, width, height)
        if position > begin and (held + weight > part_bytes or position - begin >= MAX_TILES):
            yield records[begin:position], False
            begin, held = position, 0
        held += weight
    yield records[begin:], True


def _interesting_first(
    changed: NDArray[np.intp], interest: tuple[int, int, int, int], width: int, height: int
) -> NDArray[np.intp]:
    """Returns `changed` with the tiles that touch `interest` (x, y, w, h) before the others, both in row order."""
    x, y, w, h = interest
    rows, columns = np.divmod(changed, tile_grid(width, height)[1])
    inside = (columns >= x // 64) & (columns <= (x + w - 1) // 64) & (rows >= y // 64) & (rows <= (y + h - 1) // 64)
    return np.concatenate([changed[inside], changed[~inside]])
