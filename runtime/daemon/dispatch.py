"""The daemon's one loop over jobs: claims while the gate is open, hands them to the worker, settles what comes back.

    queue ──claim──► worker ──► returns.py: checkpoints kept, runs booked, jobs finished or given back

Everything that changes a running job happens in this loop, one message after the other. Where the disk does not take
something it is kept and tried again, and nothing new is claimed until it is settled.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from dataclasses import dataclass

from kernels.gate.word import GateReading
from runtime.config.config import Config
from runtime.daemon.control import Computing, LoadedModel
from runtime.daemon.events import Events
from runtime.daemon.expenses import Expenses, cpu_seconds, exceeded
from runtime.daemon.forecast import BOUNDS, ForecastReader
from runtime.daemon.gate_watch import GateWatch
from runtime.daemon.meter import Meter
from runtime.daemon.returns import Returns, RunEnded, Running
from runtime.daemon.supervisor import WorkerHandle
from runtime.daemon.variants import Variants
from runtime.daemon.worker_link import (
    Accounted,
    Assign,
    Cancel,
    GivenBack,
    Intent,
    Kept,
    Models,
    Outputs,
    Progress,
    ToDaemon,
    ToWorker,
    Up,
)
from runtime.jobs.life import ClaimLost, JobState
from runtime.jobs.store import Capabilities, JobStore, JobStoreError
from runtime.ledger.ledger import Ledger, LedgerError
from runtime.ledger.statement import Prices
from runtime.store.models import ModelStore
from runtime.telemetry.metrics import Metrics

log = logging.getLogger("idlehands.dispatch")
GATE_POLL_S = 0.02
IDLE_POLL_S = 0.25
STORE_RETRY_S = 1.0
FULL_S = 10.0  # after a worker refused a job: how long nothing is claimed if nothing changes
OWNER = "local"


@dataclass(frozen=True)
class WorkerGone:
    """The worker's process has ended, `at_ns` (CLOCK_BOOTTIME)."""

    pid: int
    at_ns: int
    how: str


class Dispatcher:
    """Moves jobs between the store and the worker. `run()` returns when `stop()` was called and all is handed back."""

    def __init__(
        self, config: Config, jobs: JobStore, ledger: Ledger, gate: GateWatch, events: Events, metrics: Metrics
    ) -> None:
        self._config, self._jobs = config, jobs
        self._gate, self._events, self._metrics = gate, events, metrics
        self._variants = Variants(ModelStore(config.daemon.models_folder))
        self._meter = Meter(config.daemon.gate_word_path)
        self._expenses = Expenses(self._meter, config.ledger, Prices(**dataclasses.asdict(config.prices)))
        self.returns = Returns(
            jobs, ledger, events, metrics, self._meter, config.ledger.awake_power_W, self._variants, self._expenses
        )
        self._inbox: asyncio.Queue[ToDaemon | WorkerGone | None] = asyncio.Queue()
        self._worker = WorkerHandle(
            config, self._inbox.put_nowait, lambda *end: self._inbox.put_nowait(WorkerGone(*end))
        )
        self._unsettled: deque[tuple[Running, RunEnded]] = deque()
        self._settle_at_s = 0.0
        self._stopping = False
        self._idle_since_s = time.monotonic()
        self.forecast = ForecastReader(config.daemon.gate_word_path)
        self._held_back = False
        self.running: dict[str, Running] = {}
        self.models: tuple[LoadedModel, ...] = ()
        self.computing: Computing | None = None
        self._full_until_s = 0.0
        self._full_allowance = (0, 0)

    @property
    def has_worker(self) -> bool:
        return self._worker.pid is not None

    def wake(self) -> None:
        """Makes the loop look at the queue now: a job was submitted."""
        self._inbox.put_nowait(None)

    def stop(self) -> None:
        self._stopping = True
        self.wake()

    def cancel_running(self, job: str, reason: str) -> None:
        """Tells the worker to drop a job, if it runs here; the store has been told."""
        running = self.running.get(job)
        if running is not None:
            running.is_cancelled = True
            self._drop(job, reason)

    async def run(self) -> None:
        recovered = await self.returns.recover()
        if recovered:
            log.warning("the daemon before this one died; its jobs are given back", extra={"count": recovered})
        while not self._stopping:
            is_busy = await self._look()
            await self._hear(GATE_POLL_S if is_busy else IDLE_POLL_S)
        self._worker.leave("the daemon stops")
        while self._worker.pid is not None or not self._inbox.empty():
            await self._hear(GATE_POLL_S)
        await self._settle()

    async def _look(self) -> bool:
        """One look at gate, queue and worker; returns whether there is anything to look at often."""
        reading = self._gate.read()
        self._measure(reading)
        self._metrics.set("workers", self.has_worker)
        self._metrics.set("sessions", len(self.running))
        now_s = time.monotonic()
        if self._unsettled and now_s >= self._settle_at_s:
            await self._settle()
        self._meter.sample(now_s, self.running)
        if self.running:
            self._idle_since_s = now_s
            self._see_epoch(reading)
            self._see_expenses(now_s)
            await self._renew_leases(now_s)
        if reading is None:
            if self.has_worker and self._gate.is_urgent:
                self._worker.kill_after_grace()
            return self.has_worker
        if self._unsettled:
            return True
        try:
            return await self._feed(reading, now_s)
        except JobStoreError as error:
            self._store_failed(error)
            return False

    async def _feed(self, reading: GateReading, now_s: float) -> bool:
        """Gives the worker what it can take, starts one when there is work, ends one that was idle for long."""
        counts = await self._jobs.counts()
        for state, number in counts.items():
            self._metrics.set("jobs", number, state=state.value)
        queued = counts[JobState.queued]
        able = self._capabilities()
        has_place = len(self.running) < self._config.worker.sessions
        has_work = has_place and await self._jobs.can_claim(able)
        self._tell_held_back(bool(queued) and has_place and not has_work and able.longest_s is not None, able)
        if has_work:
            self._worker.start()
            if self._worker.is_up:
                await self._assign(reading, able)
        elif self._worker.is_up and now_s - self._idle_since_s > self._config.worker.idle_s:
            self._worker.leave("no job")
        return has_work or self.has_worker

    def _measure(self, reading: GateReading | None) -> None:
        """Puts the gate, what the governor grants and what the bridge tells into the metrics."""
        self._metrics.set("gate_open", reading is not None)
        self._metrics.set("gate_epoch", self._gate.gate_epoch)
        self._metrics.set("duty_permille", reading.duty_permille if reading is not None else 0)
        self._metrics.set("threads_granted", reading.max_threads if reading is not None else 0)
        self._metrics.set("power_budget_watts", reading.power_budget_mW / 1000 if reading is not None else 0)
        told = self.forecast.status()
        self._metrics.set("energy_debt_watt_hours", -1.0 if told is None else told.energy.debt_Wh)
        self._metrics.set("energy_today_watt_hours", -1.0 if told is None else told.energy.today_Wh)
        ahead = told.forecast if told is not None and reading is not None else None
        self._metrics.set("forecast_seconds", -1.0 if ahead is None else ahead.length_s)
        for bound in BOUNDS:
            self._metrics.set("forecast_limited", ahead is not None and ahead.limited_by == bound, by=bound)
        self._metrics.set("jobs_held_back", self._held_back)

    def _capabilities(self) -> Capabilities:
        """What may be claimed now: nothing that would, at its longest, outlast what the bridge forecasts."""
        ahead = self.forecast.read()
        return Capabilities(
            longest_s=None if ahead is None else ahead.length_s,
            resident=frozenset(model.bundle.partition("@")[0] for model in self.models),
            memory_MiB=self._config.worker.memory_MiB,
            is_plugged_in=self._meter.is_supplied(),
            versions=self._variants.installed(time.monotonic()),
            currency=self._expenses.currency,
        )

    def _tell_held_back(self, is_held_back: bool, able: Capabilities) -> None:
        """Says it once, when jobs begin to wait for a longer forecast and when they no longer do."""
        if is_held_back is not self._held_back:
            self._held_back = is_held_back
            ahead = self.forecast.read()
            limited_by = ahead.limited_by if ahead is not None else ""
            self._events.publish("held_back" if is_held_back else "admitted", length_s=able.longest_s, by=limited_by)

    async def _assign(self, reading: GateReading, able: Capabilities) -> None:
        if self._full_allowance != (reading.duty_permille, reading.max_threads):
            self._full_until_s = 0.0
        while len(self.running) < self._config.worker.sessions and time.monotonic() >= self._full_until_s:
            claim = await self._jobs.claim(able, OWNER, self._config.daemon.lease_s)
            if claim is None:
                return
            job = await self._jobs.get(claim.job)
            checkpoint = claim.checkpoint.encode() if claim.checkpoint is not None else b""
            now_s = time.monotonic()
            spec, used_model = await asyncio.to_thread(self._variants.choose, job)
            epochs = reading.gate_epoch, reading.gate_epoch
            running = Running(claim, job, epochs, checkpoint, now_s, now_s, used_model=used_model)
            running.cpu_began_s = cpu_seconds(self._worker.pid or 0)
            self.running[claim.job] = running
            self._say(Assign(claim.job, claim.owner_epoch, reading.gate_epoch, spec.encode(), checkpoint, job.actions))
            self._events.publish("claimed", claim.job, owner_epoch=claim.owner_epoch, resumed=bool(checkpoint))
            self._full_allowance = (reading.duty_permille, reading.max_threads)

    def _see_epoch(self, reading: GateReading | None) -> None:
        if reading is not None:
            for running in self.running.values():
                running.gate_epochs = running.gate_epochs[0], reading.gate_epoch

    def _see_expenses(self, now_s: float) -> None:
        """Ends the runs of jobs whose budget is spent."""
        for job, running in self.running.items():
            budget = running.job.spec.budget
            if not budget.is_limited or running.is_over_budget or running.is_cancelled:
                continue
            cpu_s = cpu_seconds(self._worker.pid or 0) - running.cpu_began_s
            running.spent = self._expenses.so_far(job, now_s - running.began_s, max(0.0, cpu_s), running.actions)
            if why := exceeded(running.job, running.spent):
                running.is_over_budget = True
                self._drop(job, why, JobState.failed)

    async def _renew_leases(self, now_s: float) -> None:
        for running in list(self.running.values()):
            if running.is_cancelled or now_s - running.renewed_s < self._config.daemon.lease_s / 3:
                continue
            running.renewed_s = now_s
            try:
                await self._jobs.renew(running.claim, self._config.daemon.lease_s)
            except ClaimLost as error:
                self._lost(running, error)
            except JobStoreError as error:
                self._store_failed(error)

    async def _hear(self, at_most_s: float) -> None:
        """Handles what has come, or waits for it."""
        try:
            message = await asyncio.wait_for(self._inbox.get(), at_most_s)
        except (TimeoutError, asyncio.TimeoutError):
            return
        if message is None:
            return
        if isinstance(message, WorkerGone):
            self._events.publish("worker_ended", pid=message.pid, at_ns=message.at_ns, how=message.how)
            for running in self.running.values():
                self._unsettled.append((running, self.returns.died(running, message.how)))
            self.running.clear()
            self.models, self.computing, self._full_until_s = (), None, 0.0
            await self._settle()
        elif isinstance(message, Up):
            self._metrics.add("worker_starts")
            self._events.publish("worker_up", pid=message.pid)
        elif isinstance(message, Models):
            self._note_models(message)
        else:
            known = self.running.get(message.job)
            if known is None or known.claim.owner_epoch != message.owner_epoch:
                return
            if isinstance(message, Progress):
                self.returns.progress(known, message)
            elif isinstance(message, Accounted):
                self.returns.account(message)
            elif isinstance(message, Intent | Outputs):
                await self._keep(known, message)
            else:
                # A place that is free again is somebody's; a refusal says that there is none.
                self._full_until_s = time.monotonic() + FULL_S if isinstance(message, GivenBack) else 0.0
                self._unsettled.append((self.running.pop(message.job), message))
                await self._settle()

    def _note_models(self, message: Models) -> None:
        self.models, self.computing = message.models, message.computing
        self._metrics.set("models_resident", len(message.models))
        self._metrics.set("models_resident_bytes", sum(model.resident_bytes for model in message.models))
        self._metrics.set("model_loads", message.computing.loads)
        self._metrics.set("model_evictions", message.computing.evictions)
        self._metrics.set("decisions", message.computing.decisions)
        self._metrics.set("deadline_misses", message.computing.misses)

    async def _keep(self, running: Running, message: Intent | Outputs) -> None:
        """Keeps an intent and lets the action go, or keeps results; on a full disk they wait."""
        if running.is_cancelled:
            return
        try:
            if isinstance(message, Intent):
                await self.returns.keep(running, message)
                seq = message.seq
            else:
                await self.returns.keep_results(running, message)
                seq = message.first + len(message.results)
            self._say(Kept(message.job, seq))
        except ClaimLost as error:
            self._lost(running, error)
        except JobStoreError as error:
            self._store_failed(error)
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self._inbox.put_nowait, message)

    async def _settle(self) -> None:
        """Settles what came back, in order; what the disk does not take stays for later."""
        try:
            while self._unsettled:
                await self.returns.settle(*self._unsettled[0])
                self._unsettled.popleft()
        except (JobStoreError, LedgerError) as error:
            self._store_failed(error)

    def _lost(self, running: Running, error: ClaimLost) -> None:
        """The job is another's by now, or over: its run ends, and nothing that it still says counts."""
        running.is_cancelled = True
        self._drop(running.claim.job, error.message)

    def _drop(self, job: str, reason: str, state: JobState = JobState.cancelled) -> None:
        self._say(Cancel(job, reason, state.value))

    def _say(self, message: ToWorker) -> None:
        """Tells the worker. One that died while something was awaited hears nothing: its end is in the inbox."""
        if self._worker.is_up:
            self._worker.send(message)

    def _store_failed(self, error: JobStoreError | LedgerError) -> None:
        self._settle_at_s = time.monotonic() + STORE_RETRY_S
        self._metrics.add("store_errors")
        log.error("%s", error, extra={"count": len(self._unsettled)})
