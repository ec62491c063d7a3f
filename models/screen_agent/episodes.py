"""Demonstrations on disk: what an oracle saw and did, one file a shard, readable without this code.

    <folder>/<task>/<shard>.mpz     zstd frames one after the other, one an episode; in each one MessagePack map:

    Episode  task, seed, instruction, scale, width, height, raw_reward, success, steps: [Step...]
    Step     frame           zstd of uint8 (height, width, 4), BGRX, as XShm captures the window
             label           what the oracle does here, as on the wire (runtime/wire/actions.py): [2, x, y, 1, 1, []]
             targets         [[x, y, w, h]...] in frame pixels: a pointer action may be at any of them; [] for none
             ends            for a drag: the boxes in which it may end
             text_source     of typed text, where it is known from: "instruction", "screen", "computed" or ""
             taken           what was really done: differs from the label where the step is a disturbance
             is_disturbance  whether `taken` is one

The history of a step is what was `taken` before it. A shard is written under another name and moved into place, so a
recording that was killed leaves whole shards only. Seeds of training begin with "train-"; evaluation uses others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgpack
import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from runtime.wire.actions import Action

SUFFIX = ".mpz"
SEED_PREFIX = "train-"
LEVEL = 3
MAX_EPISODE_BYTES = 256 << 20

Box = tuple[int, int, int, int]


class EpisodesError(ValueError):
    """A shard is damaged, or holds something that is no episode."""


class Step(msgspec.Struct, frozen=True):
    """One look at the screen, what the oracle does about it, and what was done."""

    frame: bytes
    label: Action
    targets: list[Box]
    ends: list[Box]
    text_source: str
    taken: Action
    is_disturbance: bool


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
    steps: list[Step]


@dataclass(frozen=True)
class Decoded:
    """An episode with its pixels: `frames` is uint8 (steps, height, width, 4)."""

    episode: Episode
    frames: NDArray[np.uint8]

    def history(self, step: int) -> list[Action]:
        """Returns what was done before `step`, oldest first."""
        return [earlier.taken for earlier in self.episode.steps[:step]]


def pack_frame(pixels: NDArray[np.uint8]) -> bytes:
    """Returns the bytes of `Step.frame` for uint8 (height, width, 4); the byte without meaning becomes 0."""
    clean = np.ascontiguousarray(pixels).copy()
    clean[..., 3] = 0
    return zstandard.ZstdCompressor(level=LEVEL).compress(clean.tobytes())


def unpack_frame(step: Step, episode: Episode) -> NDArray[np.uint8]:
    """Returns the step's pixels, uint8 (height, width, 4). Raises EpisodesError."""
    size = episode.height * episode.width * 4
    try:
        raw = zstandard.ZstdDecompressor().decompress(step.frame, max_output_size=size)
        return np.frombuffer(raw, np.uint8).reshape(episode.height, episode.width, 4)
    except (zstandard.ZstdError, ValueError) as error:
        raise EpisodesError(f"{episode.task}/{episode.seed}: a frame is damaged: {error}") from error


def decode(episode: Episode) -> Decoded:
    """Returns `episode` with all its pixels."""
    frames = np.empty((len(episode.steps), episode.height, episode.width, 4), np.uint8)
    for number, step in enumerate(episode.steps):
        frames[number] = unpack_frame(step, episode)
    return Decoded(episode, frames)


def write_shard(folder: Path, task: str, shard: str, episodes: Sequence[Episode]) -> Path:
    """Writes `episodes` as one shard of `task`, in one move. Returns its path."""
    path = folder / task / (shard + SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    compressor = zstandard.ZstdCompressor(level=1)  # the frames in it are compressed already
    with part.open("wb") as file:
        for episode in episodes:
            file.write(compressor.compress(msgspec.msgpack.encode(episode)))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def read_shard(path: Path) -> Iterator[Episode]:
    """Yields the episodes of one shard. Raises EpisodesError."""
    try:
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for fields in msgpack.Unpacker(stream, max_buffer_size=MAX_EPISODE_BYTES, use_list=True):
                yield msgspec.convert(fields, Episode)
    except (zstandard.ZstdError, msgpack.UnpackException, msgspec.ValidationError, ValueError) as error:
        raise EpisodesError(f"{path} is damaged: {error}; delete it and record again") from error


def shards(folder: Path, task: str) -> list[Path]:
    """Returns the shards of `task`, oldest name first."""
    return sorted((folder / task).glob("*" + SUFFIX))


def tasks_in(folder: Path) -> list[str]:
    """Returns the tasks of which `folder` has any shard."""
    return sorted({path.parent.name for path in folder.glob("*/*" + SUFFIX)})


def load(folder: Path, tasks: Iterable[str] | None = None, limit: int | None = None) -> Iterator[Episode]:
    """Yields the episodes of `tasks` (default: all in `folder`), at most `limit` of each."""
    for task in tasks_in(folder) if tasks is None else tasks:
        count = 0
        for path in shards(folder, task):
            for episode in read_shard(path):
                if limit is not None and count >= limit:
                    break
                count += 1
                yield episode


def load_decoded(folder: Path, tasks: Iterable[str] | None = None, limit: int | None = None) -> Iterator[Decoded]:
    """Yields what `load` does, with pixels."""
    return (decode(episode) for episode in load(folder, tasks, limit))
