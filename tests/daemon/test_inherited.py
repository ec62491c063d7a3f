"""The control socket that a service manager hands over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from runtime.daemon.control_server import inherited_socket

HANDED = """
import os, socket, sys
from runtime.daemon.control_server import inherited_socket
found = inherited_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
print(found.getsockname() if found else found)
"""


def test_without_a_manager_there_is_none() -> None:
    assert inherited_socket({}) is None
    assert inherited_socket({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None, "meant for another process"
    assert inherited_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}) is None


def _handed(listener: socket.socket) -> str:
    def take() -> None:
        os.dup2(listener.fileno(), 3)

    command = [sys.executable, "-c", HANDED]
    done = subprocess.run(command, close_fds=False, preexec_fn=take, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_third_descriptor_is_taken_if_it_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        assert _handed(listener) == "None", "it does not listen"
        listener.listen()
        assert _handed(listener) == str(tmp_path / "control")
    with socket.socket(socket.AF_INET) as other:
        other.listen()
        assert _handed(other) == "None", "no Unix socket"
