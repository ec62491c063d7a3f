"""What kernels/frames/boxes.py is held to: the same by numpy and zlib, box after box."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
THUMB = 10
EVEN, FARTHEST = 24, 96


def crop_of(pixels: Pixels, box: Box) -> Pixels:
    x, y, w, h = box
    return pixels[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w), :3]


def bgr(colour: int) -> NDArray[np.uint8]:
    return np.array([colour & 255, colour >> 8 & 255, colour >> 16 & 255], dtype=np.uint8)


def far_from(part: Pixels, ground: NDArray[np.uint8]) -> NDArray[np.uint8]:
    strongest: NDArray[np.uint8] = (np.maximum(part, ground) - np.minimum(part, ground)).max(axis=-1)
    return strongest


def strongest(pixels: Pixels, box: Box, paper: int) -> int:
    crop = crop_of(pixels, box)
    if not crop.size:
        return 0xFF000000
    far = far_from(crop, bgr(paper))
    row, column = np.unravel_index(int(np.argmax(far)), far.shape)
    blue, green, red = crop[int(row), int(column)].tolist()
    return int(blue | green << 8 | red << 16)


def ground_of(pixels: Pixels) -> int:
    """Returns the commonest colour, 0xRRGGBB, of the commonest shade: of 16 of each channel."""
    wide = pixels[..., :3].astype(np.uint32)
    packed = (wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16).ravel()
    shades, counts = np.unique(packed & 0xF0F0F0, return_counts=True)
    colours, counts = np.unique(packed[packed & 0xF0F0F0 == shades[int(np.argmax(counts))]], return_counts=True)
    return int(colours[int(np.argmax(counts))])


def contrast(pixels: Pixels) -> NDArray[np.uint8]:
    part, paper = pixels[..., :3], bgr(ground_of(pixels))
    return far_from(part, part[:, :1] if is_shaded(part, paper) else paper)


def is_shaded(part: Pixels, paper: NDArray[np.uint8]) -> bool:
    """Whether the ground runs downwards: both ends of a row are alike, as are rows, and none is far from `paper`."""
    ends = part[:, 0]
    return bool(
        (far_from(ends, part[:, -1]) <= EVEN).all()
        and (far_from(ends, paper) <= FARTHEST).all()
        and (far_from(ends[1:], ends[:-1]) <= EVEN).all()
        and far_from(ends[0], ends[-1]) > EVEN
    )


def crc(pixels: Pixels, box: Box) -> int:
    return zlib.crc32(crop_of(pixels, box).tobytes())


def thumbnails(pixels: Pixels, boxes: list[Box], fills: list[int]) -> NDArray[np.float32]:
    x, y, w, h = (np.array(boxes, dtype=np.float32) + np.array([-1, -1, 2, 2], dtype=np.float32)).T
    steps = (np.arange(2 * THUMB, dtype=np.float32) + 0.5) / (2 * THUMB)
    columns = (x[:, None] + steps * w[:, None]).astype(np.int64).clip(0, pixels.shape[1] - 1)
    rows = (y[:, None] + steps * h[:, None]).astype(np.int64).clip(0, pixels.shape[0] - 1)
    samples = pixels[rows[:, :, None], columns[:, None, :], :3].astype(np.int16)
    grounds = np.array([bgr(fill) for fill in fills], dtype=np.int16)
    difference = np.abs(samples - grounds[:, None, None, :]).max(axis=3).astype(np.float32) / 255
    made: NDArray[np.float32] = difference.reshape(-1, THUMB, 2, THUMB, 2).mean(axis=(2, 4)).reshape(len(boxes), -1)
    return made
