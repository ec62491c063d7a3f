"""What stands on a screen: edges of its pixels, and from them lines of text and shapes (kernels/frames/layout.h).

    finder = LayoutFinder()
    edges = find_edges(pixels)                       # kept by the caller; update_edges where tiles changed
    texts, shapes = finder.find(pixels, edges)       # of a whole frame, or of the same part of both

Everything is a function of the pixels; what a finder keeps is memory to work in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.arguments import Frame, check_frame, gate_address, native, raise_if_preempted
from kernels.frames.tiles import TILE
from kernels.gate.word import GateToken

Edges = NDArray[np.uint8]
Items = NDArray[np.int32]

ACROSS, DOWN = 1, 2  # bits of an edge: a pixel differs from its right neighbour, from the one below
KINDS = ("text", "line", "box", "ring", "figure")
_ARENA_BYTES = 1 << 21  # to begin with


def find_edges(pixels: Frame, gate: GateToken | None = None) -> Edges:
    """Returns (h, w) uint8 for pixels (h, w, 4): bit 0 where the right neighbour differs by 24 or more in some
    channel, bit 1 where the lower one does.

    Raises TypeError, ValueError, GateClosed.
    """
    height, width = check_frame(pixels).shape[:2]
    edges = np.empty((height, width), dtype=np.uint8)
    raise_if_preempted(native.find_edges(pixels, edges, 0, 0, height, width, gate_address(gate)))
    return edges


def update_edges(pixels: Frame, edges: Edges, changed: NDArray[np.bool_], gate: GateToken | None = None) -> None:
    """Computes anew the edges of the `changed` (rows, columns) tiles, and those of their upper and left neighbours that
    look into them.

    Raises ValueError, GateClosed.
    """
    height, width = check_frame(pixels).shape[:2]
    for row, column in np.argwhere(changed).tolist():
        top, left = max(0, row * TILE - 1), max(0, column * TILE - 1)
        bottom, right = min(height, (row + 1) * TILE), min(width, (column + 1) * TILE)
        raise_if_preempted(native.find_edges(pixels, edges, top, left, bottom, right, gate_address(gate)))


class LayoutFinder:
    """Finds layouts, one after the other, in the same memory."""

    def __init__(self) -> None:
        self._arena = native.Arena(_ARENA_BYTES)

    def find(self, pixels: Frame, edges: Edges, gate: GateToken | None = None) -> tuple[Items, Items]:
        """Returns the texts and the shapes of pixels (h, w, 4) with their `edges` (h, w), each in order of top edge,
        left edge, width: rows of x, y, w, h, kind (a place in KINDS), colour, paper, order of finding.

        Colours are 0xRRGGBB: the ink of a text, the fill of a shape; paper is what a text stands on. Raises TypeError,
        ValueError, GateClosed.
        """
        check_frame(pixels)
        status, texts, shapes = native.find_layout(pixels, edges, self._arena, gate_address(gate))
        raise_if_preempted(status)
        return _items(texts), _items(shapes)


def _items(data: bytes) -> Items:
    return np.frombuffer(data, dtype=np.int32).reshape(-1, 8)
