"""Frames as parts and back: pixel for pixel, in step, bounded, whatever a desktop makes up."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.wire.errors import ProtocolError
from runtime.wire.framing import frame
from runtime.wire.inflate import Inflater
from runtime.wire.layout import gather_planes, gather_raw, runs, scatter_planes, scatter_raw
from runtime.wire.messages import MESSAGE_CAP, FramePart
from runtime.wire.records import RECORD, SEEN, tile_box, tile_grid
from runtime.wire.tables import CloseReason, Encoding
from runtime.wire.tiles import FAST, LOCAL, MAX_PART_BYTES, SLOW, Packing, TileMirror, TilePacker

PACKINGS = {"local": LOCAL, "fast": FAST, "slow": SLOW, "tiny parts": Packing(3, True, 1)}


def hashes_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a hash of each tile; any will do, the wire only compares them."""
    height, width = pixels.shape[:2]
    rows, columns = tile_grid(width, height)
    made = np.zeros((rows, columns, 16), np.uint8)
    for index in range(rows * columns):
        x, y, w, h = tile_box(index, width, height)
        content = pixels[y : y + h, x : x + w, :3].tobytes() + bytes([w, h])
        digest = hashlib.blake2b(content, digest_size=16).digest()
        made[index // columns, index % columns] = np.frombuffer(digest, np.uint8)
    return made


def screen(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Returns a screen with flat areas and noise, its fourth byte zero."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 4), 230, np.uint8)
    pixels[: height // 2, : width // 2] = rng.integers(0, 256, (height // 2, width // 2, 4))
    pixels[..., 3] = 0
    return pixels


def shown(packer: TilePacker, number: int, pixels: NDArray[np.uint8], **options: Any) -> list[FramePart]:
    return packer.parts(number, pixels, hashes_of(pixels), captured_ns=number, capture_us=1, **options)


@pytest.mark.parametrize("packing", PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (1, 1), (65, 130), (200, 63), (640, 480), (2200, 70)])
def test_the_mirror_shows_what_the_desktop_shows(packing: Packing, width: int, height: int) -> None:
    packer, mirror = TilePacker(packing), TileMirror()
    rng = np.random.default_rng(1)
    pixels = screen(width, height)
    for number in range(1, 8):
        if number == 4:
            pixels = screen(height, width, number)  # the screen is turned
        x, y = rng.integers(0, pixels.shape[1]), rng.integers(0, pixels.shape[0])
        before = hashes_of(pixels)
        pixels[y : y + 9, x : x + 30, :3] = rng.integers(0, 256, 3)
        parts = shown(packer, number, pixels)
        assert [mirror.apply(part) for part in parts] == [False] * (len(parts) - 1) + [True]
        assert np.array_equal(mirror.pixels, pixels)
        assert np.array_equal(mirror.hashes, hashes_of(pixels))
        if number not in (1, 4):
            assert np.array_equal(mirror.changed, (hashes_of(pixels) != before).any(axis=2))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_screens_keeps_both_sides_in_step(data: st.DataObject) -> None:
    """Small dictionaries forget all the time; sizes, packings and interest change; the mirror stays right."""
    seen_bytes = data.draw(st.sampled_from([0, 20_000, 100_000]))
    packer, mirror = TilePacker(seen_bytes=seen_bytes), TileMirror(seen_bytes=seen_bytes)
    sizes = [(130, 70), (64, 128), (300, 66)]
    for number in range(1, data.draw(st.integers(2, 8))):
        width, height = data.draw(st.sampled_from(sizes))
        packer.packing = data.draw(st.sampled_from(list(PACKINGS.values())))
        pixels = screen(width, height, data.draw(st.integers(0, 2)))
        interest = data.draw(st.sampled_from([None, (0, 0, 0, 0), (70, 3, 30, 30), (100, 60, 9000, 9)]))
        for part in shown(packer, number, pixels, interest=interest):
            assert len(frame(part)) <= MESSAGE_CAP + 4
            mirror.apply(part)
        assert np.array_equal(mirror.pixels, pixels)
        assert packer._seen.held_bytes == mirror._seen.held_bytes <= seen_bytes
        assert list(packer._seen._tiles) == list(mirror._seen._tiles)


def test_a_frame_in_which_nothing_changed_is_one_empty_part() -> None:
    packer, mirror = TilePacker(), TileMirror()
    pixels = screen(128, 64)
    for part in shown(packer, 1, pixels):
        mirror.apply(part)
    (part,) = shown(packer, 2, pixels)
    assert (len(part.tiles), len(part.data), part.last) == (0, 0, True)
    assert mirror.apply(part)
    assert not mirror.changed.any()
    assert mirror.frame == 2


def test_a_tile_that_the_car_has_had_is_only_named() -> None:
    packer, mirror = TilePacker(LOCAL), TileMirror()
    first, second = screen(64, 64, 1), screen(64, 64, 2)
    sizes = []
    for number, pixels in enumerate([first, second, first, second], 1):
        (part,) = shown(packer, number, pixels)
        mirror.apply(part)
        assert np.array_equal(mirror.pixels, pixels)
        sizes.append(len(part.data))
    assert sizes == [16_384, 16_384, 0, 0]


def test_equal_tiles_of_one_frame_are_sent_once() -> None:
    (part,) = shown(TilePacker(LOCAL), 1, np.full((64, 640, 4), 7, np.uint8))
    assert len(part.data) == 16_384
    assert np.frombuffer(part.tiles, RECORD)["flags"].tolist() == [0] + [SEEN] * 9


def test_what_is_of_interest_comes_first() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (256, 256, 4), np.uint8)
    parts = shown(TilePacker(Packing(0, False, 1)), 1, pixels, interest=(130, 190, 10, 10))
    order = [int(np.frombuffer(part.tiles, RECORD)["index"][0]) for part in parts]
    assert order == [10, 14, *[index for index in range(16) if index not in (10, 14)]]


def test_the_largest_incompressible_screen_stays_below_the_cap() -> None:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (512, 4096, 4), np.uint8)
    for packing in PACKINGS.values():
        parts = shown(TilePacker(packing), 1, pixels)
        assert max(len(frame(part)) for part in parts) <= MESSAGE_CAP + 4


def test_pixels_may_change_once_the_parts_are_made() -> None:
    pixels = screen(640, 480)
    shows = pixels.copy()
    for packing in (LOCAL, FAST):
        parts = shown(TilePacker(packing), 1, pixels)
        pixels.fill(0)
        mirror = TileMirror()
        for part in parts:
            mirror.apply(part)
        assert np.array_equal(mirror.pixels, shows)
        pixels[:] = shows


def test_hashes_of_another_size_are_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="are not those of 128x64"):
        TilePacker().parts(
            1, np.zeros((64, 128, 4), np.uint8), np.zeros((1, 1, 16), np.uint8), captured_ns=0, capture_us=0
        )


def test_wiping_leaves_no_pixel_behind() -> None:
    mirror = TileMirror()
    for part in shown(TilePacker(), 1, screen(128, 128)):
        mirror.apply(part)
    held = [mirror.pixels, *[value for _, value in mirror._seen._tiles.values()]]
    assert any(array.any() for array in held)
    mirror.wipe()
    assert not any(array.any() for array in held)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_layouts_round_trip(width: int, height: int, data: st.DataObject) -> None:
    rows, columns = tile_grid(width, height)
    indices = data.draw(st.lists(st.integers(0, rows * columns - 1), unique=True))
    which = list(runs(indices, width, height))
    assert [tile for run in which for tile in range(run.first, run.first + run.tiles)] == indices
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    raw, planes = np.zeros_like(pixels), np.zeros_like(pixels)
    scatter_raw(np.frombuffer(gather_raw(pixels, which) or b"\0", np.uint8), which, raw)
    scatter_planes(gather_planes(pixels, which), which, planes)
    for run in which:
        assert np.array_equal(raw[run.box], pixels[run.box])
        assert np.array_equal(planes[run.box][..., :3], pixels[run.box][..., :3])


def test_runs_are_bounded_and_stay_in_their_row() -> None:
    assert [(run.first, run.tiles) for run in runs(range(40), 64 * 40, 64)] == [(0, 32), (32, 8)]
    assert [(run.first, run.tiles) for run in runs([1, 2, 3, 5], 192, 128)] == [(1, 2), (3, 1), (5, 1)]


# What a desktop may make up.


def part(
    records: list[tuple[int, int, bytes]],
    data: bytes,
    *,
    encoding: Encoding = Encoding.raw,
    number: int = 1,
    size: tuple[int, int] = (128, 64),
    last: bool = True,
) -> FramePart:
    packed = b"".join(i.to_bytes(2, "little") + f.to_bytes(2, "little") + name for i, f, name in records)
    return FramePart(number, *size, 1, 1, memoryview(packed), encoding, memoryview(data), last)


def bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(bytes(size))


NAME, TILE_RAW, TILE_PLANES = b"N" * 16, bytes(16_384), bytes(12_288)
MADE_UP: dict[str, list[FramePart]] = {
    "a tile beyond the screen": [part([(2, 0, NAME)], TILE_RAW)],
    "a tile named twice": [part([(0, 0, NAME), (0, 0, NAME)], TILE_RAW * 2)],
    "a tile named again in another part": [part([(0, 0, NAME)], TILE_RAW, last=False), part([(0, 0, NAME)], TILE_RAW)],
    "too few pixels": [part([(0, 0, NAME)], TILE_RAW[:-1])],
    "too many pixels": [part([(0, 0, NAME)], TILE_RAW + b"x")],
    "pixels of nothing": [part([], b"x")],
    "an unknown flag": [part([(0, 2, NAME)], b"")],
    "a tile that was never sent": [part([(0, SEEN, NAME)], b"")],
    "a known tile of another size": [
        part([(0, 0, NAME)], TILE_RAW),
        part([(0, SEEN, NAME)], b"", number=2, size=(32, 32)),
    ],
    "a stream that was not begun": [part([(0, 0, NAME)], b"x", encoding=Encoding.zstd)],
    "a stream of garbage": [part([(0, 0, NAME)], b"garbage!", encoding=Encoding.zstd_begin)],
    "a stream cut short": [part([(0, 0, NAME)], bomb(12_288)[:-6], encoding=Encoding.zstd_begin)],
    "a stream that ends too early": [part([(0, 0, NAME)], bomb(100), encoding=Encoding.zstd_begin)],
    "a stream with more behind it": [part([(0, 0, NAME)], bomb(12_288) + bytes(200_000), encoding=Encoding.zstd_begin)],
    "a window beyond all memory": [
        part(
            [(0, 0, NAME)],
            zstandard.ZstdCompressor(
                compression_params=zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
            )
            .compressobj()
            .compress(bytes(range(256)) * 1_000),
            encoding=Encoding.zstd_begin,
        )
    ],
    "another frame in between": [part([(0, 0, NAME)], TILE_RAW, last=False), part([(1, 0, NAME)], TILE_RAW, number=2)],
    "more pixels than a part may hold": [
        part([(index, 0, NAME) for index in range(61)], bytes(61 * 16_384), size=(64 * 61, 64))
    ],
}


@pytest.mark.parametrize("name", MADE_UP)
def test_what_a_desktop_makes_up_is_refused(name: str) -> None:
    mirror = TileMirror()
    *before, wrong = MADE_UP[name]
    for each in before:
        mirror.apply(each)
    with pytest.raises(ProtocolError) as raised:
        mirror.apply(wrong)
    assert raised.value.reason is CloseReason.bad_frame


def test_a_bomb_gives_no_more_than_was_asked_for() -> None:
    inflated = Inflater().inflate(memoryview(bomb(1 << 26)), 12_288, is_new=True)
    assert inflated.nbytes == 12_288


def test_no_part_asks_for_more_than_fits() -> None:
    assert MAX_PART_BYTES < MESSAGE_CAP
