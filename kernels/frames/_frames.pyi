"""Types of the frame kernels' doorway; kernels/frames/tiles.py and resize.py are its faces."""

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

TILE: int
HASH_BYTES: int
KEY_BYTES: int

def available_variants() -> tuple[str, ...]: ...
def tile_hashes(pixels: U8, key: U8, hashes: U8, gate: int, variant: str | None) -> int: ...
def tiles_differ(hashes: U8, previous: U8, mask: U8) -> int: ...
def region_hash(tiles: U8, h: int, w: int, key: U8) -> bytes: ...
