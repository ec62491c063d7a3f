"""Demonstrations on disk: what was seen and done, one file a shard, readable without this code.

    <folder>/<task>/<shard>.mpz     zstd frames one after the other, one an episode; in each one MessagePack map:

    Episode  task, seed, instruction, scale, width, height, raw_reward, success, steps: [Shown...]
    Shown    frame           zstd of uint8 (height, width, 4), BGRX, as XShm captures the window
             label           what is to be done here, as on the wire (runtime/wire/actions.py): [2, x, y, 1, 1, []]
             targets         [[x, y, w, h]...] in frame pixels: a pointer action may be at any of them; [] for none
             ends            for a drag: the boxes in which it may end
             text_source     of typed text, where it is known from: "instruction", "screen", "computed" or ""
             taken           what was really done: differs from the label where the step is a disturbance
             is_disturbance  whether `taken` is one

The history of a step is what was `taken` before it. A shard is written under another name and moved into place, so a
recording that was killed leaves whole shards only, and readable by its owner alone: screens show whatever was on them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from runtime.wire.actions import Action

SUFFIX = ".mpz"
LEVEL = 3

Box = tuple[int, int, int, int]


class Shown(msgspec.Struct, frozen=True):
    """One look at the screen, what is to be done about it, and what was done."""

    frame: bytes
    label: Action
    targets: list[Box]
    ends: list[Box]
    text_source: str
    taken: Action
    is_disturbance: bool = False


class Episode(msgspec.Struct, frozen=True):
    """One episode; `scale` is the page's zoom, width and height are those of every frame."""

    task: str
    seed: str
    instruction: str
    scale: float
    width: int
    height: int
    raw_reward: float
    success: bool
    steps: list[Shown]


def pack_frame(pixels: NDArray[np.uint8]) -> bytes:
    """Returns the bytes of `Shown.frame` for uint8 (height, width, 4); the byte without meaning becomes 0."""
    clean = np.ascontiguousarray(pixels).copy()
    clean[..., 3] = 0
    return zstandard.ZstdCompressor(level=LEVEL).compress(clean.tobytes())


def write_shard(folder: Path, task: str, shard: str, episodes: Iterable[Episode]) -> Path:
    """Writes `episodes` as one shard of `task`, in one move. Returns its path."""
    path = folder / task / (shard + SUFFIX)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    compressor = zstandard.ZstdCompressor(level=1)  # the frames in it are compressed already
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        for episode in episodes:
            file.write(compressor.compress(msgspec.msgpack.encode(episode)))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path
