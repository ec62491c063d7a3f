"""The demo itself, short: real X server, real Chromium, every process, the driver's return in the middle of a job."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.chromium
@pytest.mark.timeout(180)
def test_the_main_job_end_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runtime.cli.main", "demo", "--json", "--out", str(tmp_path)]
    command += ["--tasks", "click-button,enter-text", "--episodes", "3"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=170, cwd=ROOT, check=False)
    assert shown.returncode == 0, shown.stderr + (tmp_path / "serve.log").read_text()
    report = json.loads(shown.stdout)
    assert [task["name"] for task in report["tasks"]] == ["click-button", "login-user", "enter-text"]
    assert report["success_rate"] >= 0.8
    assert report["resumed"] is True, "the episode that the driver cut in two was finished from where it was"
    assert (report["lost_jobs"], report["double_actions"]) == (0, 0)
    assert all(value is not None for value in report["yield_ms"].values())
    assert report["actions"] > 6
    assert all(part["p50"] is not None for part in report["action_ms"]["split"].values())
    assert report["human_multiple"] > 0
    assert all(model["stop_bound_us"] > 0 for model in report["models"]), "how soon each model stops is published"
    assert report["models"]
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "sheet.png").stat().st_size > 1000
