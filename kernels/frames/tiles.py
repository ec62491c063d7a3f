"""What changed on a screen: a keyed 128-bit hash of every 64x64 tile, in one pass over the frame.

    frame (h, w, 4) ──► tile_hashes ──► (rows, cols, 16) ──► changed_tiles: which differ from the last frame's
                        hash_region ──► 16 bytes: the precondition of an action

The key is the session's. A page that does not know it makes two different tiles (or regions) of its choice hash alike
with probability at most 2^-124, besides what an attack on SipHash gains; the construction and the bound are told in
kernels/frames/tile_hash.h. The padding byte of a pixel does not count. Tiles at the right and lower edge are as large
as they are: their size goes into the hash.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kernels.frames.arguments import Frame, check_frame, gate_address, native, raise_if_preempted
from kernels.gate.word import GateToken

TILE: int = native.TILE
HASH_BYTES: int = native.HASH_BYTES

Hashes = NDArray[np.uint8]  # (rows, cols, 16)
Mask = NDArray[np.bool_]  # (rows, cols)


def grid(h: int, w: int) -> tuple[int, int]:
    """Returns (rows, cols) of the tiles that cover h x w pixels."""
    return -(-h // TILE), -(-w // TILE)


def tile_hashes(frame: Frame, key: bytes, *, gate: GateToken | None = None, variant: str | None = None) -> Hashes:
    """Returns the hash of every tile: uint8 (rows, cols, 16).

    `frame` is BGRX uint8 (h, w, 4); `key` has 16 or 32 bytes. `variant` forces an instruction set (all give the same).
    Raises TypeError or ValueError for a wrong argument, GateClosed if `gate` closed meanwhile.
    """
    check_frame(frame)
    hashes = np.empty((*grid(*frame.shape[:2]), HASH_BYTES), np.uint8)
    raise_if_preempted(native.tile_hashes(frame, expanded_key(key), hashes, gate_address(gate), variant))
    return hashes


def changed_tiles(
    frame: Frame,
    previous_hashes: Hashes | None,
    key: bytes,
    *,
    gate: GateToken | None = None,
    variant: str | None = None,
) -> tuple[Mask, Hashes]:
    """Returns (mask, hashes): bool (rows, cols) of the tiles that differ from `previous_hashes`, and the new hashes.

    With no previous hashes, or with those of a frame with another number of tiles, every tile has changed. (A new
    size with the same number of tiles changes the tiles at the edge, as their size is hashed.)
    """
    hashes = tile_hashes(frame, key, gate=gate, variant=variant)
    if previous_hashes is None or previous_hashes.shape != hashes.shape:
        return np.ones(hashes.shape[:2], np.bool_), hashes
    mask = np.empty(hashes.shape[:2], np.bool_)
    native.tiles_differ(hashes, np.ascontiguousarray(previous_hashes, np.uint8), mask.view(np.uint8))
    return mask, hashes


def hash_region(frame: Frame, x: int, y: int, w: int, h: int, key: bytes, *, variant: str | None = None) -> bytes:
    """Returns 16 bytes that name the pixels of the region with its upper left corner at (x, y), w x h pixels.

    Where the region lies does not count, its size and pixels do. Raises ValueError if it is empty or leaves the frame.
    """
    check_frame(frame)
    frame_h, frame_w = frame.shape[:2]
    if not (w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= frame_w and y + h <= frame_h):
        raise ValueError(f"the region {w}x{h} at ({x}, {y}) is empty or leaves the frame of {frame_w}x{frame_h} pixels")
    tiles = tile_hashes(frame[y : y + h, x : x + w], key, variant=variant)
    return native.region_hash(tiles, h, w, expanded_key(key))


@lru_cache(maxsize=8)
def expanded_key(key: bytes) -> NDArray[np.uint8]:
    """Returns the key material that the kernels take, from a session's key of 16 or 32 bytes, by SHAKE-256."""
    if not isinstance(key, bytes) or len(key) not in (16, 32):
        got = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise ValueError(f"a tile key has 16 or 32 bytes, got {got}")
    material = hashlib.shake_256(b"idlehands tile hash 1" + bytes([len(key)]) + key).digest(native.KEY_BYTES)
    words = np.array(np.frombuffer(material, np.uint64))  # a copy as u64: aligned to 8 bytes
    expanded: NDArray[np.uint8] = words.view(np.uint8)
    expanded.flags.writeable = False
    return expanded
