"""The desktop's screen in the car, twice: as it arrives, and as an agent looks at it.

    parts ─► arriving (runtime/wire's TileMirror) ── a frame is complete ─► whole ── take ─► a Frame that stands still

Only changed tiles are copied from one to the next. `whole` never shows half of a frame, however slowly it arrives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import HASH_BYTES, TILE
from runtime.desktop.frame import Frame
from runtime.wire.messages import FramePart
from runtime.wire.tiles import TileMirror


class Mirror:
    """What has arrived of a desktop's screen. `newest` is the last part of the newest complete frame."""

    def __init__(self) -> None:
        self.newest: FramePart | None = None  # kept for its numbers
        self._arriving = TileMirror()
        self._whole: NDArray[np.uint8] = np.zeros((0, 0, 4), np.uint8)
        self._hashes: NDArray[np.uint8] = np.zeros((0, 0, HASH_BYTES), np.uint8)
        self._untaken: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._taken: NDArray[np.uint8] = np.zeros((0, 0, 4), np.uint8)

    def add(self, part: FramePart) -> bool:
        """Takes a part in. Returns whether it completed its frame. Raises ProtocolError if it contradicts itself."""
        arriving = self._arriving
        if not arriving.apply(part):
            return False
        if self._whole.shape != arriving.pixels.shape:
            self._whole = np.zeros_like(arriving.pixels)
            self._untaken = np.ones(arriving.changed.shape, np.bool_)
        copy_tiles(arriving.changed, arriving.pixels, self._whole)
        self._untaken |= arriving.changed
        self._hashes = arriving.hashes.copy()
        self.newest = part
        return True

    def take(self) -> Frame:
        """Returns the newest complete frame; its pixels are those of the frame taken before, brought up to date.

        `changed` is against that frame. Raises ValueError if no frame is complete yet.
        """
        if self.newest is None:
            raise ValueError("no frame is complete yet")
        if self._taken.shape != self._whole.shape:
            self._taken = np.zeros_like(self._whole)
        changed = self._untaken
        copy_tiles(changed, self._whole, self._taken)
        self._untaken = np.zeros_like(changed)
        newest = self.newest
        return Frame(newest.frame, self._taken, changed, self._hashes, newest.captured_ns, newest.capture_us)

    def wipe(self) -> None:
        """Overwrites every pixel that is held, also those of the frame that was taken."""
        self._arriving.wipe()
        self._whole.fill(0)
        self._taken.fill(0)


def copy_tiles(which: NDArray[np.bool_], source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Copies the tiles of `which`, bool (rows, columns), from `source` to `target`, both uint8 (height, width, 4)."""
    count = int(np.count_nonzero(which))
    if 2 * count > which.size:
        np.copyto(target, source)
        return
    for row, column in np.argwhere(which).tolist():
        area = slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)
        target[area] = source[area]
