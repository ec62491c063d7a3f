"""Screens for tests: frames drawn with Pillow, hashed tile by tile as a desktop would."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from kernels.frames.tiles import HASH_BYTES, TILE, grid
from runtime.desktop.frame import Frame

SANS = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"


class Canvas:
    """A screen to draw on. Colours are (red, green, blue)."""

    def __init__(self, width: int = 320, height: int = 240, paper: tuple[int, int, int] = (255, 255, 255)) -> None:
        self.image = Image.new("RGB", (width, height), paper)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self, x: int, y: int, text: str, size_px: int = 13, ink: tuple[int, int, int] = (0, 0, 0)
    ) -> tuple[int, int, int, int]:
        """Draws `text` and returns its ink's box x, y, w, h."""
        font = ImageFont.truetype(SANS, size_px)
        self._draw.text((x, y), text, fill=ink, font=font)
        left, top, right, bottom = self._draw.textbbox((x, y), text, font=font)
        return int(left), int(top), int(right - left), int(bottom - top)

    def box(
        self,
        x: int,
        y: int,
        w: int,
        h: int,
        line: tuple[int, int, int] = (90, 90, 90),
        fill: tuple[int, int, int] | None = None,
    ) -> None:
        self._draw.rectangle([x, y, x + w - 1, y + h - 1], outline=line, fill=fill)

    def rounded(
        self, x: int, y: int, w: int, h: int, radius: int, line: tuple[int, int, int], fill: tuple[int, int, int]
    ) -> None:
        self._draw.rounded_rectangle([x, y, x + w - 1, y + h - 1], radius, outline=line, fill=fill)

    def ring(self, x: int, y: int, size: int, line: tuple[int, int, int] = (90, 90, 90)) -> None:
        self._draw.ellipse([x, y, x + size - 1, y + size - 1], outline=line)

    def line(self, start: tuple[int, int], end: tuple[int, int], ink: tuple[int, int, int] = (0, 0, 0)) -> None:
        self._draw.line([start, end], fill=ink)

    def frame(self, frame_id: int = 1) -> Frame:
        red_green_blue = np.asarray(self.image)
        pixels = np.zeros((*red_green_blue.shape[:2], 4), dtype=np.uint8)
        pixels[..., :3] = red_green_blue[..., ::-1]
        return frame_of(pixels, frame_id)


def frame_of(pixels: NDArray[np.uint8], frame_id: int = 1) -> Frame:
    """Returns a frame of BGRX `pixels` (h, w, 4) with every tile marked as changed."""
    height, width = pixels.shape[:2]
    rows, columns = grid(height, width)
    hashes = np.zeros((rows, columns, HASH_BYTES), dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            tile = pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE, :3]
            digest = hashlib.blake2b(tile.tobytes(), digest_size=HASH_BYTES).digest()
            hashes[row, column] = np.frombuffer(digest, dtype=np.uint8)
    return Frame(frame_id, pixels, np.ones((rows, columns), dtype=np.bool_), hashes, 0, 0)
