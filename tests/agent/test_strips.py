"""Lines as strips: contrast against the ground, native scale, one height."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.agent.strips import HEIGHT, INK_HEIGHT, MARGIN, STEP, WIDEST, contrast, ink_box, strip


def line(height: int, width: int, value: int = 200) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    ink = np.zeros((height, width), dtype=np.uint8)
    ink[:, ::3] = value
    return ink


def test_dark_on_light_light_on_dark_and_colour_are_the_same() -> None:
    shape = np.zeros((9, 20), dtype=bool)
    shape[2:7, 4:6] = True
    dark, light = np.full((9, 20, 4), 250, np.uint8), np.full((9, 20, 4), 10, np.uint8)
    dark[shape], light[shape] = 50, 210
    assert (contrast(dark, (250, 250, 250)) == 200 * shape).all()
    assert (contrast(light, (10, 10, 10)) == 200 * shape).all()


def test_small_text_keeps_its_scale_and_stands_in_the_middle() -> None:
    made = strip(line(9, 21))
    assert made.shape == (HEIGHT, 32)
    assert made.max() == 255
    box = ink_box(made)
    assert box is not None
    assert (box.x, box.h) == (MARGIN, 9)
    assert abs(box.y - (HEIGHT - box.bottom)) <= 1


@pytest.mark.parametrize("height", [19, 24, 40, 72])
def test_tall_text_is_shrunk(height: int) -> None:
    made = strip(np.full((height, 4 * height), 90, dtype=np.uint8))
    box = ink_box(made)
    assert box is not None
    assert box.h == INK_HEIGHT
    assert abs(box.w - 4 * INK_HEIGHT) <= 1


@pytest.mark.parametrize("width", [1, 7, 8, 9, 200, 5000])
def test_widths_are_of_few_sizes_and_bounded(width: int) -> None:
    made = strip(line(10, width))
    assert made.shape[1] % STEP == 0
    assert made.shape[1] <= WIDEST + STEP


def test_nothing_has_no_box() -> None:
    assert ink_box(np.zeros((4, 4), dtype=np.uint8)) is None
    assert strip(np.zeros((4, 4), dtype=np.uint8)).max() == 0
