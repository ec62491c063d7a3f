"""Frames: the resize of a screen, with and without the hashes of its tiles, and what changed, by variant."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kernels.frames.arguments import available_variants
from kernels.frames.resize import resize_and_hash, resize_area
from kernels.frames.tiles import changed_tiles, tile_hashes

KEY = bytes(range(16))
SIZE = (360, 640)
FRAME = np.random.default_rng(1).integers(0, 256, (1080, 1920, 4), dtype=np.uint8)


@pytest.mark.parametrize("variant", available_variants()[1:])
def test_resize(benchmark: BenchmarkFixture, variant: str) -> None:
    out = np.empty((3, *SIZE), np.int8)
    benchmark.group = "1080p to 640x360"
    benchmark(resize_area, FRAME, SIZE, zero_point=-128, out=out, variant=variant)


def test_resize_with_hashes(benchmark: BenchmarkFixture) -> None:
    out = np.empty((3, *SIZE), np.int8)
    benchmark.group = "1080p to 640x360"
    benchmark(resize_and_hash, FRAME, SIZE, KEY, zero_point=-128, out=out)


@pytest.mark.parametrize("variant", available_variants()[1:])
def test_changes(benchmark: BenchmarkFixture, variant: str) -> None:
    known = tile_hashes(FRAME, KEY)
    benchmark.group = "changed tiles"
    benchmark(changed_tiles, FRAME, known, KEY, variant=variant)
