"""The units: systemd understands every key, and their exposure stays below what was promised."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.cli.install import UNITS, install, items, uninstall

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="apt-get install systemd")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    programs = tmp_path / "usr/bin"
    programs.mkdir(parents=True)
    (programs / "idlehands").write_text("#!/bin/sh\n")
    (programs / "idlehands").chmod(0o755)
    for item in items(programs):
        (tmp_path / item.target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / item.target).write_text(item.text)
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say(root: Path, unit: str) -> None:
    folder = root / "etc/systemd/system"
    instance = folder / unit.replace("@", "@can0")
    command = ["systemd-analyze", "verify", "--man=no", str(instance)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in (shown.stdout + shown.stderr).splitlines() if "idlehands" in line]
    assert said == []  # a misspelt key is only a warning with exit code 0


@needs_systemd
@pytest.mark.parametrize(("unit", "most"), [("idlehands-bridge.service", 1.3), ("idlehands.service", 1.5)])
def test_exposure_stays_below_what_was_promised(root: Path, unit: str, most: float) -> None:
    path = root / "etc/systemd/system" / unit
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=100", "--no-pager", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    level = next(line for line in shown.stdout.splitlines() if "Overall exposure level" in line)
    exposure = float(level.split(":")[1].split()[0])
    assert exposure <= most, shown.stdout


def test_install_keeps_settings_and_uninstall_keeps_them_too(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(install, ["--root", str(tmp_path)]).exit_code == 0
    policy = tmp_path / "etc/idlehands/policy.toml"
    policy.write_text("# mine\n")
    second = json.loads(runner.invoke(install, ["--root", str(tmp_path), "--json"]).stdout)
    assert second[str(policy)] == "kept"
    assert policy.read_text() == "# mine\n"
    assert runner.invoke(uninstall, ["--root", str(tmp_path)]).exit_code == 0
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["bridge.toml", "idlehands.toml", "policy.toml"]
