"""Runs and their components, boxes and pixels equal the numpy model, whatever the mask; wrong arguments are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.frames import runs as kernel
from kernels.frames.arguments import native
from kernels.frames.runs import Runs
from tests.kernels.frames import runs_model as model

Mask = NDArray[np.bool_]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Noise of any density, or noise of larger blots, or stripes: many components, few large ones, long runs."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    density, blot = draw(st.sampled_from([0.0, 0.03, 0.3, 0.5, 0.8, 1.0])), draw(st.sampled_from([1, 1, 3, 9]))
    small = rng.random((-(-height // blot), -(-width // blot))) < density
    return np.repeat(np.repeat(small, blot, axis=0), blot, axis=1)[:height, :width]


def check(mask: Mask, bridge: int, diagonal: bool) -> None:
    mine, wanted = kernel.find_runs(mask, bridge), model.find_runs(mask, bridge)
    for name in ("row", "start", "end"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(wanted, name), err_msg=name)
    labels = kernel.label(mine, diagonal)
    np.testing.assert_array_equal(labels, model.label(wanted, mask.shape[1], diagonal))
    np.testing.assert_array_equal(kernel.bounds(mine, labels), model.bounds(wanted, labels))
    chosen = labels % 2 == 0
    np.testing.assert_array_equal(
        kernel.paint(mine, chosen, mask.shape), model.paint(wanted, chosen, (mask.shape[0], mask.shape[1]))
    )


@given(masks(), st.integers(0, 9), st.booleans())
def test_equal_to_the_model(mask: Mask, bridge: int, diagonal: bool) -> None:
    check(mask, bridge, diagonal)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("shape", [(64, 65), (1, 300), (300, 1)])
def test_shapes_that_wind(shape: tuple[int, int], diagonal: bool) -> None:
    """A spiral, a comb and a chequerboard: components that only the last rows join."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    ring = np.minimum(np.minimum(y, x), np.minimum(shape[0] - 1 - y, shape[1] - 1 - x))
    for mask in (
        (ring % 2 == 0) ^ ((x == y + 1) & (ring % 4 < 2)),
        (x % 2 == 0) | (y == shape[0] - 1),
        (x + y) % 2 == 0,
    ):
        check(mask, 0, diagonal)


def test_a_view_and_bytes_that_are_not_one() -> None:
    """A mask may be cut from another or transposed; a bool whose byte is 2 is set all the same."""
    whole = np.random.default_rng(5).random((50, 70)) < 0.4
    check(whole[3:40, 5:61], 2, True)
    check(whole.T, 0, False)
    odd = (whole * np.uint8(2)).view(np.bool_)
    np.testing.assert_array_equal(kernel.find_runs(odd).start, model.find_runs(whole).start)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (3, 4)])
def test_nothing_set(shape: tuple[int, int]) -> None:
    runs = kernel.find_runs(np.zeros(shape, np.bool_))
    labels = kernel.label(runs)
    assert len(runs.row) == len(labels) == 0
    assert kernel.bounds(runs, labels).shape == (0, 5)
    assert not kernel.paint(runs, np.zeros(0, np.bool_), shape).any()


def some() -> Runs:
    return kernel.find_runs(np.eye(6, 9, dtype=np.bool_))


@pytest.mark.parametrize("shape", [(5, 9), (6, 5), (0, 9)])
def test_a_run_that_leaves_the_mask_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="mask"):
        kernel.paint(some(), np.ones(6, np.bool_), shape)


def test_a_run_before_the_mask_is_refused() -> None:
    runs = Runs(some().row - 1, some().start, some().end)
    with pytest.raises(ValueError, match="a run leaves the mask"):
        kernel.paint(runs, np.ones(6, np.bool_), (6, 9))


@pytest.mark.parametrize("number", [-1, 3])
def test_labels_that_are_not_all_the_numbers_are_refused(number: int) -> None:
    labels = np.array([0, 0, 1, 1, 2, number if number < 0 else 4], np.int64)
    with pytest.raises(ValueError, match="labels"):
        kernel.bounds(some(), labels)


def test_arrays_of_other_lengths_are_refused() -> None:
    runs, short = some(), np.empty(5, np.int64)
    with pytest.raises(ValueError, match="as long as each other"):
        native.runs_label(runs.row, runs.start, short, True, np.empty(6, np.int64))
    with pytest.raises(ValueError, match="as long as the runs"):
        native.runs_label(runs.row, runs.start, runs.end, True, short)
    with pytest.raises(ValueError, match="no room"):
        native.runs_find(np.eye(6, 9, dtype=np.uint8), 0, short, short.copy(), short.copy())
    with pytest.raises(ValueError, match="as long as the runs"):
        kernel.paint(runs, np.ones(5, np.bool_), (6, 9))
