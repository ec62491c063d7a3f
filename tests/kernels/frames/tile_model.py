"""The tile hash written a second time, in Python integers from the definition in kernels/frames/tile_hash.h."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

M32, M64 = 2**32 - 1, 2**64 - 1


def siphash_128(words: list[int], k0: int, k1: int) -> bytes:
    """SipHash-2-4-128 of whole little-endian words, after the authors' description."""
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(x: int, bits: int) -> int:
        return (x << bits | x >> (64 - bits)) & M64

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & M64
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[3]) & M64
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & M64
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & M64
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)

    for word in [*words, (8 * len(words) & 0xFF) << 56]:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", low, v[0] ^ v[1] ^ v[2] ^ v[3])


class Key:
    """The fields of `ih_tile_key`."""

    def __init__(self, key: bytes) -> None:
        numbers = 8 * 4 * 11 + 11 * 8 + 4
        material = hashlib.shake_256(b"idlehands tile hash 1" + bytes([len(key)]) + key).digest(8 * numbers)
        words = struct.unpack(f"<{numbers}Q", material)
        self.nh = np.array(words[:352], dtype=object).reshape(8, 4, 11)
        self.fold = np.array(words[352:440], dtype=object).reshape(11, 8)
        self.tile_sip = words[440:442]
        self.region_sip = words[442:444]


def nh(low: int, high: int, key: int) -> int:
    return ((low + (key & M32)) & M32) * ((high + (key >> 32)) & M32)


def tile_hash(tile: NDArray[np.uint8], key: Key) -> bytes:
    """The 16 bytes of one tile, uint8 (h <= 64, w <= 64, 4)."""
    h, w = tile.shape[:2]
    padded = np.zeros((-(-h // 8) * 8, -(-w // 16) * 16, 4), np.uint8)
    padded[:h, :w, :3] = tile[:, :, :3]
    m = padded.view("<u4")[:, :, 0].astype(object)
    sums = [[0] * 8 for _ in range(11)]
    for g in range(len(m) // 8):
        rows = m[8 * g : 8 * g + 8]
        checks = [sum(weight * row for weight, row in zip(weights, rows, strict=True)) & M32 for weights in CHECKS]
        for s, symbol in enumerate([*rows, *checks]):
            for x in range(0, m.shape[1], 2):
                c, lane = x // 16, x % 16 // 2
                sums[s][lane] = (sums[s][lane] + nh(symbol[x], symbol[x + 1], key.nh[g, c, s])) & M64
    y = [
        sum(nh(n & M32, n >> 32, key.fold[s, lane]) for lane, n in enumerate(lanes)) & M64
        for s, lanes in enumerate(sums)
    ]
    return siphash_128([w | h << 32, *y], *key.tile_sip)


# The weights of the three check symbols over the eight rows.
CHECKS = [[1] * 8, [8 - r for r in range(8)], [(8 - r) * (9 - r) // 2 for r in range(8)]]


def region_hash(region: NDArray[np.uint8], key: Key) -> bytes:
    """The 16 bytes of a region, uint8 (h, w, 4)."""
    h, w = region.shape[:2]
    chained = bytes(16)
    for y in range(0, h, 64):
        for x in range(0, w, 64):
            words = struct.unpack("<QQQQ", chained + tile_hash(region[y : y + 64, x : x + 64], key))
            chained = siphash_128([w | h << 32, *words], *key.region_sip)
    return chained
