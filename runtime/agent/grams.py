"""Words as sets of hashed letter groups, so that likeness of spelling is a product of matrices.

    "Submit" ─► ^submit$ (whole) · ^su sub ubm bmi mit it$ (groups of three) ─► numbers below BUCKETS

Case is left out here and compared apart. Hash: CRC-32, the same in every process.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BUCKETS = 4096
COMPARED = 512  # buckets of the vectors that are compared
MOST_GRAMS = 24  # of a token; what is longer is cut
_ALIKE = str.maketrans("il1|0o5s8b2z9q6g", "1111oossbbzzqqgg")  # characters that readers confuse


@lru_cache(maxsize=16384)
def grams(word: str) -> tuple[int, ...]:
    """Returns the buckets of a word: the whole first, then its groups of three letters."""
    bounded = f"^{word.lower()}$"
    parts = [bounded, *(bounded[place : place + 3] for place in range(len(bounded) - 2))]
    return tuple(zlib.crc32(part.encode()) % (BUCKETS - 1) + 1 for part in parts)[:MOST_GRAMS]


@lru_cache(maxsize=16384)
def _compared(word: str) -> tuple[int, ...]:
    bounded = f"^{word.lower().translate(_ALIKE)}$"
    return tuple(zlib.crc32(bounded[place : place + 2].encode()) % COMPARED for place in range(len(bounded) - 1))


def padded(texts: list[str]) -> NDArray[np.uint16]:
    """Returns (n, MOST_GRAMS) u16: the buckets of all words of each text, 0 where there are no more."""
    made = np.zeros((len(texts), MOST_GRAMS), dtype=np.uint16)
    for row, text in enumerate(texts):
        words = text.split()
        if not words:
            continue
        most = max(3, MOST_GRAMS // len(words))
        found = [gram for word in words for gram in grams(word)[:most]][:MOST_GRAMS]
        made[row, : len(found)] = found
    return made


def spelling(words: list[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns how often each word has each pair of letters (n, COMPARED), whole numbers, and each row's length (n)."""
    found = [_compared(word) for word in words]
    rows = np.repeat(np.arange(len(words)), [len(one) for one in found])
    places = np.array([place for one in found for place in one], dtype=np.int64)
    counts = np.bincount(rows * COMPARED + places, minlength=len(words) * COMPARED)
    made = counts.reshape(len(words), COMPARED).astype(np.float32)
    return made, np.sqrt((made * made).sum(axis=1))


def spelled_alike(
    words: tuple[NDArray[np.float32], NDArray[np.float32]], names: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Returns (n, m): how alike the words and the names of two `spelling`s are spelled, in 0 … 1 (the cosine). Sums of
    whole numbers are exact, so two words are always equally alike, whatever they are compared with besides."""
    alike: NDArray[np.float32] = words[0] @ names[0].T / np.maximum(words[1][:, None] * names[1], np.float32(1e-6))
    return alike
