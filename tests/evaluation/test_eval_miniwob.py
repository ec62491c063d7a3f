"""`idlehands eval miniwob` itself, short: real Chromium, the whole product, three pages, two at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli.main", "eval", "miniwob", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)


@pytest.mark.chromium
@pytest.mark.timeout(240)
def test_three_pages_with_the_reading_agent(tmp_path: Path) -> None:
    tasks = "click-button,enter-text,click-pie"
    shown = evaluate("--tasks", tasks, "--episodes", "2", "--workers", "2", "--out", str(tmp_path), "--json")
    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout)
    rows = {row["name"]: row for row in report["tasks"]}
    assert list(rows) == tasks.split(","), "in the order that was asked for, whichever was done first"
    assert rows["click-button"]["successes"] == rows["enter-text"]["successes"] == 2
    assert rows["click-button"]["human_source"] == "measured"
    assert all(row["episodes"] == 2 for row in rows.values())
    assert report["human_multiple"] > 0
    assert report["commit"]
    page = (tmp_path / "report.html").read_text()
    failures = sum(row["episodes"] - row["successes"] for row in rows.values())
    assert page.count("<figure>") == failures, "every failure on a training page has its picture"
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_seeds_of_the_demonstrations_are_refused(tmp_path: Path) -> None:
    shown = evaluate("--tasks", "click-button", "--seeds", "train-1", "--out", str(tmp_path))
    assert shown.returncode == 2
    assert "take another prefix" in shown.stderr


def test_a_page_that_is_not_there_is_named(tmp_path: Path) -> None:
    shown = evaluate("--tasks", "no-such-page", "--out", str(tmp_path))
    assert shown.returncode == 2
    assert "no page 'no-such-page'" in shown.stderr
