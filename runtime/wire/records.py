"""The tile records of a frame part: 20 bytes each, little-endian, packed one after the other into `FramePart.tiles`.

      00 01 │ 02 03 │ 04 … 19
      index │ flags │ keyed 128-bit hash of the tile's pixels

`index` counts the 64×64 tiles row by row. A record with the flag SEEN carries no pixels: the car has had a tile
with this hash in this session. The pixels of the other records stand in `FramePart.data`, in the order of the records.
"""

from __future__ import annotations

import numpy as np

TILE = 64
HASH_BYTES = 16
RECORD = np.dtype([("index", "<u2"), ("flags", "<u2"), ("hash", "u1", HASH_BYTES)])
RECORD_BYTES = RECORD.itemsize
SEEN = 1


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """Returns (rows, columns) of the tiles that cover `width` × `height` pixels."""
    return -(-height // TILE), -(-width // TILE)


def tile_count(width: int, height: int) -> int:
    """Returns how many tiles cover `width` × `height` pixels."""
    rows, columns = tile_grid(width, height)
    return rows * columns


def tile_box(index: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns (x, y, w, h) in pixels of tile `index`, ragged at the right and bottom edges."""
    columns = -(-width // TILE)
    y, x = index // columns * TILE, index % columns * TILE
    return x, y, min(TILE, width - x), min(TILE, height - y)
