"""Types of the frame kernels' doorway; kernels/frames/tiles.py, resize.py, runs.py and layout.py are its faces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

TILE: int
HASH_BYTES: int
KEY_BYTES: int
SHRINK_MAX: int

def available_variants() -> tuple[str, ...]: ...
def tile_hashes(pixels: U8, key: U8, hashes: U8, gate: int, variant: str | None) -> int: ...
def tiles_differ(hashes: U8, previous: U8, mask: U8) -> int: ...
def region_hash(tiles: U8, h: int, w: int, key: U8) -> bytes: ...

class Axis:
    def __init__(self, n_in: int, n_out: int, is_horizontal: bool) -> None: ...

class Quantise:
    def __init__(
        self,
        multiplier: Sequence[int],
        offset: Sequence[int],
        shift: int,
        is_unsigned: bool,
        plane_of: Sequence[int],
    ) -> None: ...

def resize(pixels: U8, down: Axis, along: Axis, quantise: Quantise, out: U8, gate: int, variant: str | None) -> int: ...
def resize_and_hash(
    pixels: U8,
    down: Axis,
    along: Axis,
    quantise: Quantise,
    key: U8,
    out: U8,
    hashes: U8,
    gate: int,
    variant: str | None,
) -> int: ...
def crop_resize(pixels: U8, boxes: I32, quantise: Quantise, out: U8, gate: int, variant: str | None) -> int: ...
def runs_count(mask: U8) -> int: ...
def runs_find(mask: U8, bridge: int, row: I64, start: I64, end: I64) -> int: ...
def runs_label(row: I64, start: I64, end: I64, diagonal: bool, labels: I64) -> int: ...
def runs_bounds(row: I64, start: I64, end: I64, labels: I64, boxes: I64) -> None: ...
def runs_paint(row: I64, start: I64, end: I64, chosen: U8, mask: U8) -> None: ...
def find_edges(pixels: U8, edges: U8, top: int, left: int, bottom: int, right: int, gate: int) -> int: ...

class Arena:
    def __init__(self, size: int) -> None: ...
    @property
    def bytes(self) -> int: ...

def find_layout(pixels: U8, edges: U8, arena: Arena, gate: int) -> tuple[int, bytes, bytes]: ...
