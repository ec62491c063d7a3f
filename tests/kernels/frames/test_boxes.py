"""What the kernel takes from boxes equals the model's, bit for bit; and what wrong arguments and a closed gate get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.frames import boxes as kernel
from kernels.frames.arguments import native
from kernels.gate.word import GateClosed, GateReader
from kernels.gate.writer import GateWriter
from tests.kernels.frames import boxes_model as model

Pixels = NDArray[np.uint8]
KEY = bytes(range(16))


@st.composite
def screens(draw: st.DrawFn) -> tuple[Pixels, list[model.Box], list[int]]:
    """A screen of few or many colours, boxes on it and over its edges, and a colour for each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 90))
    levels = draw(st.sampled_from([2, 3, 256]))
    pixels = (rng.integers(0, levels, (height, width, 4)) * (255 // (levels - 1))).astype(np.uint8)
    count = draw(st.integers(1, 9))
    places = np.stack([rng.integers(0, width + 3, count), rng.integers(0, height + 3, count)], axis=1)
    sizes = np.stack([rng.integers(0, width + 5, count), rng.integers(0, height + 5, count)], axis=1)
    boxes = [tuple(row) for row in np.concatenate((places, sizes), axis=1).tolist()]
    return pixels, boxes, rng.integers(0, 1 << 24, count).tolist()


@given(screens())
def test_equal_to_the_model(made: tuple[Pixels, list[model.Box], list[int]]) -> None:
    pixels, boxes, colours = made
    pairs = list(zip(boxes, colours, strict=True))
    assert kernel.strongest(pixels, boxes, colours).tolist() == [model.strongest(pixels, *pair) for pair in pairs]
    assert kernel.crcs(pixels, boxes) == [model.crc(pixels, box) for box in boxes]
    np.testing.assert_array_equal(kernel.contrast(pixels), model.contrast(pixels))
    mine, wanted = kernel.thumbnails(pixels, boxes, colours), model.thumbnails(pixels, boxes, colours)
    np.testing.assert_array_equal(mine.view(np.uint32), wanted.view(np.uint32))


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(0, 30), st.integers(0, 12))
def test_contrast_with_a_shaded_ground_equals_the_model(seed: int, height: int, step: int, noise: int) -> None:
    rng = np.random.default_rng(seed)
    shades = rng.integers(0, 256, 4) + step * rng.uniform(-1, 1, 4) * np.arange(height)[:, None]
    pixels = np.repeat(shades[:, None], 20, axis=1) + rng.integers(-noise, noise + 1, (height, 20, 4))
    pixels = pixels.clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(kernel.contrast(pixels), model.contrast(pixels))


def test_letters_on_a_shaded_face_differ_from_their_own_row() -> None:
    pixels = np.zeros((12, 30, 4), np.uint8)
    pixels[..., :3] = (np.array([110, 215, 255]) - 5 * np.arange(12)[:, None])[:, None]
    pixels[3:9, 5:25:4, :3] = 0
    made = kernel.contrast(pixels)
    assert not made[pixels.any(axis=2)].any()
    assert (made[3:9, 5:25:4] > 180).all()


@given(screens())
def test_names_tell_contents_and_sizes_apart(made: tuple[Pixels, list[model.Box], list[int]]) -> None:
    pixels, boxes, _ = made
    named: dict[bytes, tuple[tuple[int, ...], bytes]] = {}
    for box, name in zip(boxes, kernel.names(pixels, boxes, KEY), strict=True):
        crop = model.crop_of(pixels, box)
        shape = crop.shape if crop.size else (min(crop.shape[:2]),)
        content = (shape, crop.tobytes())
        if crop.size:
            assert named.setdefault(name, content) == content
    moved = np.ascontiguousarray(np.pad(pixels, ((2, 0), (3, 0), (0, 0))))
    moved[..., 3] = 77
    elsewhere = [(x + 3, y + 2, w, h) for x, y, w, h in boxes]
    assert kernel.names(moved, elsewhere, KEY) == kernel.names(pixels, boxes, KEY), "place and padding mean nothing"


def test_names_hang_on_every_pixel_and_on_the_key() -> None:
    pixels = np.zeros((3, 5, 4), np.uint8)
    boxes = [(0, 0, 5, 3)]
    seen = {kernel.names(pixels, boxes, KEY)[0], kernel.names(pixels, boxes, bytes(16))[0]}
    for place in range(3 * 5 * 4):
        if place % 4 < 3:
            changed = pixels.copy()
            changed.reshape(-1)[place] = 1
            seen.add(kernel.names(changed, boxes, KEY)[0])
    for box in [(0, 0, 3, 5), (0, 0, 5, 2), (0, 0, 4, 3)]:
        seen.add(kernel.names(pixels, [box], KEY)[0])
    assert len(seen) == 2 + 45 + 3


def test_no_boxes_are_nothing() -> None:
    pixels = np.zeros((3, 5, 4), np.uint8)
    assert kernel.strongest(pixels, [], []).tolist() == []
    assert kernel.crcs(pixels, []) == kernel.names(pixels, [], KEY) == []
    assert kernel.thumbnails(pixels, [], []).shape == (0, 100)


def test_wrong_arguments_are_refused() -> None:
    pixels = np.zeros((3, 5, 4), np.uint8)
    with pytest.raises(ValueError, match="has n elements"):
        kernel.strongest(pixels, [(0, 0, 1, 1)], [1, 2])
    with pytest.raises(ValueError, match=r"got the shape \(3, 5, 3\)"):
        kernel.crcs(pixels[..., :3], [(0, 0, 1, 1)])
    with pytest.raises(ValueError, match="two words"):
        kernel.names(pixels, [(0, 0, 1, 1)], bytes(8))
    with pytest.raises(ValueError, match=r"out must be \(3, 5\)"):
        native.contrast(pixels, np.zeros((3, 4), np.uint8), 0)


def test_a_closed_gate_stops_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (400, 900, 4), np.uint8)
    boxes, colours = [(0, 0, 900, 400)] * 30, [0] * 30
    with GateWriter(tmp_path / "gate") as writer:
        token = GateReader(tmp_path / "gate").token(writer.gate_epoch)
        for call in (
            lambda: kernel.strongest(pixels, boxes, colours, token),
            lambda: kernel.contrast(pixels, token),
            lambda: kernel.crcs(pixels, boxes, token),
            lambda: kernel.names(pixels, boxes, KEY, token),
            lambda: kernel.thumbnails(pixels, boxes, colours, token),
        ):
            with pytest.raises(GateClosed):
                call()
