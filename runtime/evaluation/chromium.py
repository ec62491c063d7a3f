"""Chromium as a real window on an X display, with its DevTools protocol over a pipe (no port is opened).

Only the episode driver holds this: it resets pages and reads rewards. The agent sees pixels.
Protocol: JSON messages ended by NUL on file descriptors 3 (to Chromium) and 4 (from it), `--remote-debugging-pipe`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import RuntimeFault

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--kiosk",
    "--window-position=0,0",
    "--remote-debugging-pipe",
    "--password-store=basic",
    "--disable-features=Translate",
)
COMMAND_TIMEOUT_S = 20.0


class ChromiumFailed(RuntimeFault):
    """Chromium is not installed, ended by itself, or a DevTools command was refused."""

    next_step = (
        "install it with 'apt-get install chromium' (make demo does), and see that DISPLAY is a running X server"
    )


def find_chromium() -> str:
    """Returns the path of Chromium's program. Raises ChromiumFailed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise ChromiumFailed("Chromium was not found on PATH")
    return program


class Chromium:
    """One browser with one page. `command()` speaks DevTools; `on_event` gets every event of the page."""

    def __init__(
        self, display: str, process: asyncio.subprocess.Process, to_fd: int, from_fd: int, profile: str
    ) -> None:
        self.display = display
        self._process = process
        self._to_fd, self._from_fd = to_fd, from_fd
        self._profile = profile
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 0
        self._session = ""
        self._buffer = bytearray()
        self.on_event: Callable[[str, dict[str, Any]], None] = lambda method, params: None
        asyncio.get_running_loop().add_reader(from_fd, self._readable)

    @classmethod
    async def start(cls, display: str, width: int, height: int, scale: float = 1.0) -> Chromium:
        """Starts a browser whose window has `width` x `height` CSS pixels, each `scale` pixels of the screen wide."""
        program = find_chromium()
        child_in, to_child = os.pipe()
        from_child, child_out = os.pipe()
        profile = tempfile.mkdtemp(prefix="idlehands-chromium-")
        # A shell puts the two pipes on descriptors 3 and 4, where Chromium expects them.
        process = await asyncio.create_subprocess_exec(
            "/bin/bash",
            "-c",
            f'exec "$0" "$@" 3<&{child_in} 4>&{child_out}',
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            f"--force-device-scale-factor={scale}",
            "about:blank",
            pass_fds=(child_in, child_out),
            env={**os.environ, "DISPLAY": display},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(child_in)
        os.close(child_out)
        browser = cls(display, process, to_child, from_child, profile)
        try:
            await browser._attach()
        except BaseException:
            await browser.close()
            raise
        return browser

    async def _attach(self) -> None:
        targets = await self.command("Target.getTargets")
        page = next(target for target in targets["targetInfos"] if target["type"] == "page")
        attached = await self.command("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self.command("Page.enable")
        await self.command("Runtime.enable")

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends one DevTools command and returns its result. Raises ChromiumFailed: refused, late, or it ended."""
        self._next_id += 1
        message: dict[str, Any] = {"id": self._next_id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[self._next_id] = answer
        try:
            os.write(self._to_fd, json.dumps(message).encode() + b"\0")
            return await asyncio.wait_for(answer, COMMAND_TIMEOUT_S)
        except (TimeoutError, asyncio.TimeoutError, BrokenPipeError) as error:
            raise ChromiumFailed(f"Chromium did not answer {method} within {COMMAND_TIMEOUT_S:.0f} s") from error
        finally:
            self._pending.pop(message["id"], None)

    async def evaluate(self, expression: str) -> Any:
        """Runs JavaScript in the page and returns its value (awaited when it is a promise)."""
        answer = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description", details.get("text", "unknown"))
            raise ChromiumFailed(f"the page refused a script: {text}", next_step="see the page's own source")
        return answer["result"].get("value")

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._from_fd)
        for descriptor in (self._to_fd, self._from_fd):
            os.close(descriptor)
        if self._process.returncode is None:
            # With its DevTools pipe closed Chromium ends by itself; the group goes with it.
            try:
                await asyncio.wait_for(self._process.wait(), 3)
            except (TimeoutError, asyncio.TimeoutError):
                os.killpg(self._process.pid, 9)
                await self._process.wait()
        await asyncio.to_thread(shutil.rmtree, self._profile, ignore_errors=True)

    def _readable(self) -> None:
        data = os.read(self._from_fd, 1 << 20)
        if not data:
            asyncio.get_running_loop().remove_reader(self._from_fd)
            for answer in self._pending.values():
                if not answer.done():
                    answer.set_exception(ChromiumFailed("Chromium ended by itself"))
            return
        self._buffer += data
        *messages, rest = self._buffer.split(b"\0")
        self._buffer = bytearray(rest)
        for raw in messages:
            self._dispatch(json.loads(bytes(raw)))

    def _dispatch(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self.on_event(message["method"], message.get("params", {}))
            return
        answer = self._pending.get(message["id"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(ChromiumFailed(f"Chromium refused a DevTools command: {message['error']['message']}"))
        else:
            answer.set_result(message.get("result", {}))


def page_url(path: Path) -> str:
    return path.resolve().as_uri()
