"""The daemon's one loop over jobs: claims while the gate is open, hands them to the worker, keeps what comes back.

    queue ──claim──► worker ──► Progress: the checkpoint is kept      Ended: finish      Yielded, Broken: release
                       └── gone without a word: release with the last checkpoint, a fault

Everything that changes a running job happens in this loop, one message after the other; a claim that was lost meanwhile
(its lease ran out, somebody cancelled it) is dropped with its run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from kernels.gate.word import GateReading, boottime_ns
from runtime.config.config import Config
from runtime.daemon.events import Events
from runtime.daemon.gate_watch import GateWatch
from runtime.daemon.supervisor import WorkerHandle
from runtime.daemon.worker_link import Assign, Broken, Cancel, Ended, Progress, ToDaemon, Up, Yielded
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.life import ClaimLost, Job, JobState, Result
from runtime.jobs.store import Capabilities, Claim, JobStore
from runtime.ledger.ledger import Ledger
from runtime.telemetry.metrics import Metrics
from runtime.wire.tables import Outcome

log = logging.getLogger("idlehands.dispatch")
GATE_POLL_S = 0.02
IDLE_POLL_S = 0.25
OWNER = "local"
_OUTCOMES = {int(outcome): outcome.name for outcome in Outcome}


@dataclass
class Running:
    """A claimed job in the worker."""

    claim: Claim
    job: Job
    gate_epoch: int
    checkpoint: bytes
    renewed_s: float
    is_cancelled: bool = False  # the store knows already; its place is kept until the worker has let go


@dataclass(frozen=True)
class WorkerGone:
    """The worker's process has ended, `at_ns` (CLOCK_BOOTTIME)."""

    pid: int
    at_ns: int


class Dispatcher:
    """Moves jobs between the store and the worker. `run()` returns when `stop()` was called and all is handed back."""

    def __init__(
        self, config: Config, jobs: JobStore, ledger: Ledger, gate: GateWatch, events: Events, metrics: Metrics
    ) -> None:
        self._config, self._jobs, self._ledger = config, jobs, ledger
        self._gate, self._events, self._metrics = gate, events, metrics
        self._inbox: asyncio.Queue[ToDaemon | WorkerGone | None] = asyncio.Queue()
        self._worker = WorkerHandle(
            config, self._inbox.put_nowait, lambda pid, at_ns: self._inbox.put_nowait(WorkerGone(pid, at_ns))
        )
        self._stopping = False
        self._idle_since_s = time.monotonic()
        self.running: dict[str, Running] = {}
        self.finished = self.actions = 0

    @property
    def has_worker(self) -> bool:
        return self._worker.pid is not None

    def wake(self) -> None:
        """Makes the loop look at the queue now: a job was submitted."""
        self._inbox.put_nowait(None)

    def stop(self) -> None:
        self._stopping = True
        self.wake()

    def cancel_running(self, job: str, reason: str) -> bool:
        """Tells the worker to drop a job; False if it does not run here."""
        running = self.running.get(job)
        if running is None:
            return False
        running.is_cancelled = True
        if self._worker.is_up:
            self._worker.send(Cancel(job, reason))
        return True

    async def run(self) -> None:
        while not self._stopping:
            is_busy = await self._look()
            await self._hear(GATE_POLL_S if is_busy else IDLE_POLL_S)
        self._worker.leave("the daemon stops")
        while self._worker.pid is not None or not self._inbox.empty():
            await self._hear(GATE_POLL_S)

    async def _hear(self, at_most_s: float) -> None:
        """Handles what has come, or waits for it."""
        try:
            message = await asyncio.wait_for(self._inbox.get(), at_most_s)
        except (TimeoutError, asyncio.TimeoutError):
            return
        if isinstance(message, WorkerGone):
            await self._worker_gone(message)
        elif isinstance(message, Up):
            self._events.publish("worker_up", pid=message.pid)
        elif message is not None:
            await self._worker_said(message)

    async def _look(self) -> bool:
        """One look at gate, queue and worker; returns whether there is anything to look at often."""
        reading = self._gate.read()
        self._metrics.set("gate_open", reading is not None)
        self._metrics.set("workers", self.has_worker)
        self._metrics.set("sessions", len(self.running))
        now_s = time.monotonic()
        if self.running:
            self._idle_since_s = now_s
            await self._renew_leases(now_s)
        if reading is None:
            if self.has_worker and self._gate.is_urgent:
                self._worker.kill_after_grace()
            return self.has_worker
        counts = await self._jobs.counts()
        for state, number in counts.items():
            self._metrics.set("jobs", number, state=state.value)
        queued = counts[JobState.queued]
        if queued and len(self.running) < self._config.worker.sessions:
            self._worker.start()
            if self._worker.is_up:
                await self._assign(reading)
        elif self._worker.is_up and now_s - self._idle_since_s > self._config.worker.idle_s:
            self._worker.leave("no job")
        return bool(queued) or self.has_worker

    async def _assign(self, reading: GateReading) -> None:
        while len(self.running) < self._config.worker.sessions:
            claim = await self._jobs.claim(Capabilities(), OWNER, self._config.daemon.lease_s)
            if claim is None:
                return
            job = await self._jobs.get(claim.job)
            checkpoint = claim.checkpoint.encode() if claim.checkpoint is not None else b""
            self.running[claim.job] = Running(claim, job, reading.gate_epoch, checkpoint, time.monotonic())
            self._worker.send(Assign(claim.job, claim.owner_epoch, reading.gate_epoch, job.spec.encode(), checkpoint))
            self._events.publish("claimed", claim.job, owner_epoch=claim.owner_epoch, resumed=bool(checkpoint))

    async def _renew_leases(self, now_s: float) -> None:
        for running in list(self.running.values()):
            if not running.is_cancelled and now_s - running.renewed_s > self._config.daemon.lease_s / 3:
                running.renewed_s = now_s
                try:
                    await self._jobs.renew(running.claim, self._config.daemon.lease_s)
                except ClaimLost as error:
                    self._drop(running, error)

    def _drop(self, running: Running, error: ClaimLost) -> None:
        """The claim is another's by now: the run ends, and nothing that it still says counts."""
        log.info("a run is dropped: %s", error.message, extra={"job": running.claim.job})
        self.running.pop(running.claim.job, None)
        if self._worker.is_up:
            self._worker.send(Cancel(running.claim.job, error.message))

    async def _worker_said(self, message: Progress | Ended | Yielded | Broken) -> None:
        running = self.running.get(message.job)
        if running is None or running.claim.owner_epoch != message.owner_epoch:
            return
        if isinstance(message, Progress):
            await self._progress(running, message)
            return
        del self.running[message.job]
        self._book(running, message)
        if running.is_cancelled:
            return
        try:
            await self._over(running, message)
        except ClaimLost as error:
            self._drop(running, error)

    async def _progress(self, running: Running, message: Progress) -> None:
        running.checkpoint = message.checkpoint
        self.actions += 1
        times = {name: getattr(message.times, name) for name in message.times.__struct_fields__}
        self._metrics.add("actions", outcome=_OUTCOMES[message.outcome])
        for name, spent_us in times.items():
            self._metrics.observe("action_seconds", spent_us / 1e6, stage=name.removesuffix("_us"))
        self._events.publish(
            "action",
            message.job,
            seq=message.seq,
            outcome=message.outcome,
            reason=message.reason,
            action=message.action,
            x=message.x,
            y=message.y,
            **times,
        )
        if running.is_cancelled:
            return
        try:
            await self._jobs.save(running.claim, Checkpoint.decode(message.checkpoint))
        except ClaimLost as error:
            self._drop(running, error)

    async def _over(self, running: Running, message: Ended | Yielded | Broken) -> None:
        """The run is over; the job is, or it goes back."""
        claim = running.claim
        if isinstance(message, Ended):
            result = Result(JobState(message.state), answer=message.answer, actions=message.actions)
            await self._jobs.finish(claim, result)
            self.finished += 1
            self._metrics.add("jobs_ended", state=message.state)
            self._events.publish(message.state, claim.job, over=True, answer=message.answer, actions=message.actions)
            return
        checkpoint = Checkpoint.decode(message.checkpoint)
        if isinstance(message, Yielded):
            reason = f"yielded to the car: {message.reason}"
            await self._jobs.release(claim, reason, checkpoint, actions=message.actions)
            self._metrics.add("jobs_given_back", kind="yield")
            self._events.publish(
                "yielded",
                claim.job,
                reason=message.reason,
                stopped_ns=message.stopped_ns,
                released_ns=message.released_ns,
                handed_back_ns=boottime_ns(),
            )
        else:
            await self._fault(running, "broken", message.error, checkpoint, message.actions)

    async def _fault(
        self, running: Running, kind: str, error: str, checkpoint: Checkpoint | None, actions: int
    ) -> None:
        state = await self._jobs.release(running.claim, error, checkpoint, actions=actions, is_fault=True)
        self._metrics.add("jobs_given_back", kind="fault")
        self._events.publish(kind, running.claim.job, over=state.is_over, error=error)

    async def _worker_gone(self, gone: WorkerGone) -> None:
        """What the worker had not given back died with it: back to the store with the last checkpoint."""
        self._events.publish("worker_ended", pid=gone.pid, at_ns=gone.at_ns)
        for running in list(self.running.values()):
            del self.running[running.claim.job]
            if running.is_cancelled:
                continue
            checkpoint = Checkpoint.decode(running.checkpoint) if running.checkpoint else None
            try:
                await self._fault(running, "worker_died", "its worker died", checkpoint, 0)
            except ClaimLost as error:
                log.warning("job %s was not given back: %s", running.claim.job, error)

    def _book(self, running: Running, message: Ended | Yielded | Broken) -> None:
        spec = running.job.spec
        self._ledger.append(
            job=running.claim.job,
            owner_epoch=running.claim.owner_epoch,
            gate_epoch=running.gate_epoch,
            model=spec.model or spec.agent,
            seconds=message.seconds,
            cpu_s=message.cpu_s,
            actions=message.actions,
        )
