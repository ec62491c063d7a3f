"""One look at a desktop: its pixels, which tiles changed, and the keyed hash of every tile.

    pixels   uint8 (height, width, 4)       B, G, R and a byte without meaning
    changed  bool  (tile_rows, tile_cols)   against the frame that the caller had before
    hashes   uint8 (tile_rows, tile_cols, 16)

Tiles are 64×64; those at the right and at the bottom edge are ragged, never padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import TILE, grid


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A desktop at one moment. `frame_id` grows with every capture that saw a change and names it on the wire.

    Who gets a frame from `Desktop.capture` gets a view of the desktop's own buffer: good until the next capture.
    `captured_ns` (CLOCK_BOOTTIME) is when the pixels were read, `capture_us` what reading and hashing took.
    """

    frame_id: int
    pixels: NDArray[np.uint8]
    changed: NDArray[np.bool_]
    hashes: NDArray[np.uint8]
    captured_ns: int
    capture_us: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


def tile_box(index: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns (x, y, w, h) of the tile `index` (row-major), ragged at the edges. Raises ValueError past the last."""
    rows, columns = grid(height, width)
    if not 0 <= index < rows * columns:
        raise ValueError(f"tile {index} is not on a screen of {width}x{height}: it has {rows * columns}")
    y, x = index // columns * TILE, index % columns * TILE
    return x, y, min(TILE, width - x), min(TILE, height - y)
