"""What bad input gets: one line that says what, where and what next; exit code 2; nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.store.bundle import pack

ROOT = Path(__file__).resolve().parents[2]
TRACE_HEAD = '{"idlehands_trace": 1, "repeat_ms": 50}\n'


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli.main", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=env, check=False)


def refused(shown: subprocess.CompletedProcess[str], *says: str) -> None:
    assert shown.returncode == 2, shown.stderr
    assert "Traceback" not in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1, shown.stderr
    for words in says:
        assert words in shown.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("weights")
    (source / "bundle.toml").write_text(
        'name = "tiny"\nversion = "1"\nkind = "onnx"\nlicence = "Apache-2.0"\ndescription = "a test"\n'
    )
    pack(source, tmp_path / "tiny.ihb")
    return tmp_path / "tiny.ihb"


def test_no_display(tmp_path: Path) -> None:
    state = f"desktop.state_folder={tmp_path}/desk"
    refused(run("desktop", "--set", state, DISPLAY=""), "DISPLAY is not set")
    refused(run("desktop", "--display", ":987", "--set", state), "no X server answers at display ':987'")


def test_no_chromium(tmp_path: Path) -> None:
    for program in ("Xvfb", "bash"):
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    demo = (
        "demo",
        "--agent",
        "block_clicker",
        "--tasks",
        "focus-text",
        "--episodes",
        "1",
        "--out",
        str(tmp_path / "out"),
    )
    refused(run(*demo, PATH=str(tmp_path)), "Chromium was not found on PATH", "apt-get install chromium")


def test_a_trace_with_unsorted_times(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(TRACE_HEAD + '{"t_ms": 500, "readings": {}}\n{"t_ms": 100, "readings": {}}\n')
    policy = tmp_path / "policy.toml"
    policy.write_text("")
    folders = ("--runtime-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    refused(run("bridge", "--source", f"trace:{trace}", "--policy-file", str(policy), *folders), f"{trace}:3")
    assert not (tmp_path / "run" / "gate").exists()


def test_a_policy_out_of_range(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[charge]\nreserve_pct = 140\n")
    folders = ("--runtime-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    shown = run("bridge", "--source", "trace:runtime/demo/drive.jsonl", "--policy-file", str(policy), *folders)
    refused(shown, "charge.reserve_pct", "140")


def test_an_unsigned_bundle(tmp_path: Path, bundle: Path) -> None:
    refused(run("model", "--set", f"daemon.state_folder={tmp_path}/s", "install", str(bundle)), "is not signed")
    assert json.loads(run("model", "--set", f"daemon.state_folder={tmp_path}/s", "list", "--json").stdout) == []


def test_a_corrupt_bundle(tmp_path: Path, bundle: Path) -> None:
    state = ("--set", f"daemon.state_folder={tmp_path}/s")
    assert run("model", *state, "sign", str(bundle)).returncode == 0
    data = bytearray(bundle.read_bytes())
    at = data.rindex(b"weights")
    data[at] ^= 1
    bundle.write_bytes(data)
    refused(run("model", *state, "install", str(bundle)), "a.txt", "sha256")
    assert json.loads(run("model", *state, "list", "--json").stdout) == []


def test_an_absent_bundle(tmp_path: Path) -> None:
    state = ("--set", f"daemon.state_folder={tmp_path}/s")
    refused(run("model", *state, "install", "/nowhere.ihb"), "/nowhere.ihb")
    refused(run("model", *state, "verify", "nothing"), "no model 'nothing' is installed")


def test_a_signed_bundle_is_installed(tmp_path: Path, bundle: Path) -> None:
    state = ("--set", f"daemon.state_folder={tmp_path}/s")
    assert run("model", *state, "sign", str(bundle)).returncode == 0
    assert run("model", *state, "install", str(bundle)).returncode == 0
    (row,) = json.loads(run("model", *state, "list", "--json").stdout)
    assert (row["name"], row["is_active"], row["problem"]) == ("tiny", True, "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('desktop = "tls://127.0.0.1:1"\ninstruction = "i"\npriorty = 1\n', "did you mean priority?"),
        ('desktop = "tls://127.0.0.1:1"\ninstruction = "i"\npriority = 1000\n', "priority"),
        ('desktop = "tls://127.0.0.1:1"\ninstruction = "i"\nagent = "nobody"\n', "there is no agent 'nobody'"),
        ("desktop = \n", "is not TOML"),
    ],
)
def test_a_job_file_that_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "job.toml").write_text(text)
    refused(run("submit", str(tmp_path / "job.toml")), says)
