"""Boxes on a screen: integer pixels, x to the right, y down, right and bottom edges exclusive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_TALLER = 4  # times as tall: a frame around lines, none of them


class Box(NamedTuple):
    x: int
    y: int
    w: int
    h: int

    @property
    def right(self) -> int:
        return self.x + self.w

    @property
    def bottom(self) -> int:
        return self.y + self.h

    @property
    def area(self) -> int:
        return self.w * self.h

    @property
    def centre(self) -> tuple[int, int]:
        return self.x + self.w // 2, self.y + self.h // 2

    def contains(self, other: Box, slack: int = 0) -> bool:
        return (
            self.x <= other.x + slack
            and self.y <= other.y + slack
            and self.right >= other.right - slack
            and self.bottom >= other.bottom - slack
        )

    def holds(self, x: int, y: int) -> bool:
        return self.x <= x < self.right and self.y <= y < self.bottom

    def meets(self, other: Box) -> bool:
        """Whether the two share at least one pixel."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def union(self, other: Box) -> Box:
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Box(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def gap(self, other: Box) -> tuple[int, int]:
        """Returns the free pixels between the two, across and down; negative where they overlap."""
        return (
            max(self.x, other.x) - min(self.right, other.right),
            max(self.y, other.y) - min(self.bottom, other.bottom),
        )

    def moved(self, across: int, down: int) -> Box:
        return Box(self.x + across, self.y + down, self.w, self.h)

    def grown(self, by: int, width: int, height: int) -> Box:
        """Returns the box widened by `by` pixels on each side, cut at a screen of (width, height)."""
        x, y = max(0, self.x - by), max(0, self.y - by)
        return Box(x, y, min(width, self.right + by) - x, min(height, self.bottom + by) - y)


def holding(boxes: Sequence[Box], points: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Returns (boxes, points) bool: whether each box holds each point."""
    x, y, w, h = np.array(boxes, dtype=np.int64).reshape(-1, 4).T[:, :, None]
    across, down = np.array(points, dtype=np.int64).reshape(-1, 2).T
    held: NDArray[np.bool_] = (x <= across) & (across < x + w) & (y <= down) & (down < y + h)
    return held


def same_line(first: Box, second: Box) -> bool:
    """Whether two boxes stand side by side: they share at least half of the lower one's height."""
    return 2 * (min(first.bottom, second.bottom) - max(first.y, second.y)) >= min(first.h, second.h)


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """Returns the indices of `boxes` line by line, top to bottom, and left to right within a line.

    A box several times as tall as another stands on no line with it: what frames a page would make it one line.
    """
    by_top = sorted(range(len(boxes)), key=lambda index: (boxes[index][1], boxes[index][0]))
    lines: list[tuple[int, int, int, list[int]]] = []  # top, bottom and height of its first box; its boxes
    for index in by_top:
        _, top, _, height = boxes[index]
        bottom = top + height
        for first_top, first_bottom, first_height, line in reversed(lines[-4:]):
            shared = min(first_bottom, bottom) - max(first_top, top)
            lower, taller = min(first_height, height), max(first_height, height)
            if 2 * shared >= lower and taller <= _TALLER * lower:  # the first as same_line says
                line.append(index)
                break
        else:
            lines.append((top, bottom, height, [index]))
    return [index for *_, line in lines for index in sorted(line, key=lambda index: boxes[index][0])]


def held_by(boxes: Sequence[Box], points: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Returns for each box which of `points` it holds, in their order."""
    rows, columns = np.nonzero(holding(boxes, points))
    ends = np.searchsorted(rows, np.arange(1, len(boxes) + 1)).tolist()
    places = columns.tolist()
    return [places[start:end] for start, end in zip([0, *ends], ends, strict=False)]
