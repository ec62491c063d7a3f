"""How the pixels of a frame part lie in its data: tiles joined into runs, and for compression split into planes.

    run      up to 32 tiles beside each other that both carry pixels; a run is h rows of w pixels, not single tiles
    raw      B G R x of every pixel, row by row
    planes   all B of the run, then all G, then all R; the fourth byte is not sent

Rows of a whole run, and planes, are what makes text cheap: it is grey, so that two of three planes repeat the first,
and lines that scroll stay whole. Measured on a recorded 1080p browser session (scrolling, typing; 48 steps, zstd level
1, one stream a session): BGRX tiles 2.39 MB, BGR tiles 1.90, planes of tiles 1.79, BGR runs 1.48, planes of runs 1.23;
G, B−G, R−G instead of planes 1.80. Without the stream's memory: BGR tiles 3.68 MB, and 7.11 with lz4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.wire.records import TILE

RUN_TILES = 32
Pixels = NDArray[np.uint8]  # (h, w, 4), B G R x


@dataclass(frozen=True, slots=True)
class Run:
    """The tiles `first` … `first` + `tiles` - 1 as one box, in pixels."""

    first: int
    tiles: int
    x: int
    y: int
    w: int
    h: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The run's place in an array (h, w, …)."""
        return slice(self.y, self.y + self.h), slice(self.x, self.x + self.w)


def runs(indices: Iterable[int], width: int, height: int) -> Iterator[Run]:
    """Yields the runs of `indices` in their order: one goes on while the next index is the next tile of its row."""
    columns = -(-width // TILE)
    first = count = -1
    for index in indices:
        if index == first + count and index % columns and count < RUN_TILES:
            count += 1
            continue
        if first >= 0:
            yield _run(first, count, columns, width, height)
        first, count = index, 1
    if first >= 0:
        yield _run(first, count, columns, width, height)


def _run(first: int, tiles: int, columns: int, width: int, height: int) -> Run:
    y, x = first // columns * TILE, first % columns * TILE
    return Run(first, tiles, x, y, min(tiles * TILE, width - x), min(TILE, height - y))


def raw_bytes(run: Run) -> int:
    """Returns how many bytes `run` takes as B G R x."""
    return run.w * run.h * 4


def plane_bytes(run: Run) -> int:
    """Returns how many bytes `run` takes as planes."""
    return run.w * run.h * 3


def gather_raw(pixels: Pixels, which: Iterable[Run]) -> bytes:
    """Returns the runs of `pixels` as B G R x."""
    return b"".join(pixels[run.box].tobytes() for run in which)


def gather_planes(pixels: Pixels, which: list[Run]) -> NDArray[np.uint8]:
    """Returns the runs of `pixels` as planes, uint8 (bytes,)."""
    out = np.empty(sum(plane_bytes(run) for run in which), np.uint8)
    # Narrowing 32-bit pixels is vectorised by numpy, picking every fourth byte is not: 49 against 104 µs for 1920×64.
    words = pixels.view(np.uint32)[..., 0]
    at = 0
    for run in which:
        planes = out[at : at + plane_bytes(run)].reshape(3, run.h, run.w)
        part = words[run.box]
        planes[0] = part
        planes[1] = part >> 8
        planes[2] = part >> 16
        at += plane_bytes(run)
    return out


def scatter_raw(data: NDArray[np.uint8], which: Iterable[Run], pixels: Pixels) -> None:
    """Writes runs that lie in `data` as B G R x into `pixels`."""
    at = 0
    for run in which:
        pixels[run.box] = data[at : at + raw_bytes(run)].reshape(run.h, run.w, 4)
        at += raw_bytes(run)


def scatter_planes(data: NDArray[np.uint8], which: Iterable[Run], pixels: Pixels) -> None:
    """Writes runs that lie in `data` as planes into `pixels`; the fourth byte stays as it is."""
    at = 0
    for run in which:
        planes = data[at : at + plane_bytes(run)].reshape(3, run.h, run.w)
        target = pixels[run.box]
        for channel in range(3):
            target[..., channel] = planes[channel]
        at += plane_bytes(run)
