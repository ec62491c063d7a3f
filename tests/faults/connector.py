"""The connector of an X display as a process that is killed in the middle and started again on the same folder."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

from runtime.desktop.pressed import PressedList
from runtime.desktop.x11.desktop import PRESSED_FILE

SOCKET, STATE = "desktop", "state"  # in the story's folder
STARTS = 5
_CONNECTOR = """
import asyncio, json, sys
from runtime.desktop.serve import serve_display
tell = lambda event: print(json.dumps(event), flush=True)
asyncio.run(serve_display(sys.argv[1], "unix:" + sys.argv[2], None, sys.argv[3], tell))
"""


class ConnectorProcess:
    """The connector of `display`; it listens on `folder`/desktop."""

    def __init__(self, display: str, folder: Path) -> None:
        self._display, self._folder = display, folder
        self._process: subprocess.Popen[str] | None = None
        self.failed_starts = 0

    def has_died(self) -> bool:
        """Returns whether it ended though nobody killed it."""
        return self._process is not None and self._process.poll() is not None

    def cut_off(self) -> int:
        """Returns how many of its connections the watchdog ended: they held the server for a second, on a busy machine.

        Such a connector ends, as it should: what keeps services up starts it again."""
        path = self._folder / STATE / PRESSED_FILE
        return PressedList(path).cut_off if path.exists() else 0

    async def start(self) -> None:
        """Returns once it listens; tries again like what keeps services up. AssertionError if it does not come up."""
        for _ in range(STARTS):
            if await self._start():
                return
            self.failed_starts += 1
            await self.kill()
        raise AssertionError(f"the connector did not start in {STARTS} tries")

    async def _start(self) -> bool:
        socket = self._folder / SOCKET
        socket.unlink(missing_ok=True)
        command = [sys.executable, "-c", _CONNECTOR, self._display, str(socket), str(self._folder / STATE)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stdout = self._process.stdout
        assert stdout is not None

        def until_listening() -> bool:
            return any(json.loads(line)["event"] == "listening" for line in stdout)

        is_up = await asyncio.to_thread(until_listening)
        self._draining = asyncio.get_running_loop().run_in_executor(None, stdout.read)
        return is_up

    async def kill(self) -> None:
        """kill -9, wherever it is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            await self._draining
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    async def again(self) -> None:
        """Kills it and starts it again."""
        await self.kill()
        await self.start()
