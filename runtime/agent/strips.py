"""A line of text as the small reader takes it: contrast against its ground, 24 pixels high, in its own width.

    pixels ─► how far each differs from the ground ─► ink at most 18 high (taller is shrunk) ─► centred in 24 rows

Dark on light, light on dark and colours are the same after the first step. Small text is never enlarged: at its native
scale a capital differs from its small letter by its height. Values are 0 … 255, 255 the strongest ink of the line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.agent.geometry import Box
from runtime.agent.line_image import resampled

HEIGHT = 24
INK_HEIGHT = 18  # of HEIGHT; a line whose ink is taller is shrunk to it
MARGIN = 4  # empty columns at both ends
WIDEST = 640  # columns; a longer line is cut
STEP = 16  # widths are multiples of it, so that a few shapes serve all lines


def contrast(pixels: NDArray[np.uint8], paper: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Returns (h, w) u8: the largest difference of a channel of BGR(X) `pixels` (h, w, ≥ 3) from the ground `paper`
    (blue, green, red)."""
    part = pixels[..., :3]
    ground = np.array(paper, dtype=np.uint8)
    difference = np.maximum(part, ground) - np.minimum(part, ground)
    strongest: NDArray[np.uint8] = difference.max(axis=2)
    return strongest


def strip(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns (HEIGHT, W) u8 for the contrast `ink` (h, w) of one line, cropped to its ink."""
    height, width = ink.shape
    if height > INK_HEIGHT:
        target = max(1, round(width * INK_HEIGHT / height))
        small = resampled(ink[..., None].astype(np.float32), INK_HEIGHT)
        small = resampled(small.transpose(1, 0, 2), target).transpose(1, 0, 2)[..., 0]
        ink = small.clip(0, 255).astype(np.uint8)
        height, width = ink.shape
    width = min(width, WIDEST - 2 * MARGIN)
    columns = -(-(width + 2 * MARGIN) // STEP) * STEP
    made = np.zeros((HEIGHT, columns), dtype=np.uint8)
    strongest = max(1, int(ink.max(initial=0)))
    top = (HEIGHT - height) // 2
    scaled = ink[:, :width].astype(np.uint16) * 255 // strongest
    made[top : top + height, MARGIN : MARGIN + width] = scaled.astype(np.uint8)
    return made


def ink_box(ink: NDArray[np.uint8], least: int = 40) -> Box | None:
    """Returns the box of all that differs from the ground by `least`; None where nothing does."""
    rows = np.flatnonzero((ink >= least).any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero((ink >= least).any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)
