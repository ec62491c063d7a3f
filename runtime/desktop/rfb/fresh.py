"""Whether a region was sent anew since we asked: RFB's answers carry no number that says which question they answer.

    we ask for the region, and for one pixel somewhere else
        an update without the pixel   ─► may have been under way before we asked: it counts for nothing
        the pixel, in a small box     ─► the server has read both questions: what came since we asked is fresh
        the pixel, in a large box     ─► much has changed, perhaps before we asked: asked once more, with another pixel

A server that owes an answer to our standing request can have sent one update before it read the question, not two.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

Box = tuple[int, int, int, int]  # x, y, w, h
_SMALL_PX = 64 * 64  # servers send no less than their tiles


class Fresh:
    """Waits for `region` of a screen of `size`. Pure: `take` what comes, ask for what `wanted` says."""

    def __init__(self, region: Box, size: tuple[int, int], luck: random.Random) -> None:
        self._region, self._size, self._luck = region, size, luck
        self._missing = np.ones((region[3], region[2]), np.bool_)
        self._asked = 0
        self._pixel: Box = region
        self.is_over = False

    def wanted(self) -> list[Box]:
        """Returns what to ask for, in one write, now."""
        self._asked += 1
        self._pixel = self._elsewhere()
        return [self._region, self._pixel]

    def take(self, boxes: Iterable[Box]) -> bool:
        """Takes in an update's boxes; sets `is_over` if the region is fresh. Returns whether to ask once more."""
        hits = []
        for box in boxes:
            self._cover(box)
            if _covers(box, self._pixel):
                hits.append(box[2] * box[3])
        if not hits or self._missing.any():
            return False
        is_sure = self._asked > 1 or (min(hits) <= _SMALL_PX and self._pixel != self._region)
        self.is_over = is_sure
        return not is_sure

    def _cover(self, box: Box) -> None:
        x, y, _, _ = self._region
        left, top = max(box[0] - x, 0), max(box[1] - y, 0)
        right, bottom = box[0] + box[2] - x, box[1] + box[3] - y
        if right > 0 and bottom > 0:
            self._missing[top:bottom, left:right] = False

    def _elsewhere(self) -> Box:
        """Returns a pixel that is not in the region; the region itself if there is none."""
        width, height = self._size
        for _ in range(64):
            pixel = self._luck.randrange(width), self._luck.randrange(height), 1, 1
            if not _covers(self._region, pixel):
                return pixel
        return self._region


def _covers(box: Box, inner: Box) -> bool:
    x, y, w, h = box
    return x <= inner[0] and y <= inner[1] and inner[0] + inner[2] <= x + w and inner[1] + inner[3] <= y + h
