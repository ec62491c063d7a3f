"""gate_epoch never falls: not over restarts, not over a damaged file, not with a full disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_bridge import epochs, files
from firmware_bridge.epochs import BLOCK, Epochs
from firmware_bridge.errors import StateError


def test_each_start_begins_above_all_before(tmp_path: Path) -> None:
    path = tmp_path / "epoch.json"
    seen = -1
    for _ in range(5):
        held = Epochs(path)
        assert held.first > seen
        seen = held.first
        while held.allows(seen):  # the gate may open and close so often without another word to the disk
            seen += 1
        assert seen < held.ceiling


def test_a_raised_ceiling_is_stored(tmp_path: Path) -> None:
    held = Epochs(tmp_path / "epoch.json")
    assert not held.is_near(0)
    assert held.is_near(BLOCK // 2)
    assert not held.allows(held.ceiling - 1)
    held.raise_ceiling(BLOCK // 2)
    assert held.allows(BLOCK)
    assert json.loads((tmp_path / "epoch.json").read_text())["ceiling"] == held.ceiling
    assert Epochs(tmp_path / "epoch.json").first == held.ceiling


def test_a_disk_that_fails_keeps_the_old_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Epochs(tmp_path / "epoch.json")
    before = held.ceiling

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "replace", full)
    with pytest.raises(OSError, match="No space"):
        held.raise_ceiling(5)
    assert held.ceiling == before
    with pytest.raises(StateError, match="cannot be written"):
        Epochs(tmp_path / "other.json")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "\0", '{"ceiling": -1}', '{"ceiling": true}', '{"ceiling": 1e3}']
)
def test_a_damaged_file_is_an_error_with_the_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "epoch.json"
    path.write_text(text)
    with pytest.raises(StateError, match="replace it by"):
        Epochs(path)
    assert path.read_text() == text
    assert epochs.BLOCK > 1000
