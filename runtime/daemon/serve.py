"""The daemon `idlehands serve`: the composition root, the one file that knows every part.

    control socket ──► jobs (SQLite) ──► dispatch ──► worker ──► desktop
                                            │
    gate word ──────────────────────────────┘──► ledger, events, metrics

It holds no model memory and reads no pixel. It starts while the gate is closed, and then does nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.metadata
import os
import signal
import time
from collections.abc import Callable
from typing import IO

from firmware_bridge.notify import Notifier
from runtime.config.build import require_one_build
from runtime.config.config import Config
from runtime.daemon.control import Status
from runtime.daemon.control_server import ControlServer
from runtime.daemon.dispatch import Dispatcher
from runtime.daemon.events import Events
from runtime.daemon.fleet import FleetEnd
from runtime.daemon.gate_watch import GateWatch
from runtime.errors import RuntimeFault
from runtime.jobs.life import Job, JobState
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.store import JobStore
from runtime.ledger.ledger import Ledger
from runtime.telemetry.metrics import Metrics, serve_metrics
from runtime.transport.identity import Identity

# Of the jobs that wait, so many of the newest are looked at to say how many the forecast holds back.
HELD_BACK_COUNTED = 1000


class AlreadyRunning(RuntimeFault):
    """Another daemon holds this state folder."""

    next_step = "stop it first, or give this one a state folder and a runtime folder of its own"


class FolderUnusable(RuntimeFault):
    """The state folder or the runtime folder cannot be made or written."""

    next_step = "name folders that this user may write: --set daemon.state_folder=… --set daemon.runtime_folder=…"


class Daemon:
    """One daemon over one state folder. `run()` returns after SIGTERM or SIGINT, with every job handed back."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._build_id = require_one_build()
        self._lock = _lock(config)
        self.events = Events()
        self.metrics = Metrics()
        self._version = importlib.metadata.version("idlehands")
        self.metrics.set("build", 1, version=self._version, build_id=self._build_id)
        self._gate = GateWatch(config.daemon.gate_word_path, self.events)
        folder = config.daemon.identity_folder
        identity = Identity.load(folder) if Identity.exists(folder) else Identity.create(folder, name="car")
        self.ledger = Ledger(config.daemon.ledger_path, identity.signing_key, busy_core_W=config.ledger.busy_core_W)
        local = SqliteJobStore(config.daemon.jobs_path, max_attempts=config.daemon.max_attempts)
        self.fleet = FleetEnd(config, local, self.ledger) if config.fleet.server else None
        self.jobs: JobStore = self.fleet.jobs if self.fleet is not None else local
        self.dispatcher = Dispatcher(config, self.jobs, self.ledger, self._gate, self.events, self.metrics)
        self._began_s = time.monotonic()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serves until a stop signal. `ready` is called once the control socket answers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.dispatcher.stop)
        control = ControlServer(self)
        await control.start(self.config.daemon.control_path)
        address = self.config.daemon.metrics
        metrics = await serve_metrics(self.metrics, address) if address else None
        systemd = Notifier()
        systemd.send("READY=1")
        ready()
        if self.fleet is not None:
            self.fleet.start(self.dispatcher, self.events)
        try:
            await self.dispatcher.run()
        finally:
            systemd.send("STOPPING=1")
            await control.stop()
            if self.fleet is not None:
                await self.fleet.stop()
            await self.jobs.close()
            self.ledger.close()
            if metrics is not None:
                metrics.close()
            self._lock.close()

    async def cancel(self, job: str, reason: str) -> Job:
        """Ends a job: the store forgets its owner's claim at once, and its run, if it runs here, is told to stop."""
        ended = await self.jobs.cancel(job, reason)
        self.dispatcher.cancel_running(job, reason)
        self.events.publish("cancelled", job, over=True, answer=reason)
        return ended

    async def status(self) -> Status:
        counts = await self.jobs.counts()
        ahead = self.dispatcher.forecast.read()
        waiting = await self.jobs.list_jobs([JobState.queued], HELD_BACK_COUNTED) if ahead is not None else []
        return Status(
            version=self._version,
            build_id=self._build_id,
            gate_state=self._gate.state,
            gate_reasons=self._gate.reasons,
            gate_epoch=self._gate.gate_epoch,
            workers=int(self.dispatcher.has_worker),
            running=tuple(self.dispatcher.running),
            queued=counts[JobState.queued],
            finished=self.dispatcher.returns.finished,
            actions=self.dispatcher.returns.actions,
            uptime_s=time.monotonic() - self._began_s,
            models=self.dispatcher.models,
            forecast_s=-1.0 if ahead is None else ahead.length_s,
            forecast_by="" if ahead is None else ahead.limited_by,
            held_back=sum(ahead is not None and not ahead.admits(job.spec.limits.max_s) for job in waiting),
            computing=self.dispatcher.computing,
        )


def _lock(config: Config) -> IO[str]:
    """Makes the folders and holds the state folder for this process."""
    try:
        for folder in (config.daemon.state, config.daemon.run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (config.daemon.state / "daemon.lock").open("a+")
    except OSError as error:
        raise FolderUnusable(f"{error.filename} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise AlreadyRunning(f"process {holder} is a daemon on {config.daemon.state} already") from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
