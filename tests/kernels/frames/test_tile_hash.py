"""The tile hash: every variant gives the bytes of the model, and the code below it has the distance that it claims."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.frames.arguments import active_variant, available_variants
from kernels.frames.tiles import changed_tiles, hash_region, tile_hashes
from tests.kernels.frames import tile_model

KEY = bytes(range(16))
VARIANTS = available_variants()

shapes = st.tuples(st.integers(1, 150), st.integers(1, 200))
seeds = st.integers(0, 2**32 - 1)


def frame_of(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 4), dtype=np.uint8)


def test_siphash_gives_the_authors_vectors() -> None:
    k0, k1 = (int.from_bytes(KEY[i : i + 8], "little") for i in (0, 8))
    assert tile_model.siphash_128([], k0, k1).hex() == "a3817f04ba25a8e66df67214c7550293"
    word = int.from_bytes(bytes(range(8)), "little")
    assert tile_model.siphash_128([word], k0, k1).hex() == "3b62a9ba6258f5610f83e264f31497b4"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (8, 16), (9, 17), (63, 65), (130, 70)])
def test_every_variant_is_the_model(variant: str, shape: tuple[int, int]) -> None:
    frame = frame_of(shape, 7)
    key = tile_model.Key(KEY)
    hashes = tile_hashes(frame, KEY, variant=variant)
    for row, col in np.ndindex(*hashes.shape[:2]):
        tile = frame[64 * row : 64 * row + 64, 64 * col : 64 * col + 64]
        assert hashes[row, col].tobytes() == tile_model.tile_hash(tile, key)


@given(shape=shapes, seed=seeds, left=st.integers(0, 9), upside_down=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_variant_is_the_reference_on_any_shape_and_stride(
    shape: tuple[int, int], seed: int, left: int, upside_down: bool
) -> None:
    wide = frame_of((shape[0], shape[1] + left), seed)
    frame = wide[:: -1 if upside_down else 1, left:]
    expected = tile_hashes(frame, KEY, variant="scalar")
    assert np.array_equal(expected, tile_hashes(np.ascontiguousarray(frame), KEY, variant="scalar"))
    for variant in VARIANTS[1:]:
        assert np.array_equal(tile_hashes(frame, KEY, variant=variant), expected), variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_extreme_pixels_do_not_overflow_differently(variant: str) -> None:
    for value in (0, 255):
        frame = np.full((128, 128, 4), value, np.uint8)
        assert np.array_equal(tile_hashes(frame, KEY, variant=variant), tile_hashes(frame, KEY, variant="scalar"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_bytes_are_pinned(variant: str) -> None:
    """The car and the desktop may run different builds: these bytes must never change under this version."""
    frame = np.arange(70 * 90 * 4, dtype=np.uint32).astype(np.uint8).reshape(70, 90, 4)
    assert tile_hashes(frame, KEY, variant=variant)[:, :, :4].tobytes().hex() == PINNED_TILES
    assert hash_region(frame, 3, 2, 80, 66, KEY * 2, variant=variant).hex() == PINNED_REGION


PINNED_TILES = "6ff78da8fcacc899a11410a2270cd67e"
PINNED_REGION = "4b2d9cf65758fb043a5195fd9ab3b6c3"


@given(shape=shapes, seed=seeds, data=st.data())
@settings(max_examples=60, deadline=None)
def test_one_changed_byte_changes_its_tile_only_and_padding_changes_none(
    shape: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    frame = frame_of(shape, seed)
    before = tile_hashes(frame, KEY)
    y, x, byte = (data.draw(st.integers(0, end - 1)) for end in (*shape, 4))
    frame[y, x, byte] ^= data.draw(st.integers(1, 255))
    mask, after = changed_tiles(frame, before, KEY)
    expected = np.zeros_like(mask)
    expected[y // 64, x // 64] = byte < 3
    assert np.array_equal(mask, expected)
    assert np.array_equal((before != after).any(axis=2), mask)


def test_the_size_of_a_tile_is_hashed() -> None:
    black = np.zeros((64, 64, 4), np.uint8)
    seen = {tile_hashes(black[:h, :w], KEY).tobytes() for h in range(1, 65) for w in range(1, 65)}
    assert len(seen) == 64 * 64


def test_the_key_decides() -> None:
    frame = frame_of((64, 64), 1)
    keys = [KEY, KEY[:15] + b"\0", KEY * 2, KEY + bytes(16), bytes(32)]
    assert len({tile_hashes(frame, key).tobytes() for key in keys}) == len(keys)


def test_any_column_of_pixels_that_differs_differs_in_four_symbols() -> None:
    """The code's distance is 4: no k of the 3 checks vanish together on k rows that differ.

    By Cramer: if the checks `rows` vanish on the differences d of `columns`, then det * d = 0 mod 2^32 for each of
    them; with |d| < 2^24 and 0 < |det| < 2^8 that leaves d = 0.
    """
    for size in (1, 2, 3):
        for rows in combinations(range(3), size):
            for columns in combinations(range(8), size):
                minor = [[tile_model.CHECKS[r][c] for c in columns] for r in rows]
                determinant = round(np.linalg.det(np.array(minor, dtype=float)))
                assert 0 < abs(determinant) < 2**8, (rows, columns)


@given(w=st.integers(1, 140), h=st.integers(1, 140), x=st.integers(0, 30), y=st.integers(0, 30), seed=seeds)
@settings(max_examples=25, deadline=None)
def test_a_region_is_its_pixels_and_not_its_place(w: int, h: int, x: int, y: int, seed: int) -> None:
    frame = frame_of((y + h + 5, x + w + 5), seed)
    expected = hash_region(np.ascontiguousarray(frame[y : y + h, x : x + w]), 0, 0, w, h, KEY)
    for variant in VARIANTS:
        assert hash_region(frame, x, y, w, h, KEY, variant=variant) == expected


def test_a_region_is_the_model() -> None:
    frame = frame_of((100, 140), 3)
    assert hash_region(frame, 5, 7, 130, 80, KEY) == tile_model.region_hash(frame[7:87, 5:135], tile_model.Key(KEY))


def test_the_best_variant_is_the_active_one() -> None:
    assert VARIANTS[0] == "scalar"
    assert active_variant() == VARIANTS[-1]
