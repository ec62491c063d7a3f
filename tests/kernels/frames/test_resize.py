"""The resize: every variant gives the bits of the model, and the model is what an exact area average gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.frames.arguments import available_variants
from kernels.frames.resize import crop_resize, resize_and_hash, resize_area
from kernels.frames.tiles import tile_hashes
from kernels.gate.word import GateClosed, GateReader
from kernels.gate.writer import GateWriter
from tests.kernels.frames import resize_model

KEY = bytes(32)
VARIANTS = available_variants()
SIZES = [
    ((30, 40), (30, 40)),
    ((30, 48), (10, 16)),
    ((37, 61), (13, 20)),
    ((64, 100), (1, 2)),
    ((15, 144), (5, 48)),
    ((9, 7), (20, 33)),
    ((1, 1), (5, 5)),
    ((20, 130), (25, 50)),
    ((40, 5), (17, 5)),
]

extents = st.integers(1, 90)
seeds = st.integers(0, 2**32 - 1)


def frame_of(shape: tuple[int, int], seed: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 4), dtype=np.uint8)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_every_variant_is_the_model(variant: str, shape: tuple[int, int], size: tuple[int, int]) -> None:
    frame = frame_of(shape)
    # scale 1 and zero point -128: shift 6, multiplier 16384 (half), offset -128 * 64 + 32
    levels = ((resize_model.fixed(frame, size) * 16384 + (1 << 14)) >> 15) - 128 * 64 + 32 >> 6
    expected = np.clip(levels, -128, 127).astype(np.int8).transpose(2, 0, 1)
    planes = resize_area(frame, size, zero_point=-128, variant=variant)
    assert np.array_equal(planes, expected[[2, 1, 0]])
    assert np.array_equal(resize_area(frame, size, zero_point=-128, order="bgr", variant=variant), expected[:3])


@given(shape=st.tuples(extents, extents), size=st.tuples(extents, extents), seed=seeds, data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_variant_is_the_reference(
    shape: tuple[int, int], size: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    frame = frame_of((shape[0], shape[1] + 3), seed)[:, 2:-1]
    if min(size[0] * 64 - shape[0], size[1] * 64 - shape[1]) < 0:
        return
    arguments: dict[str, Any] = {
        "mean": data.draw(st.sampled_from([0.0, 127.5, (123.7, 116.3, 103.5)])),
        "scale": data.draw(st.sampled_from([0.02, 0.5, 1.0, (1.1, 0.9, 0.013), 7.0])),
        "dtype": data.draw(st.sampled_from([np.int8, np.uint8])),
        "zero_point": data.draw(st.sampled_from([-128, 0, 3])),
        "order": data.draw(st.sampled_from(["rgb", "bgr"])),
    }
    expected = resize_area(frame, size, variant="scalar", **arguments)
    for variant in VARIANTS[1:]:
        assert np.array_equal(resize_area(frame, size, variant=variant, **arguments), expected), variant


@given(
    size=st.tuples(st.integers(1, 14), st.integers(1, 9).map(lambda steps: 16 * steps)),
    order=st.sampled_from(["rgb", "bgr"]),
    dtype=st.sampled_from([np.int8, np.uint8]),
    seed=seeds,
    black_white=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_thirds_are_the_reference(size: tuple[int, int], order: str, dtype: type, seed: int, black_white: bool) -> None:
    """The step of its own that a frame takes which shrinks threefold, alone and by bands of tiles."""
    frame = frame_of((3 * size[0], 3 * size[1] + 3), seed)[:, 2:-1]
    if black_white:
        frame = (frame > 127) * np.uint8(255)
    arguments: dict[str, Any] = {"mean": (123.7, 116.3, 103.5), "scale": (1.1, 0.9, 2), "dtype": dtype, "order": order}
    expected = resize_area(frame, size, variant="scalar", **arguments)
    hashes = tile_hashes(frame, KEY, variant="scalar")
    for variant in VARIANTS[1:]:
        assert np.array_equal(resize_area(frame, size, variant=variant, **arguments), expected), variant
        planes, tiles = resize_and_hash(frame, size, KEY, variant=variant, **arguments)
        assert np.array_equal(planes, expected), variant
        assert np.array_equal(tiles, hashes), variant


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_a_plain_frame_stays_plain(variant: str, value: int) -> None:
    """Also the proof that nothing overflows at the ends of the range, at every ratio up to 64 and beyond 1."""
    frame = np.full((64, 128, 4), value, np.uint8)
    for size in [(1, 2), (2, 3), (5, 7), (33, 63), (63, 65), (64, 128), (65, 129), (200, 300)]:
        assert (resize_area(frame, size, dtype=np.uint8, variant=variant) == value).all(), size
    assert (resize_area(frame[:63, :96], (21, 32), dtype=np.uint8, variant=variant) == value).all()


@given(shape=st.tuples(extents, extents), size=st.tuples(extents, extents), seed=seeds, black_white=st.booleans())
@settings(max_examples=100, deadline=None)
def test_it_is_an_exact_area_average(
    shape: tuple[int, int], size: tuple[int, int], seed: int, black_white: bool
) -> None:
    if min(size[0] * 64 - shape[0], size[1] * 64 - shape[1]) < 0:
        return
    frame = frame_of(shape, seed)
    if black_white:
        frame[:] = (frame > 127) * np.uint8(255)
    error = resize_area(frame, size, dtype=np.uint8, order="bgr") - resize_model.exact(frame, size)
    # Half a step of rounding; the pixels of up to 66 taps lose up to half a unit of 1/128 level each.
    assert np.abs(error).max() <= 0.5 + 0.3


def test_on_screen_sizes_it_is_within_a_twentieth_of_a_level() -> None:
    frame = frame_of((270, 100))  # a quarter of 1080p, for the emulator's sake: the ratios are what counts
    for size in [(90, 33), (112, 50), (180, 75)]:
        error = resize_area(frame, size, dtype=np.uint8, order="bgr") - resize_model.exact(frame, size)
        assert np.abs(error).max() <= 0.55


@pytest.mark.parametrize("size", [(100, 160), (90, 70), (77, 131)])
def test_opencv_agrees(size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    frame = frame_of((300, 480))
    theirs = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA).transpose(2, 0, 1)[:3].astype(int)
    assert np.abs(theirs - resize_area(frame, size, dtype=np.uint8, order="bgr")).max() <= 1


def test_normalisation_is_the_formula() -> None:
    frame = frame_of((40, 40))
    mean, scale, zero_point = (123.675, 116.28, 103.53), (58.395 / 60, 57.12 / 60, 57.375 / 60), -7
    planes = resize_area(frame, (40, 40), mean=mean, scale=scale, zero_point=zero_point)
    levels = frame[:, :, 2::-1].transpose(2, 0, 1).astype(float)
    ideal = (levels - np.array(mean)[:, None, None]) / np.array(scale)[:, None, None] + zero_point
    assert np.abs(planes - np.clip(ideal, -128, 127)).max() <= 0.5 + 0.05


@given(shape=st.tuples(st.integers(1, 200), st.integers(1, 200)), size=st.tuples(extents, extents), seed=seeds)
@settings(max_examples=50, deadline=None)
def test_one_pass_gives_what_two_give(shape: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    if min(size[0] * 64 - shape[0], size[1] * 64 - shape[1]) < 0:
        return
    frame = frame_of(shape, seed)
    for variant in VARIANTS:
        planes, hashes = resize_and_hash(frame, size, KEY, zero_point=-128, variant=variant)
        assert np.array_equal(planes, resize_area(frame, size, zero_point=-128, variant=variant))
        assert np.array_equal(hashes, tile_hashes(frame, KEY, variant=variant))


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 50), st.integers(1, 64), st.integers(1, 50)), max_size=6
    ),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
@settings(max_examples=50, deadline=None)
def test_a_box_is_the_frame_cut_out(boxes: list[tuple[int, int, int, int]], size: tuple[int, int]) -> None:
    frame = frame_of((100, 124))
    for variant in VARIANTS:
        found = crop_resize(frame, np.array(boxes, np.int32).reshape(-1, 4), size, mean=7.0, variant=variant)
        assert found.shape == (len(boxes), 3, *size)
        for (x, y, w, h), planes in zip(boxes, found, strict=True):
            cut = frame[y : y + h, x : x + w]
            assert np.array_equal(planes, resize_area(cut, size, mean=7.0, variant=variant))


def test_out_is_filled_in_place() -> None:
    frame = frame_of((20, 20))
    out = np.zeros((3, 10, 10), np.int8)
    assert resize_area(frame, (10, 10), zero_point=-128, out=out) is out
    assert np.array_equal(out, resize_area(frame, (10, 10), zero_point=-128))


FRAME = np.zeros((100, 200, 4), np.uint8)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"size": (0, 5)}, "size is"),
    ({"size": (5, 40000)}, "size is"),
    ({"size": (1, 100)}, "100 pixels cannot become 1"),
    ({"size": (50, 3)}, "200 pixels cannot become 3"),
    ({"dtype": np.float32}, "int8 or uint8"),
    ({"order": "rbg"}, "one of rgb, bgr"),
    ({"scale": 0}, "must be positive"),
    ({"scale": (1.0, -1.0, 1.0)}, "must be positive"),
    ({"scale": (1.0, 1.0)}, "one number or three"),
    ({"mean": float("nan")}, "finite"),
    ({"scale": 1e-3}, "leave the range"),
    ({"mean": 1e9}, "leave the range"),
    ({"out": np.zeros((3, 50, 101), np.int8)}, "out must be"),
    ({"out": np.zeros((3, 50, 100), np.uint8)}, "out must be"),
    ({"out": np.zeros((3, 50, 200), np.int8)[:, :, ::2]}, "out must be"),
    ({"variant": "mmx"}, "no variant called 'mmx'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resize_area(FRAME, **({"size": (50, 100)} | change))


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 1), (0, 0, 1, 0), (-1, 0, 5, 5), (196, 0, 5, 5), (0, 96, 5, 5), (0, 0, 2**31 - 1, 5)]
)
def test_wrong_boxes_are_refused_by_number(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"box 1: .* leaves the frame of 200x100"):
        crop_resize(FRAME, np.array([(0, 0, 5, 5), box], np.int32), (5, 5))


def test_boxes_that_shrink_too_far_and_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"box 0: 200x1 cannot become 2x2"):
        crop_resize(FRAME, np.array([(0, 0, 200, 1)], np.int32), (2, 2))
    for boxes in (np.zeros((1, 4)), np.zeros((4,), np.int32), [[0, 0, 1, 1]]):
        with pytest.raises(TypeError, match="int32 array"):
            crop_resize(FRAME, boxes, (2, 2))  # type: ignore[arg-type]


def test_a_closed_gate_stops_every_pass(tmp_path: Path) -> None:
    with GateWriter(tmp_path / "gate") as writer:
        gate = GateReader(tmp_path / "gate").token(writer.gate_epoch)
        with pytest.raises(GateClosed):
            resize_area(FRAME, (10, 10), gate=gate)
        with pytest.raises(GateClosed):
            resize_and_hash(FRAME, (10, 10), KEY, gate=gate)
        with pytest.raises(GateClosed):
            crop_resize(FRAME, np.array([(0, 0, 5, 5)], np.int32), (10, 10), gate=gate)
