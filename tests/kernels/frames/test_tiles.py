"""The face of the tile kernels: what it returns without a past, and what wrong arguments and a closed gate get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.frames.tiles import HASH_BYTES, TILE, changed_tiles, grid, hash_region, tile_hashes
from kernels.gate.word import GateClosed, GateReader, State
from kernels.gate.writer import GateWriter

KEY = bytes(16)
FRAME = np.zeros((100, 200, 4), np.uint8)


def test_the_shape_is_the_grid() -> None:
    assert (TILE, HASH_BYTES) == (64, 16)
    assert grid(1080, 1920) == (17, 30)
    assert tile_hashes(FRAME, KEY).shape == (2, 4, 16)


def test_without_a_past_everything_has_changed() -> None:
    mask, hashes = changed_tiles(FRAME, None, KEY)
    assert mask.all()
    assert not changed_tiles(FRAME, hashes, KEY)[0].any()
    assert changed_tiles(FRAME[:60], hashes, KEY)[0].tolist() == [[True] * 4]


def test_a_read_only_frame_is_good_enough() -> None:
    frame = FRAME.copy()
    frame.flags.writeable = False
    assert np.array_equal(tile_hashes(frame, KEY), tile_hashes(FRAME, KEY))


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (b"pixels", TypeError, "got bytes"),
        (FRAME.astype(np.int8), TypeError, "got int8 array"),
        (FRAME[:, :, :3], ValueError, r"got the shape \(100, 200, 3\)"),
        (FRAME[0], ValueError, r"got the shape \(200, 4\)"),
        (FRAME[:0], ValueError, r"got the shape \(0, 200, 4\)"),
        (FRAME[:, ::2], ValueError, "must lie together"),
        (FRAME[:, :, ::-1], ValueError, "must lie together"),
        (np.lib.stride_tricks.as_strided(FRAME, (40000, 1, 4), (0, 4, 1)), ValueError, "32768 rows"),
    ],
)
def test_wrong_frames_are_refused(frame: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tile_hashes(frame, KEY)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(31), bytes(64), bytearray(16), "0" * 16])
def test_wrong_keys_are_refused(key: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"16 or 32 bytes|unhashable"):
        tile_hashes(FRAME, key)  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 0, 5, -1), (-1, 0, 5, 5), (0, 96, 5, 5), (196, 0, 5, 5)])
def test_regions_outside_the_frame_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="is empty or leaves the frame of 200x100"):
        hash_region(FRAME, *box, KEY)


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'sse9'.*scalar"):
        tile_hashes(FRAME, KEY, variant="sse9")


def test_a_closed_gate_stops_the_pass(tmp_path: Path) -> None:
    with GateWriter(tmp_path / "gate") as writer:
        token = GateReader(tmp_path / "gate").token(writer.gate_epoch)
        assert GateReader(tmp_path / "gate").read().state is State.CLOSED
        with pytest.raises(GateClosed):
            tile_hashes(FRAME, KEY, gate=token)
