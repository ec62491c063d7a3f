"""Finds text where it is not written on plain ground (pictures, gradients): a network's map of text, cut into boxes.

    pixels ─► 1/255, mean and deviation of ImageNet ─► map (h, w) in 0 … 1 ─► ≥ 0.3 ─► components ─► grown boxes

Tens of times slower than `blocks.py`, which sees all text of an ordinary interface. After Liao et al., "Real-time
scene text detection with differentiable binarization", AAAI 2020: the map is of shrunk text, so boxes are grown by
area over perimeter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.runs import bounds, find_runs, label
from kernels.gate.word import GateToken
from runtime.agent.geometry import Box, reading_order
from runtime.agent.inference import run_model
from runtime.backends.protocol import Model

STRIDE = 32  # the network's sides are multiples of it
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_LEAST, _LEAST_MEAN = 0.3, 0.5
_GROWN = 1.6


class TextDetector:
    """Holds one detector. Its input is (n, 3, height, width), blue, green, red as PP-OCR was trained."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._input = model.inputs[0].name

    def find(self, pixels: NDArray[np.uint8], gate: GateToken | None) -> list[Box]:
        """Returns the boxes of text lines of BGRX `pixels` (h, w, 4) in reading order. Raises GateClosed."""
        height, width = pixels.shape[:2]
        if height < STRIDE or width < STRIDE:
            return []
        chances = run_model(self._model, {self._input: detector_image(pixels)}, gate)[0][0, 0, :height, :width]
        return boxes_of(chances)


def detector_image(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns float32 (1, 3, H, W) for pixels (h, w, 4): sides raised to multiples of 32 by repeating the edge."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels[..., :3], ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
    scaled = (padded.astype(np.float32) * np.float32(1 / 255) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


def boxes_of(chances: NDArray[np.float32]) -> list[Box]:
    """Returns the boxes of text in a map float32 (h, w), grown back to whole letters, in reading order."""
    height, width = chances.shape
    runs = find_runs(chances >= _LEAST)
    labels = label(runs)
    boxes: list[Box] = []
    for x, y, w, h, _pixels in bounds(runs, labels).tolist():
        if min(w, h) < 3 or float(chances[y : y + h, x : x + w].mean()) < _LEAST_MEAN:
            continue
        grow = round(_GROWN * w * h / (2 * (w + h)))
        boxes.append(Box(x, y, w, h).grown(grow, width, height))
    return [boxes[index] for index in reading_order(boxes)]
