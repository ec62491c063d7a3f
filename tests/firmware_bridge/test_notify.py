"""sd_notify: to a path, to an abstract address, to nobody; the watchdog's period is half its limit."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from firmware_bridge.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_words_arrive(tmp_path: Path, abstract: bool) -> None:
    name = f"@idlehands-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
        notifier.send("READY=1", "STATUS=gate open")
        assert manager.recv(100) == b"READY=1\nSTATUS=gate open"
        assert notifier.watchdog_ns == 1_500_000_000


def test_nobody_listens(tmp_path: Path) -> None:
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).send("READY=1")
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog_ns == 0
    assert Notifier({"WATCHDOG_USEC": "x"}).watchdog_ns == 0
