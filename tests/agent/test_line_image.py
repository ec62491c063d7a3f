"""The line image: equal to OpenCV's cubic interpolation where it enlarges, an average where it shrinks."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.agent.geometry import Box
from runtime.agent.line_image import line_image

cv2 = pytest.importorskip("cv2")


@pytest.mark.parametrize(("w", "h"), [(40, 8), (150, 12), (300, 30)])
def test_enlarging_is_opencvs_cubic(w: int, h: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (h + 40, w + 40, 4), dtype=np.uint8)
    image = line_image(pixels, Box(20, 20, w, h), 48, 1600)
    margin = max(1, round(0.12 * h))
    crop = pixels[20 - margin : 20 + h + margin, 20 - margin : 20 + w + margin, :3]
    expected = cv2.resize(crop, (image.shape[2], 48), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 127.5 - 1
    assert image.dtype == np.float32
    assert np.abs(image - expected.transpose(2, 0, 1)).max() <= 2 / 127.5  # OpenCV rounds its weights to 11 bits


def test_shrinking_averages() -> None:
    stripes = np.zeros((200, 400, 4), dtype=np.uint8)
    stripes[:, ::2] = 255
    image = line_image(stripes, Box(20, 20, 360, 160), 48, 1600)
    assert np.abs(image[:, 8:-8, 8:-8]).max() < 0.15


def test_the_screens_edge_is_repeated_and_long_lines_are_squeezed() -> None:
    pixels = np.full((20, 3000, 4), 128, dtype=np.uint8)
    image = line_image(pixels, Box(0, 0, 3000, 20), 48, 1600)
    assert image.shape == (3, 48, 1600)
    assert np.abs(image - (128 / 127.5 - 1)).max() < 1e-4
