"""The demo's day: the driver may come back several times, and the times stay sorted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.demo.drive import write_trace
from runtime.demo.show import TRACE


def test_the_return_is_repeated_with_cues_of_its_own(tmp_path: Path) -> None:
    write_trace(TRACE, tmp_path / "drive.jsonl", returns=3)
    _, *lines = [json.loads(line) for line in (tmp_path / "drive.jsonl").read_text().splitlines()]
    assert [line["cue"] for line in lines if "cue" in line] == [
        "driver_returns_1",
        "driver_returns_2",
        "driver_returns_3",
        "end",
    ]
    times = [line["t_ms"] for line in lines]
    assert times == sorted(times)


def test_a_recording_without_the_part_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"idlehands_trace": 1}\n{"t_ms": 0, "readings": {}}\n')
    with pytest.raises(ValueError, match="expected driver_returns"):
        write_trace(tmp_path / "a.jsonl", tmp_path / "b.jsonl", returns=1)
