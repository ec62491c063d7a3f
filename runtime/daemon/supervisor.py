"""One worker process seen from the daemon: started, spoken to, and killed when it must be gone and is not.

absent ─► starting ─► up ─► leaving ─► absent        a start that fails is tried again later and later (0.1 … 10 s)
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

import msgspec

from kernels.gate.word import boottime_ns
from runtime.config.config import Config
from runtime.daemon.channel import BadMessage, Channel
from runtime.daemon.worker_link import Leave, ToDaemon, Up

log = logging.getLogger("idlehands.supervisor")
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 10.0


def describe_end(status: int) -> str:
    """Returns how a process ended, from its exit status as `subprocess` has it (below 0: by that signal)."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by signal {-status} ({signal.strsignal(-status) or 'unknown'})"


class WorkerHandle:
    """Holds at most one worker process. `on_message` hears it; `on_end` hears its pid, and when and how it ended."""

    def __init__(
        self, config: Config, on_message: Callable[[ToDaemon], None], on_end: Callable[[int, int, str], None]
    ) -> None:
        self._config = config
        self._on_message = on_message
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel[ToDaemon] | None = None
        self._task: asyncio.Task[None] | None = None
        self._kill: asyncio.TimerHandle | None = None
        self._killed_because = ""
        self._backoff_s = FIRST_BACKOFF_S
        self._not_before_s = 0.0
        self.is_up = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts the worker unless there is one, or the last start failed a moment ago."""
        loop = asyncio.get_running_loop()
        if self._task is None and loop.time() >= self._not_before_s:
            self._task = asyncio.create_task(self._run())

    def send(self, message: msgspec.Struct) -> None:
        if self._channel is None:
            raise RuntimeError("send() to a worker that is not up")
        self._channel.send(message)

    def leave(self, reason: str) -> None:
        """Asks the worker to give back and end; it is killed after the grace."""
        if self._channel is not None:
            self._channel.send(Leave(reason))
        self.kill_after_grace()

    def kill_after_grace(self) -> None:
        """The worker is expected to leave by itself: makes sure of it."""
        if self._process is not None and self._kill is None:
            loop = asyncio.get_running_loop()
            grace_s = self._config.worker.grace_s
            why = f"did not leave within its grace of {grace_s:g} s and was killed"
            self._kill = loop.call_later(grace_s, self._kill_now, why)

    def _kill_now(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            log.warning("worker %d %s", self._process.pid, why)
            self._killed_because = why
            self._process.kill()

    async def wait_gone(self) -> None:
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        daemon_end, worker_end = socket.socketpair()
        config = self._config
        arguments = {
            "fd": worker_end.fileno(),
            "gate_word": str(config.daemon.gate_word_path),
            "identity_folder": str(config.daemon.identity_folder),
            "models_folder": str(config.daemon.models_folder),
            "device_path": str(config.daemon.device_path),
            "settings": config.worker,
            "log_level": config.daemon.log_level,
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "runtime.daemon.worker",
            msgspec.json.encode(arguments).decode(),
            pass_fds=(worker_end.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            # One thread unless an engine is told otherwise: idle pools spin, and the car's other work waits for them.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        worker_end.close()
        pid = self._process.pid
        reader, writer = await asyncio.open_unix_connection(sock=daemon_end, limit=1 << 20)
        self._channel = Channel(reader, writer, ToDaemon)
        try:
            await self._listen(self._channel)
        finally:
            came_up, self.is_up = self.is_up, False
            await self._channel.close()
            self._channel = None
            self.kill_after_grace()
            status = await self._process.wait()
            ended_ns = boottime_ns()
            how = self._killed_because or describe_end(status)
            if self._kill is not None:
                self._kill.cancel()
            self._kill = self._process = self._task = None
            self._killed_because = ""
            if not came_up:
                self._not_before_s = asyncio.get_running_loop().time() + self._backoff_s
                self._backoff_s = min(self._backoff_s * 2, LAST_BACKOFF_S)
            self._on_end(pid, ended_ns, how)

    async def _listen(self, channel: Channel[ToDaemon]) -> None:
        while True:
            try:
                message = await channel.receive()
            except BadMessage as error:
                self._kill_now(f"is not understood and was killed: {error}")
                return
            if message is None:
                return
            if isinstance(message, Up):
                self.is_up = True
                self._backoff_s = FIRST_BACKOFF_S
            self._on_message(message)
