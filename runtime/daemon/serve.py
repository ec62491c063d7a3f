"""The daemon `idlehands serve`: the composition root, the one file that knows every part.

    control socket ──► jobs (SQLite) ──claim──► worker ──► desktop
                           ▲                      │
    gate word ──► dispatch ┴──── results, checkpoints, ledger ◄┘

It claims a job only while the gate is open, hands it to the worker, keeps its lease alive, stores every checkpoint that comes
back, and writes what was used into the ledger. It holds no model memory and reads no pixel.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import msgspec

from kernels.gate.word import REASONS, GateReader, GateReading, GateWordError, State, boottime_ns
from runtime import _build_id
from runtime.config.config import Config
from runtime.daemon.control import Status
from runtime.daemon.control_server import ControlServer
from runtime.daemon.events import Events
from runtime.daemon.supervisor import WorkerHandle
from runtime.daemon.worker_link import Assign, Broken, Cancel, Ended, Progress, ToDaemon, Up, Yielded
from runtime.errors import RuntimeFault
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.store import Claim, Job
from runtime.ledger.ledger import Ledger
from runtime.telemetry.metrics import Metrics
from runtime.transport.identity import Identity

log = logging.getLogger("idlehands.daemon")
GATE_POLL_S = 0.02
RETRY_DELAY_S = 1.0  # a job whose session broke is not offered again before this


class AlreadyRunning(RuntimeFault):
    """Another daemon holds this state folder."""

    next_step = "stop it first, or give this one a state folder and a runtime folder of its own"


@dataclass
class Running:
    """A claimed job in the worker."""

    claim: Claim
    job: Job
    gate_epoch: int
    checkpoint: bytes
    began_s: float


class Daemon:
    """One daemon over one state folder. `run()` returns after SIGTERM or SIGINT, with every job handed back."""

    def __init__(self, config: Config) -> None:
        self._config = config
        for folder in (config.daemon.state, config.daemon.run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(config)
        self.events = Events()
        self.metrics = Metrics()
        self.jobs = SqliteJobStore(config.daemon.jobs_path, clock=boottime_ns)
        self.ledger = Ledger(config.daemon.ledger_path)
        if not Identity.exists(config.daemon.identity_folder):
            Identity.create(config.daemon.identity_folder, name="car")
        self._worker = WorkerHandle(config, self._worker_said, self._worker_ended)
        self._running: dict[str, Running] = {}
        self._gate: GateReader | None = None
        self._gate_seen = ("absent", (), 0)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._began_s = time.monotonic()
        self._idle_since_s = time.monotonic()
        self._actions = self._finished = 0

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serves until a stop signal. `ready` is called once the control socket answers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        control = ControlServer(self)
        await control.start(self._config.daemon.control_path)
        if self._config.daemon.metrics:
            self.metrics.serve(self._config.daemon.metrics)
        _notify("READY=1")
        ready()
        try:
            while not self._stopping.is_set():
                self._turn()
                await self._sleep()
        finally:
            _notify("STOPPING=1")
            await control.stop()
            self._worker.leave("the daemon stops")
            await self._worker.wait_gone()
            self.jobs.close()
            self.ledger.close()
            self.metrics.close()
            self._lock.close()

    async def _sleep(self) -> None:
        """Waits for a reason to look again: a submission, an end, a stop, or the next poll of the gate."""
        self._wake.clear()
        wake = asyncio.ensure_future(self._wake.wait())
        stop = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((wake, stop), timeout=GATE_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        wake.cancel()
        stop.cancel()

    def wake(self) -> None:
        self._wake.set()

    def _turn(self) -> None:
        """One look at the gate, the queue and the worker."""
        reading = self._read_gate()
        now_s = time.monotonic()
        if self._running:
            self._idle_since_s = now_s
            self._renew_leases(now_s)
        if reading is None or not reading.is_open(boottime_ns()):
            if self._worker.pid is not None and _is_urgent(reading):
                self._worker.kill_after_grace()
            return
        if self.jobs.has_claimable():
            self._worker.start()
            if self._worker.is_up:
                self._assign(reading)
        elif self._worker.is_up and now_s - self._idle_since_s > self._config.worker.idle_s:
            self._worker.leave("no job")

    def _read_gate(self) -> GateReading | None:
        reading: GateReading | None = None
        try:
            if self._gate is None:
                self._gate = GateReader(self._config.daemon.gate_word_path)
            reading = self._gate.read()
        except GateWordError as error:
            self._gate = None
            seen = ("absent", (str(error),), 0)
        else:
            is_open = reading.is_open(boottime_ns())
            lapsed = reading.state is State.OPEN and not is_open
            state = "closed" if lapsed else reading.state.name.lower()
            seen = (state, ("lease_ran_out",) if lapsed else reading.reasons, reading.gate_epoch)
        if seen != self._gate_seen:
            self._gate_seen = seen
            self.metrics.gate_open.set(seen[0] == "open")
            self.events.publish("gate", state=seen[0], reasons=list(seen[1]), gate_epoch=seen[2])
        return reading

    def _assign(self, reading: GateReading) -> None:
        while len(self._running) < self._config.worker.sessions:
            claim = self.jobs.claim(capabilities=(), lease_s=self._config.daemon.lease_s)
            if claim is None:
                return
            job = self.jobs.get(claim.job)
            checkpoint = claim.checkpoint.encode() if claim.checkpoint is not None else b""
            self._running[claim.job] = Running(claim, job, reading.gate_epoch, checkpoint, time.monotonic())
            spec = msgspec.msgpack.encode(job.spec)
            self._worker.send(Assign(claim.job, claim.owner_epoch, reading.gate_epoch, spec, checkpoint))
            self.events.publish("claimed", claim.job, owner_epoch=claim.owner_epoch, resumed=bool(checkpoint))

    def _renew_leases(self, now_s: float) -> None:
        for running in self._running.values():
            if now_s - running.began_s > self._config.daemon.lease_s / 3:
                self.jobs.renew(running.claim, self._config.daemon.lease_s)
                running.began_s = now_s

    def _worker_said(self, message: ToDaemon) -> None:
        if isinstance(message, Up):
            self.events.publish("worker_up", pid=message.pid)
            self.wake()
            return
        running = self._running.get(message.job)
        if running is None or running.claim.owner_epoch != message.owner_epoch:
            return
        if isinstance(message, Progress):
            self._progress(running, message)
            return
        del self._running[message.job]
        if isinstance(message, Ended):
            self.jobs.finish(running.claim, state=message.state, answer=message.answer, actions=message.actions)
            self._finished += 1
            self.metrics.jobs.labels(state=message.state).inc()
        elif isinstance(message, Yielded):
            self.jobs.release(running.claim, reason=f"yielded: {message.reason}", checkpoint=_decode(message.checkpoint))
        else:
            self.jobs.release(
                running.claim, reason=message.error, checkpoint=_decode(message.checkpoint), delay_s=RETRY_DELAY_S, failed=True
            )
        self._book(running, message)
        self._tell_end(running, message)
        self.wake()

    def _tell_end(self, running: Running, message: Ended | Yielded | Broken) -> None:
        job = running.claim.job
        if isinstance(message, Ended):
            self.events.publish(message.state, job, over=True, answer=message.answer, actions=message.actions)
        elif isinstance(message, Yielded):
            self.events.publish(
                "yielded",
                job,
                reason=message.reason,
                stopped_ns=message.stopped_ns,
                released_ns=message.released_ns,
                handed_back_ns=boottime_ns(),
            )
        else:
            over = self.jobs.get(job).is_over
            self.events.publish("broken", job, over=over, error=message.error)

    def _progress(self, running: Running, message: Progress) -> None:
        running.checkpoint = message.checkpoint
        self.jobs.save(running.claim, _decode(message.checkpoint))
        self._actions += 1
        self.metrics.actions.inc()
        self.metrics.action_seconds.observe(message.times.total_us / 1e6)
        self.events.publish(
            "action",
            message.job,
            seq=message.seq,
            outcome=message.outcome,
            reason=message.reason,
            action=message.action,
            x=message.x,
            y=message.y,
            **msgspec.to_builtins(message.times) if False else {name: getattr(message.times, name) for name in message.times.__struct_fields__},
        )

    def _book(self, running: Running, message: Ended | Yielded | Broken) -> None:
        self.ledger.append(
            job=running.claim.job,
            owner_epoch=running.claim.owner_epoch,
            gate_epoch=running.gate_epoch,
            model=running.job.spec.model or running.job.spec.agent,
            seconds=message.seconds,
            cpu_s=message.cpu_s,
            actions=message.actions,
        )

    def _worker_ended(self, pid: int, ended_ns: int) -> None:
        """The worker is gone. What it had not given back was lost with it: back to the store with the last checkpoint."""
        self.events.publish("worker_ended", pid=pid, at_ns=ended_ns)
        for running in list(self._running.values()):
            del self._running[running.claim.job]
            checkpoint = _decode(running.checkpoint) if running.checkpoint else None
            self.jobs.release(running.claim, reason="its worker died", checkpoint=checkpoint, failed=True)
            self.events.publish("worker_died", running.claim.job, over=self.jobs.get(running.claim.job).is_over)
        self.wake()

    def cancel(self, job: str, reason: str) -> Job:
        """Cancels a job: at once when it waits, through its worker when it runs."""
        if job in self._running:
            self._worker.send(Cancel(job, reason))
        else:
            self.jobs.cancel(job, reason)
            self.events.publish("cancelled", job, over=True, answer=reason)
        return self.jobs.get(job)

    def status(self) -> Status:
        return Status(
            version="0.1.0",
            build_id=_build_id.BUILD_ID,
            gate_state=self._gate_seen[0],
            gate_reasons=tuple(self._gate_seen[1]),
            gate_epoch=self._gate_seen[2],
            workers=int(self._worker.pid is not None),
            running=tuple(self._running),
            queued=self.jobs.count("queued"),
            finished=self._finished,
            actions=self._actions,
            uptime_s=time.monotonic() - self._began_s,
        )


def _decode(checkpoint: bytes) -> Checkpoint | None:
    return Checkpoint.decode(checkpoint) if checkpoint else None


def _is_urgent(reading: GateReading | None) -> bool:
    return reading is None or any(REASONS[name].urgent for name in reading.reasons if name in REASONS)


def _lock(config: Config) -> IO[str]:
    lock = (config.daemon.state / "daemon.lock").open("a+")
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


def _notify(state: str) -> None:
    """Tells systemd (sd_notify); nothing where it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
