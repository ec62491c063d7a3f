"""A whole car for tests: a daemon process, a gate that the test holds, and a desktop in memory behind a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kernels.gate.word import State, boottime_ns
from kernels.gate.writer import GateWriter
from runtime.daemon.client import Client, DaemonAbsent
from runtime.daemon.control import Event, JobView
from runtime.desktop.connector import serve_desktop
from runtime.desktop.memory import MemoryDesktop, MemoryScreen
from runtime.jobs.spec import JobSpec, Limits

ROOT = Path(__file__).resolve().parents[2]
LEASE_NS = 150_000_000
DEADLINE_S = 30.0


class HeldGate:
    """A bridge in a thread: keeps the lease of a gate that the test opens and closes."""

    def __init__(self, path: Path) -> None:
        self._writer = GateWriter(path)
        self._reasons: tuple[str, ...] = ("starting",)
        self._duty_permille, self._max_threads = 1000, 64
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._publish()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def open(self) -> None:
        self._set(())

    def close(self, reason: str = "moving") -> None:
        self._set((reason,))

    def allow(self, *, duty_permille: int = 1000, max_threads: int = 64) -> None:
        with self._lock:
            self._duty_permille, self._max_threads = duty_permille, max_threads
            self._publish()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._writer.close()

    def _set(self, reasons: tuple[str, ...]) -> None:
        with self._lock:
            self._reasons = reasons
            self._publish()

    def _publish(self) -> None:
        state = State.CLOSED if self._reasons else State.OPEN
        lease_ns = 0 if self._reasons else boottime_ns() + LEASE_NS
        allowed = {"duty_permille": self._duty_permille, "max_threads": self._max_threads}
        self._writer.publish(state, self._reasons, lease_ns, **allowed)

    def _keep(self) -> None:
        while not self._stop.wait(0.03):
            with self._lock:
                self._publish()


class Car:
    """The daemon of one state folder; it can be killed and started again."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        for part in ("state", "run", "desk"):
            (folder / part).mkdir(exist_ok=True, mode=0o700)
        self.gate = HeldGate(folder / "run" / "gate")
        self._settings = {"daemon.state_folder": folder / "state", "daemon.runtime_folder": folder / "run", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def flags(self) -> list[str]:
        return [part for key, value in self._settings.items() for part in ("--set", f"{key}={value}")]

    @property
    def control(self) -> Path:
        return self.folder / "run" / "control"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with (self.folder / "serve.log").open("ab") as log:
            command = [sys.executable, "-m", "runtime.cli.main", "serve", *self.flags]
            self._process = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT)
        until_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                async with await Client.connect(self.control) as client:
                    await client.status()
                return
            except DaemonAbsent:
                assert time.monotonic() < until_s, (self.folder / "serve.log").read_text()
                assert self._process.poll() is None, (self.folder / "serve.log").read_text()
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def forecast(self, length_s: float, limited_by: str) -> None:
        """Writes what a bridge would: a status that stays fresh for the test's time."""
        status = {
            "written_ns": boottime_ns(),
            "every_ms": 60_000,
            "forecast": {"length_s": length_s, "limited_by": limited_by},
            "energy": {"debt_Wh": 0.0, "today_Wh": 0.0},
            **{"duty_permille": 1000, "max_threads": 1, "power_budget_mW": 0},
        }
        path = self.folder / "run" / "bridge.json"
        path.with_suffix(".new").write_text(json.dumps(status))
        path.with_suffix(".new").replace(path)

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=DEADLINE_S)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self.gate.end()

    def workers(self) -> list[int]:
        """Returns the worker processes of this daemon."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def kill_worker(self) -> None:
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    async def submit(self, **fields: Any) -> str:
        given = {"desktop": f"unix:{self.folder}/desk.socket", "instruction": "click everything"}
        spec = JobSpec(**{**given, "limits": Limits(max_s=60), **fields})
        async with await Client.connect(self.control) as client:
            return (await client.submit(spec)).job

    async def job(self, job: str) -> JobView:
        async with await Client.connect(self.control) as client:
            return next(one for one in await client.list_jobs((), 1000) if one.job == job)

    async def until(self, job: str, *kinds: str) -> Event:
        """Follows `job` until an event of one of `kinds`."""
        async with await Client.connect(self.control) as client:
            async for event in client.follow(job):
                if event.kind in kinds:
                    return event
        raise AssertionError(f"job {job} was over before any of {kinds}")


class Desk:
    """A desktop in memory with `boxes` painted on it that answer nothing, so that a job takes one look for each."""

    def __init__(self, folder: Path, boxes: int) -> None:
        image = np.full((240, 320, 4), 230, np.uint8)
        for number in range(boxes):
            x, y = 20 + number % 5 * 60, 20 + number // 5 * 40
            image[y : y + 20, x : x + 40, :3] = 40
            image[y + 2 : y + 18, x + 2 : x + 38, :3] = 250
        self.screen = MemoryScreen(320, 240, image=image)
        self.events: list[dict[str, Any]] = []
        self._folder = folder

    def clicks(self) -> list[tuple[int, int]]:
        return [(event.x, event.y) for event in self.screen.events if event.kind == "press"]

    async def serve(self, ready: asyncio.Event) -> None:
        desktop = MemoryDesktop(self.screen)
        try:
            await serve_desktop(
                desktop,
                f"unix:{self._folder}/desk.socket",
                None,
                self._folder / "desk",
                self.events.append,
                ready=lambda address: ready.set(),
            )
        finally:
            desktop.close()


@contextlib.asynccontextmanager
async def desk(folder: Path, boxes: int = 8) -> AsyncIterator[Desk]:
    made, ready = Desk(folder, boxes), asyncio.Event()
    task = asyncio.create_task(made.serve(ready))
    await ready.wait()
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def car(folder: Path, **settings: Any) -> Iterator[Car]:
    made = Car(folder, **settings)
    try:
        yield made
    finally:
        made.end()
