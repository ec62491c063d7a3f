"""What the kernel says of boxes equals the model's, and what wrong arguments get."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.frames import relations as kernel
from kernels.frames.arguments import native
from tests.kernels.frames import relations_model as model


@st.composite
def screens(draw: st.DrawFn) -> tuple[NDArray[np.int64], np.random.Generator]:
    """Boxes, many of them aligned, of one size, or in each other; and dice for all else."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, grid = draw(st.integers(1, 112)), draw(st.sampled_from([1, 7, 20]))
    places, sizes = rng.integers(0, 300 // grid, (count, 2)) * grid, rng.integers(0, 120 // grid + 1, (count, 2)) * grid
    boxes = np.concatenate((places, sizes), axis=1)
    return boxes + rng.integers(-3, 4, boxes.shape).clip(-boxes, None) * (rng.random() < 0.5), rng


@given(screens())
def test_equal_to_the_model(made: tuple[NDArray[np.int64], np.random.Generator]) -> None:
    boxes, rng = made
    count = len(boxes)
    kinds, lines = rng.integers(0, 3, count), rng.integers(-1, 5, count)
    fills = rng.choice(np.array([0, 5, 12, 255], np.uint8), (count, 3))
    wanted = model.count_like(boxes, kinds, fills, lines)
    np.testing.assert_array_equal(kernel.count_like(boxes, kinds, fills, lines), wanted)
    chosen = rng.random(count) < rng.choice([0, 0.1, 0.7])
    for mine, right in zip(kernel.nearest(boxes, chosen), model.nearest(boxes, chosen), strict=True):
        np.testing.assert_array_equal(mine, right)
    for is_larger in (False, True):
        wanted = model.smallest_around(boxes, chosen, is_larger)
        np.testing.assert_array_equal(kernel.smallest_around(boxes, chosen, is_larger), wanted)


@given(screens())
def test_pairs_equal_the_models_and_stay_in_their_place(made: tuple[NDArray[np.int64], np.random.Generator]) -> None:
    boxes, rng = made
    count = len(boxes)
    places = (boxes / 100).astype(np.float32)
    spelled, links = rng.integers(0, 4, count), np.full((count, 2), -1, np.float32)
    links[:, 0] = rng.integers(-1, 3, count)
    links[:, 1] = np.where(rng.random(count) < 0.3, rng.integers(0, count, count), -1)
    room = np.zeros((27, count + 5, count + 3), np.float32)
    kernel.box_pairs(places, spelled, links, room[:, 2 : 2 + count, 1 : 1 + count])
    np.testing.assert_array_equal(room[:26, 2 : 2 + count, 1 : 1 + count], model.box_pairs(places, spelled, links))
    room[:26, 2 : 2 + count, 1 : 1 + count] = 0
    assert not room.any()


def test_no_boxes_are_nothing() -> None:
    assert kernel.count_like([], [], [], []).shape == (0, kernel.COUNTS)
    assert [len(part) for part in kernel.nearest([], [])] == [0, 0]
    assert kernel.smallest_around([], []).tolist() == []


def test_wrong_arguments_are_refused() -> None:
    boxes = [(0, 0, 5, 5), (9, 0, 5, 5)]
    with pytest.raises(ValueError, match="has n elements"):
        kernel.count_like(boxes, [1], [(0, 0, 0)] * 2, [-1, -1])
    with pytest.raises(ValueError, match=r"fills must be \(n, 3\)"):
        native.count_like(
            np.zeros((1, 4), np.int32), np.zeros(1, np.int32), np.zeros((1, 2), np.uint8), np.zeros(1, np.int32),
            np.zeros((1, 9), np.int32),
        )  # fmt: skip
    with pytest.raises(ValueError, match="has n elements"):
        kernel.nearest(boxes, [True])
    with pytest.raises(ValueError, match="has n elements"):
        kernel.smallest_around(boxes, [True])
    places, spelled, links = np.zeros((2, 4), np.float32), np.zeros(2, np.int64), np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="places must be"):
        kernel.box_pairs(places, spelled[:1], links, np.zeros((26, 2, 2), np.float32))
    with pytest.raises(ValueError, match="pairs must be"):
        kernel.box_pairs(places, spelled, links, np.zeros((25, 2, 2), np.float32))
