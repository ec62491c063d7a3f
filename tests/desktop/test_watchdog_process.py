"""A watchdog that does not come up is told and leaves no process, whether it ends or stands still."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.desktop import watchdog_process
from runtime.desktop.errors import DesktopError
from runtime.desktop.watchdog_process import READY, start

HEAR = "import socket, sys\nconnector = socket.socket(fileno=int(sys.argv[-1]))\nsaid = connector.recv(100)\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "made_watchdog.py"


def test_it_is_greeted_and_then_both_may_speak(module: Path) -> None:
    module.write_text(f"{HEAR}connector.send({READY!r})\nconnector.send(said + connector.recv(100))\n")
    ours, process = start("made_watchdog", ["ignored"], "a test", b"hello ")
    with ours:
        ours.sendall(b"again")
        assert ours.recv(100) == b"hello again"
    assert process.wait() == 0


@pytest.mark.parametrize("body", ["raise SystemExit(3)", f"{HEAR}raise SystemExit(3)"])
def test_one_that_ends_is_told_with_its_code(module: Path, body: str) -> None:
    module.write_text(body)
    with pytest.raises(DesktopError, match="the watchdog for a test ended with code 3"):
        start("made_watchdog", [], "a test", b"hello")


def test_one_that_stands_still_is_ended(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = module.with_name("pid")
    module.write_text(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    monkeypatch.setattr(watchdog_process, "_START_S", 2.0)
    with pytest.raises(DesktopError, match="ended with code -9"):
        start("made_watchdog", [], "a test", b"hello")
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
