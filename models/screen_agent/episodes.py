"""Demonstrations read back: their format is runtime/desktop/episodes.py, which the recorders write.

Seeds of training begin with "train-"; evaluation uses others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack
import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from runtime.desktop.episodes import SUFFIX, Episode, Shown
from runtime.wire.actions import Action

SEED_PREFIX = "train-"
MAX_EPISODE_BYTES = 256 << 20


class EpisodesError(ValueError):
    """A shard is damaged, or holds something that is no episode."""


@dataclass(frozen=True)
class Decoded:
    """An episode with its pixels: `frames` is uint8 (steps, height, width, 4)."""

    episode: Episode
    frames: NDArray[np.uint8]

    def history(self, step: int) -> list[Action]:
        """Returns what was done before `step`, oldest first."""
        return [earlier.taken for earlier in self.episode.steps[:step]]


def unpack_frame(step: Shown, episode: Episode) -> NDArray[np.uint8]:
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
