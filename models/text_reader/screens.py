"""Whole UI screens rendered with Pillow: labels, buttons, fields and paragraphs at known places, light and dark.

They calibrate the detector, measure how much of the text it finds, and are what `bench/ocr.py` reads.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.text_reader.strings import Sample, render

_GAP = 14


@dataclass(frozen=True)
class RenderedScreen:
    """`pixels` uint8 (h, w, 4) BGRX; `texts` are (text, (x, y, w, h)) of every line on it."""

    pixels: NDArray[np.uint8]
    texts: tuple[tuple[str, tuple[int, int, int, int]], ...]


def screen(width: int, height: int, seed: int, most_texts: int = 400) -> RenderedScreen:
    """Renders a screen of `width` × `height` pixels, filled from top to bottom with at most `most_texts` lines."""
    dice = random.Random(seed)
    dark = dice.random() < 0.5
    ground = tuple(dice.randint(20, 50) if dark else dice.randint(235, 255) for _ in range(3))
    image = Image.new("RGB", (width, height), (ground[0], ground[1], ground[2]))
    draw = ImageDraw.Draw(image)
    texts: list[tuple[str, tuple[int, int, int, int]]] = []
    y = _GAP
    while y < height - 60 and len(texts) < most_texts:
        x, tallest = _GAP, 0
        while x < width - 40 and len(texts) < most_texts:
            sample = render(random.Random(dice.randrange(1 << 40)))
            if x + sample.pixels.shape[1] >= width or y + sample.pixels.shape[0] >= height:
                break
            texts.append((sample.text, _place(image, draw, sample, x, y, dice)))
            x += sample.pixels.shape[1] + dice.randint(_GAP, 6 * _GAP)
            tallest = max(tallest, sample.pixels.shape[0])
        y += tallest + dice.randint(_GAP // 2, 2 * _GAP)
        if not tallest:
            break
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    pixels[..., :3] = np.asarray(image)[..., ::-1]
    return RenderedScreen(pixels, tuple(texts))


def _place(
    image: Image.Image, draw: ImageDraw.ImageDraw, sample: Sample, x: int, y: int, dice: random.Random
) -> tuple[int, int, int, int]:
    """Pastes a sample at (x, y), now and then with the border of a button around it; returns the box of its ink."""
    image.paste(Image.fromarray(np.ascontiguousarray(sample.pixels[..., 2::-1])), (x, y))
    if dice.random() < 0.3:
        draw.rectangle([x - 1, y - 1, x + sample.pixels.shape[1], y + sample.pixels.shape[0]], outline=(120, 120, 120))
    left, top, w, h = sample.box
    return x + left, y + top, w, h
