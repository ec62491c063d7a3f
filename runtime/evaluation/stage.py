"""The stage: every process of the product, started as a person would start it in four terminals.

    Xvfb ◄── Chromium (pages)          the desktop that is worked on
      ▲ ◄── recorder                   an independent witness of every input event
      └──── idlehands desktop          the connector, TLS
                 ▲
    idlehands bridge ─► gate ─► idlehands serve ─► worker

Logs go to one file a process in its folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware_bridge.settings import as_dict
from kernels.gate.word import GateReader, GateWordError, boottime_ns
from runtime.config.config import Config, Daemon, Desktop, Worker
from runtime.daemon.client import Client, DaemonAbsent
from runtime.errors import RuntimeFault
from runtime.evaluation.recorder import Recorded, Recorder
from runtime.evaluation.xserver import XServer
from runtime.store.bundle import sign
from runtime.store.keys import development_key
from runtime.store.models import ModelStore
from runtime.transport.identity import Identity

COMMAND = (sys.executable, "-m", "runtime.cli.main")
START_S = 60.0  # a busy machine takes its time
STOP_S = 5.0


def fresh_config(folder: Path) -> Config:
    """Returns the settings of a stage in `folder`, emptied: nothing of an earlier run is believed."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("run", "state", "desktop", "bridge"):
        (folder / part).mkdir(parents=True, mode=0o700)
    return Config(
        daemon=Daemon(state_folder=str(folder / "state"), runtime_folder=str(folder / "run")),
        worker=Worker(),
        desktop=Desktop(state_folder=str(folder / "desktop")),
    )


class StageFailed(RuntimeFault):
    """A process of the stage ended, or did not come up in time."""

    next_step = "read its log of the run, and run 'idlehands doctor'"


class Actor:
    """One process of the stage. Lines of JSON on its stdout go to `hears`, stderr to a log file."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._log_path = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(
        self, *arguments: str, env: dict[str, str] | None = None, hears: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        with self._log_path.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if hears else log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )
        if hears is not None:
            self._reader = asyncio.create_task(self._read(hears))

    async def _read(self, hears: Callable[[dict[str, Any]], None]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                hears(json.loads(line))

    def failure(self) -> StageFailed:
        text = self._log_path.read_text(errors="replace").strip().splitlines()
        code = self._process.returncode if self._process is not None else None
        ended = "did not come up in time" if code is None else f"ended with code {code}"
        return StageFailed(f"{self.name} {ended}: {text[-1] if text else 'it said nothing'} ({self._log_path})")

    async def until(self, is_ready: Callable[[], bool]) -> None:
        """Waits for `is_ready`. Raises StageFailed when the process ends first, or after START_S."""
        give_up_s = time.monotonic() + START_S
        while not is_ready():
            if not self.is_running or time.monotonic() > give_up_s:
                raise self.failure()
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_S)
            except (TimeoutError, asyncio.TimeoutError):
                self._process.kill()
                await self._process.wait()
        if self._reader is not None:
            await self._reader


class Stage:
    """Everything that is needed, up and connected, between `async with` and its end."""

    def __init__(self, folder: Path, config: Config, width: int, height: int) -> None:
        self.folder = folder
        self.config = config
        self.x = XServer(width, height)
        self.desktop_url = ""
        self.desktop_events: list[dict[str, Any]] = []
        self.recorded: list[Recorded] = []
        self._actors: list[Actor] = []

    async def __aenter__(self) -> Stage:
        self.x.__enter__()
        self.recorder = Recorder(self.x.display, self.folder / "inputs.jsonl")
        self.recorder.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_actors()
        self.recorded = self.recorder.stop()
        self.x.__exit__(None, None, None)

    async def stop_actors(self) -> None:
        """Ends every process but the X server and its witness, the last one first."""
        for actor in reversed(self._actors):
            await actor.stop()

    def _actor(self, name: str) -> Actor:
        actor = Actor(name, self.folder)
        self._actors.append(actor)
        return actor

    @property
    def flags(self) -> tuple[str, ...]:
        """What makes every verb of the command line look at this stage."""
        daemon, fleet = self.config.daemon, self.config.fleet
        settings = {
            "daemon.state_folder": daemon.state_folder,
            "daemon.runtime_folder": daemon.runtime_folder,
            "desktop.state_folder": self.config.desktop.state_folder,
            **{f"fleet.{name}": value for name, value in as_dict(fleet).items() if value and fleet.server},
        }
        return tuple(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))

    def pair(self) -> None:
        """Gives both ends an identity and makes each trust the other's certificate, as a person would by pairing."""
        car, desktop = (
            Identity.load(folder) if Identity.exists(folder) else Identity.create(folder, name)
            for folder, name in (
                (self.config.daemon.identity_folder, "car"),
                (self.config.desktop.state / "identity", "desktop"),
            )
        )
        car.trust(desktop.certificate_pem)
        desktop.trust(car.certificate_pem)

    def install_models(self, bundles: Path) -> None:
        """Signs every bundle in `bundles` with a key of this stage's own and installs it, as `idlehands model` does."""
        store = ModelStore(self.config.daemon.models_folder)
        key = development_key(self.folder / "keys", store.trusted_folder)
        for path in sorted(bundles.glob("*.ihb")):
            copy = self.folder / path.name
            shutil.copyfile(path, copy)
            sign(copy, key)
            store.install(copy)
            copy.unlink()

    async def start_desktop(self, display: str = "", rfb: str = "") -> None:
        """Starts a connector beside `display` (default: the stage's own), or before the VNC server at `rfb`."""
        desktop = self._actor("desktop")
        self.desktop_url = ""

        def hears(event: dict[str, Any]) -> None:
            if event.get("event") == "listening":
                self.desktop_url = event["address"]
            self.desktop_events.append(event)

        await desktop.start(
            *COMMAND, "desktop", "--json", "--listen", "tls://127.0.0.1:0", *self.flags,
            *(("--rfb", rfb) if rfb else ()),
            env={"DISPLAY": display or self.x.display}, hears=hears,
        )  # fmt: skip
        await desktop.until(lambda: bool(self.desktop_url))

    async def stop_desktop(self) -> None:
        """Ends the connector that was started last."""
        for actor in [actor for actor in self._actors if actor.name == "desktop"]:
            await actor.stop()
            self._actors.remove(actor)

    async def start_bridge(self, source: str, policy: Path, state_folder: Path) -> None:
        bridge = self._actor("bridge")
        daemon = self.config.daemon
        began_ns = boottime_ns()
        await bridge.start(
            *COMMAND, "bridge", "--source", source, "--policy-file", str(policy),
            "--runtime-dir", daemon.runtime_folder, "--state-dir", str(state_folder),
        )  # fmt: skip

        def has_written() -> bool:
            try:
                return GateReader(daemon.gate_word_path).read().lease_until_ns > began_ns
            except GateWordError:
                return False

        await bridge.until(has_written)

    async def start_daemon(self) -> None:
        serve = self._actor("serve")
        await serve.start(*COMMAND, "serve", *self.flags)
        give_up_s = time.monotonic() + START_S
        while True:
            try:
                async with await Client.connect(self.config.daemon.control_path) as client:
                    await client.status()
                return
            except DaemonAbsent:
                if not serve.is_running or time.monotonic() > give_up_s:
                    raise serve.failure() from None
                await asyncio.sleep(0.02)
