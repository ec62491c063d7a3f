"""Demonstrations come back as they were written; damage is told, never read."""

from __future__ import annotations

from pathlib import Path

import msgpack
import numpy as np
import pytest
import zstandard

from models.screen_agent.episodes import EpisodesError, load, load_decoded, read_shard, tasks_in
from runtime.desktop.episodes import Episode, Shown, pack_frame, write_shard
from runtime.wire.actions import Click, Drag, Type


def an_episode(seed: str, size: tuple[int, int] = (5, 7)) -> Episode:
    rng = np.random.default_rng(len(seed))
    pixels = rng.integers(0, 256, (*size, 4), np.uint8)
    steps = [
        Shown(pack_frame(pixels), Click(3, 4, count=2), [(1, 2, 5, 6)], [], "", Click(9, 9), True),
        Shown(pack_frame(pixels), Type("día"), [], [], "instruction", Type("día"), False),
        Shown(
            pack_frame(pixels),
            Drag(((1, 2), (3, 4))),
            [(0, 0, 2, 3)],
            [(3, 3, 2, 2)],
            "",
            Drag(((1, 2), (3, 4))),
            False,
        ),
    ]
    return Episode("a-task", seed, "Click it.", 1.5, size[1], size[0], 1.0, True, steps)


def test_episodes_come_back_as_written(tmp_path: Path) -> None:
    written = [an_episode("train-1"), an_episode("train-22", (9, 4))]
    write_shard(tmp_path, "a-task", "0000", written)
    write_shard(tmp_path, "b-task", "0000", written[:1])
    assert list(load(tmp_path, ["a-task"])) == written
    assert tasks_in(tmp_path) == ["a-task", "b-task"]
    assert len(list(load(tmp_path, limit=1))) == 2


def test_pixels_and_history_come_back(tmp_path: Path) -> None:
    write_shard(tmp_path, "a-task", "0000", [an_episode("train-1")])
    (decoded,) = load_decoded(tmp_path)
    expected = np.random.default_rng(len("train-1")).integers(0, 256, (5, 7, 4), np.uint8)
    assert decoded.frames.shape == (3, 5, 7, 4)
    assert (decoded.frames[2, ..., :3] == expected[..., :3]).all()
    assert decoded.history(1) == [Click(9, 9)], "what was done, not what the oracle would have done"


def test_another_reader_finds_the_documented_fields(tmp_path: Path) -> None:
    path = write_shard(tmp_path, "a-task", "0000", [an_episode("train-1")])
    with path.open("rb") as file:
        (fields,) = msgpack.Unpacker(zstandard.ZstdDecompressor().stream_reader(file))
    assert fields["steps"][0]["label"] == [2, 3, 4, 1, 2, []]
    assert fields["steps"][0]["targets"] == [[1, 2, 5, 6]]


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_torn_shard_is_refused(tmp_path: Path, cut: int) -> None:
    path = write_shard(tmp_path, "a-task", "0000", [an_episode("train-1")])
    path.write_bytes(path.read_bytes()[:-cut] + b"\x00" * cut)
    with pytest.raises(EpisodesError, match="damaged"):
        list(read_shard(path))


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    episode = an_episode("train-1")
    wrong = Episode(**{name: getattr(episode, name) for name in episode.__struct_fields__} | {"width": 8})
    write_shard(tmp_path, "a-task", "0000", [wrong])
    with pytest.raises(EpisodesError, match="a frame is damaged"):
        list(load_decoded(tmp_path))
