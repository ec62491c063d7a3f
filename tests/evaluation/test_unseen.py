"""Pages that nobody may train on: nothing uncommitted works them, every run is written down, nothing single is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from runtime.evaluation import unseen
from runtime.evaluation.unseen import NotCommitted, committed, write_down


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in unseen.MEASURED:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("as committed")
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    monkeypatch.setattr(unseen, "ROOT", tmp_path)
    return tmp_path


def test_a_committed_tree_is_named_by_its_commit(checkout: Path) -> None:
    (checkout / "elsewhere.txt").write_text("may change")
    assert len(committed(None)) == 40
    assert len(committed(checkout / "models/bundles/file")) == 40


@pytest.mark.parametrize("folder", unseen.MEASURED)
@pytest.mark.parametrize("name", ["file", "new"])
def test_a_change_is_refused(checkout: Path, folder: str, name: str) -> None:
    (checkout / folder / name).write_text("changed")
    with pytest.raises(NotCommitted, match="not committed"):
        committed(None)


def test_a_bundle_from_elsewhere_is_refused(checkout: Path) -> None:
    (checkout / "mine.ihb").write_text("")
    with pytest.raises(NotCommitted, match="not in models/bundles"):
        committed(checkout / "mine.ihb")


def test_without_a_checkout_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen, "ROOT", tmp_path)
    with pytest.raises(NotCommitted, match="no git checkout"):
        committed(None)
    assert unseen.head() is None


def test_every_run_is_appended(tmp_path: Path) -> None:
    for agent in ("a", "b"):
        write_down({"agent": agent}, tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["agent"] for line in lines] == ["a", "b"]
    assert all("when" in line for line in lines)
