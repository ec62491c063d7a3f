"""The journal: bounded, whole after a torn line, and no trouble to the bridge when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firmware_bridge.errors import JournalError
from firmware_bridge.journal import Journal, read_journal


def fill(path: Path, numbers: range, limit_bytes: int = 10**6) -> Journal:
    journal = Journal(path, limit_bytes)
    for number in numbers:
        journal.put({"wall_s": float(number)})
    journal.close(60.0)
    return journal


def walls(path: Path) -> list[float]:
    return [record["wall_s"] for record in read_journal(path)]


def test_what_is_put_is_read_also_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path, range(3))
    fill(path, range(3, 5))
    assert walls(path) == [0, 1, 2, 3, 4]


def test_bounded_and_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    fill(path, range(200), limit_bytes=1000)
    found = walls(path)
    assert found == list(range(int(found[0]), 200))
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2 * 1000 + 40


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_torn_line_loses_itself_only(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    fill(path, range(3))
    os.truncate(path, path.stat().st_size - cut)
    fill(path, range(7, 9))
    found = walls(path)
    assert found[:2] == [0, 1]
    assert found[-2:] == [7, 8]
    assert len(found) - (2 in found) == 4


def test_a_full_disk_loses_records_and_counts_them(tmp_path: Path) -> None:
    journal = fill(tmp_path / "none" / "j", range(3))
    assert journal.lost == 3
    assert "No such file" in journal.last_error
    if os.path.exists("/dev/full"):
        (tmp_path / "full").symlink_to("/dev/full")
        assert fill(tmp_path / "full", range(2)).lost == 2  # a link is not followed either


def test_absent_and_damaged(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        list(read_journal(tmp_path / "j"))
    (tmp_path / "j").write_bytes(b'\xff\n[1]\n{"wall_s": "x"}\n{"wall_s": 4}\n{"wall_s": ')
    assert walls(tmp_path / "j") == [4]
