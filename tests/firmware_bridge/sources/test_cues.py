"""Giving a cue to nobody is an error that says so; a flood of cues keeps memory bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firmware_bridge.errors import CueError
from firmware_bridge.sources.cues import Cues, give_cue


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(CueError, match="there is no cue FIFO"):
        give_cue(tmp_path / "cues", "go")
    os.mkfifo(tmp_path / "cues")
    with pytest.raises(CueError, match="nobody waits"):
        give_cue(tmp_path / "cues", "go")
    (tmp_path / "file").touch()
    with pytest.raises(CueError, match="is no FIFO"):
        give_cue(tmp_path / "file", "go")


def test_a_full_fifo_is_an_error_and_a_flood_is_bounded(tmp_path: Path) -> None:
    cues = Cues(tmp_path / "cues")
    with pytest.raises(CueError, match="does not read"):  # noqa: PT012 - the N-th call fails
        for _ in range(100_000):
            give_cue(cues.path, "flood")
    assert cues.take("flood")
    assert len(cues._given) < 100
    cues.close()


def test_an_old_fifo_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cues")
    cues = Cues(tmp_path / "cues")
    give_cue(tmp_path / "cues", "go")
    assert cues.take("go")
    cues.close()


@pytest.mark.parametrize("cue", ["", " ", "a\nb", "x" * 101])
def test_a_cue_is_one_short_word(tmp_path: Path, cue: str) -> None:
    with pytest.raises(ValueError, match="one short word"):
        give_cue(tmp_path / "cues", cue)
