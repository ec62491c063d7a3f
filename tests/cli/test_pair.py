"""Pairing, relay, grants and a job as people use them: processes, a code that is read out, no port but the relay's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from kernels.gate.word import boottime_ns
from runtime.evaluation.xserver import XServer
from tests.daemon.car import HeldGate
from tests.desktop.x_client import XClient

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "runtime.cli.main", *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert shown.returncode == code, shown.stdout + shown.stderr
    return shown.stdout + shown.stderr


@contextlib.contextmanager
def started(*arguments: str, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "runtime.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def line_with(stream: IO[str] | None, what: str) -> str:
    assert stream is not None
    for line in stream:
        if what in line:
            return line
    raise AssertionError(f"it ended without saying {what!r}")


class Sides:
    """A car's and a desktop's settings in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.car = ["--set", f"daemon.state_folder={folder}/car", "--set", f"daemon.runtime_folder={folder}/run"]
        self.desktop = ["--set", f"desktop.state_folder={folder}/desk"]

    def trusted(self, side: str) -> list[dict[str, Any]]:
        found = run("pair", *self.car, *self.desktop, "--as", side, "list", "--json")
        return list(json.loads(found))


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    (tmp_path / "run").mkdir(mode=0o700)
    return Sides(tmp_path)


def test_pair_rotate_and_revoke(sides: Sides) -> None:
    with started("pair", *sides.desktop, "show", "--listen", "127.0.0.1:0") as showing:
        code = line_with(showing.stdout, "code").split()[1]
        at = line_with(showing.stdout, "at").split()[1]
        assert "paired with desktop" in run("pair", *sides.car, "join", code, at)
        assert "paired with car" in line_with(showing.stdout, "paired")
        assert showing.wait(30) == 0
    assert [one["name"] for one in sides.trusted("car")] == ["desktop"]
    (before,) = sides.trusted("desktop")
    statement = sides.folder / "statement"
    run("pair", *sides.car, "rotate", "--out", str(statement))
    assert "until the new one is first seen" in run("pair", *sides.desktop, "accept", str(statement))
    run("pair", *sides.car, "rotate", "--finish")
    assert len(sides.trusted("desktop")) == 2
    run("pair", *sides.desktop, "--as", "desktop", "revoke", before["fingerprint"][:8])
    (after,) = sides.trusted("desktop")
    assert after["fingerprint"] != before["fingerprint"]


def test_what_is_typed_wrong_is_told_before_anybody_is_dialled(sides: Sides) -> None:
    assert "compare the eight digits" in run("pair", *sides.car, "join", "1234-5678", "127.0.0.1:1", code=2)
    assert "14 digits" in run("pair", *sides.car, "join", "1234-5678", "--relay", "127.0.0.1:1", code=2)
    assert "either the ADDRESS" in run("pair", *sides.car, "join", "1234-5678", code=2)
    assert "relay://" in run("relay", "--new-url", "relay.example:7462")
    assert "host:port" in run("relay", "--new-url", "relay.example", code=2)


@pytest.mark.desktop
def test_a_job_through_a_relay_from_the_pairing_on(sides: Sides) -> None:
    """Nobody listens but the relay; the desktop asks for a grant; the job clicks what is on the screen."""
    server = XServer(300, 200)
    server.__enter__()
    display = server.display
    client = XClient(display)
    client.paint(0, 0, 300, 200, (230, 230, 230))
    client.paint(100, 80, 90, 40, (60, 60, 60))
    client.paint(102, 82, 86, 36, (250, 250, 250))
    gate = HeldGate(sides.folder / "run" / "gate")
    with contextlib.ExitStack() as held:
        held.callback(server.__exit__, None, None, None)
        held.callback(client.close)
        held.callback(gate.end)
        relay = held.enter_context(started("relay", "--listen", "127.0.0.1:0", stderr=subprocess.PIPE))
        where = line_with(relay.stderr, "relay://").partition("relay://")[2].split()[0]
        showing = held.enter_context(started("pair", *sides.desktop, "show", "--relay", where))
        code = line_with(showing.stdout, "code").split()[1]
        line_with(showing.stdout, "at")
        url = line_with_url(run_until_there("pair", *sides.car, "join", code, "--relay", where))
        assert url in line_with(showing.stdout, "meet at")
        serving = held.enter_context(
            started("desktop", *sides.desktop, "--display", display, "--listen", url, "--require-grant", "--json")
        )
        heard = line_with(serving.stdout, "listening")
        assert url.rpartition("/")[2] not in heard, "the token is told to nobody"
        held.enter_context(started("serve", *sides.car, "--set", "daemon.max_attempts=1", stderr=subprocess.DEVNULL))
        gate.open()
        job = ["submit", *sides.car, "--desktop", url, "--instruction", "click everything", "--follow"]
        refused = run_until_there(*job, code=2)
        assert "asks for a grant" in refused
        token = run("desktop", *sides.desktop, "grant", "--car", "car").strip()
        run_until_there(*job, "--token", token, code=1)  # the agent says in the end that nothing answers it
        clicked = [event for event in client.events() if event[:2] == ("press", "button 1")]
        assert len(clicked) == 1
        assert 100 <= clicked[0][2] < 190
        used = json.loads(run("desktop", *sides.desktop, "grant", "--list", "--json"))
        assert len(used) == 1


def line_with_url(text: str) -> str:
    return text.partition("meet at ")[2].split()[0]


def run_until_there(*arguments: str, code: int = 0) -> str:
    """Runs a verb again while the other side is not there yet: a daemon that starts, a relay that has not heard it."""
    until_ns = boottime_ns() + 30 * 10**9
    command = [sys.executable, "-m", "runtime.cli.main", *arguments]
    while True:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False, env=os.environ
        )
        said = shown.stdout + shown.stderr
        if not any(words in said for words in ("nobody waits", "no daemon answers")) or boottime_ns() > until_ns:
            assert shown.returncode == code, said
            return said
