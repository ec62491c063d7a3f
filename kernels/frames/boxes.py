"""What a look takes from the pixels of its boxes, all boxes of a screen in one call (kernels/frames/boxes.h).

Frames are BGRX uint8 (h, w, 4); boxes are rows of x, y, w, h in pixels, and what of one leaves the frame is not there;
colours are 0xRRGGBB. All raise TypeError or ValueError for other arguments, and GateClosed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernels.frames.arguments import Frame, check_frame, gate_address, native, raise_if_preempted
from kernels.gate.word import GateToken

THUMB = 10  # pixels of a thumbnail's side
NO_COLOUR = 0xFF000000
NAME_BYTES = 16


def strongest(pixels: Frame, boxes: ArrayLike, papers: ArrayLike, gate: GateToken | None = None) -> NDArray[np.uint32]:
    """Returns the colour in each box that differs most from its ground `papers` (n), the first of several; NO_COLOUR
    for a box without a pixel."""
    found, grounds = _boxes(boxes), np.ascontiguousarray(papers, np.uint32)
    colours = np.empty(len(found), np.uint32)
    if len(found):
        raise_if_preempted(native.strongest(check_frame(pixels), found, grounds, colours, gate_address(gate)))
    return colours


def contrast(pixels: Frame, gate: GateToken | None = None) -> NDArray[np.uint8]:
    """Returns (h, w): the largest difference of a channel from the ground, the commonest colour of the commonest shade;
    where the ground is shaded downwards, from that of each row, which is at both its ends."""
    out = np.empty(check_frame(pixels).shape[:2], np.uint8)
    raise_if_preempted(native.contrast(pixels, out, gate_address(gate)))
    return out


def crcs(pixels: Frame, boxes: ArrayLike, gate: GateToken | None = None) -> list[int]:
    """Returns the CRC-32 of the blue, green and red bytes of each box, row by row: zlib's of the crop's bytes."""
    found = _boxes(boxes)
    made = np.empty(len(found), np.uint32)
    if len(found):
        raise_if_preempted(native.box_crcs(check_frame(pixels), found, made, gate_address(gate)))
    numbers: list[int] = made.tolist()
    return numbers


def names(pixels: Frame, boxes: ArrayLike, key: bytes, gate: GateToken | None = None) -> list[bytes]:
    """Returns 16 bytes for each box that name its size and content under a secret `key` of 16 bytes (SipHash-2-4-128):
    who does not know the key makes no two crops with one name."""
    found = _boxes(boxes)
    made = np.empty((len(found), NAME_BYTES), np.uint8)
    if len(found):
        words = np.frombuffer(key, np.uint64)
        raise_if_preempted(native.box_names(check_frame(pixels), found, words, made, gate_address(gate)))
    data = made.tobytes()
    return [data[at : at + NAME_BYTES] for at in range(0, len(data), NAME_BYTES)]


def thumbnails(pixels: Frame, boxes: ArrayLike, fills: ArrayLike, gate: GateToken | None = None) -> NDArray[np.float32]:
    """Returns (n, THUMB²) float32: how far samples of each box, and of one pixel around it, differ from its ground."""
    found, grounds = _boxes(boxes), np.ascontiguousarray(fills, np.uint32)
    made = np.empty((len(found), THUMB * THUMB), np.float32)
    if len(found):
        raise_if_preempted(native.thumbnails(check_frame(pixels), found, grounds, made, gate_address(gate)))
    return made


def _boxes(boxes: ArrayLike) -> NDArray[np.int32]:
    return np.ascontiguousarray(boxes, np.int32).reshape(-1, 4)
