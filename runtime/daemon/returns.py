"""What comes back from a worker, into the store and the ledger: each run is booked once and its job settled once.

    Intent ─► save the checkpoint      Ended ─► finish      Yielded, GivenBack, Broken, gone without a word ─► release

`settle` may be called again after it raised (a full disk): what it had done already it does not do again. After a crash
of the daemon `recover` books and gives back what was running then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from kernels.gate.word import boottime_ns
from runtime.daemon.events import Events
from runtime.daemon.expenses import Expenses
from runtime.daemon.meter import Meter, Metered
from runtime.daemon.variants import Variants
from runtime.daemon.worker_link import Accounted, Broken, Ended, GivenBack, Intent, Outputs, Progress, Used, Yielded
from runtime.jobs.account import ACCOUNT
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.life import NOTHING, ClaimLost, Job, JobState, Result, Spent, counted_actions
from runtime.jobs.store import Claim, JobStore
from runtime.ledger.audit import read_entries
from runtime.ledger.entry import Entry, Run
from runtime.ledger.ledger import Ledger
from runtime.telemetry.metrics import Metrics
from runtime.wire.tables import Outcome

log = logging.getLogger("idlehands.returns")
_OUTCOMES = {int(outcome): outcome.name for outcome in Outcome}


@dataclass
class Running:
    """A claimed job in the worker."""

    claim: Claim
    job: Job
    gate_epochs: tuple[int, int]  # of the gate, at the beginning and the last time it was seen open
    checkpoint: bytes
    began_s: float
    renewed_s: float
    is_cancelled: bool = False  # the store knows already; its place is kept until the worker has let go
    is_booked: bool = False
    used_model: str = ""  # name@version, or the agent where it has none
    joules: float = 0.0  # once it is booked
    metered: Metered | None = None  # once its run has ended
    cpu_began_s: float = 0.0  # of the worker, when it was given the job
    actions: int = 0  # or results, that were told of this run
    spent: Spent = NOTHING  # until now; once it is booked, in all
    is_over_budget: bool = False


@dataclass(frozen=True)
class Died:
    """The worker ended without a word about its run (`how` says the rest); `seconds` is what the daemon saw of it.

    Its actions are those that were told: the one under way is counted by who goes on, if the desktop says that it was
    applied."""

    used: Used
    how: str


RunEnded = Ended | Yielded | Broken | GivenBack | Died


class Returns:
    """Settles runs. Raises JobStoreError and LedgerError where the disk does not take it; then nothing is lost."""

    def __init__(
        self,
        jobs: JobStore,
        ledger: Ledger,
        events: Events,
        metrics: Metrics,
        meter: Meter,
        awake_power_W: float,
        variants: Variants,
        expenses: Expenses,
    ) -> None:
        self._expenses = expenses
        self._variants = variants
        self._jobs, self._ledger, self._events, self._metrics = jobs, ledger, events, metrics
        self._meter, self._awake_power_W = meter, awake_power_W
        self.finished = self.actions = 0

    async def keep(self, running: Running, message: Intent) -> None:
        """An action is about to be sent: its checkpoint is kept. Raises ClaimLost when the job is another's."""
        await self._jobs.save(running.claim, Checkpoint.decode(message.checkpoint), running.spent, message.elsewhere)
        running.checkpoint = message.checkpoint

    async def keep_results(self, running: Running, message: Outputs) -> None:
        """A batch has results: they are kept, and how far it is. Raises ClaimLost."""
        await self._jobs.put_results(running.claim, message.first, message.results)
        running.checkpoint = message.checkpoint
        running.actions += len(message.results)
        await self._jobs.save(running.claim, Checkpoint.decode(message.checkpoint), running.spent, True)
        self._metrics.add("batch_results", len(message.results))
        count, whole = message.first + len(message.results), len(running.job.spec.batch.inputs)
        self._events.publish("results", message.job, first=message.first, count=count, of=whole)

    def progress(self, running: Running, message: Progress) -> None:
        """An action ended: told and counted."""
        self.actions += 1
        running.actions += message.outcome == Outcome.applied
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
            presses=message.presses,
            **times,
        )

    def account(self, message: Accounted) -> None:
        """A decision was made whose digests are told to whoever compares cars."""
        self._events.publish(ACCOUNT, message.job, asked=message.asked, said=message.said)

    def died(self, running: Running, how: str) -> Died:
        """Returns the end of a run whose worker is gone; its CPU time is not known: its wall time is taken."""
        seconds = time.monotonic() - running.began_s
        before = running.claim.checkpoint.actions() if running.claim.checkpoint else 0
        now = Checkpoint.decode(running.checkpoint).actions() if running.checkpoint else before
        return Died(Used(max(running.actions, now - before), seconds, seconds, ()), how)

    async def settle(self, running: Running, ended: RunEnded) -> None:
        """Books the run, then finishes its job or gives it back."""
        is_run = not isinstance(ended, GivenBack) or ended.used.seconds > 0  # what was refused has used nothing
        if is_run and not running.is_booked:
            await self._book(running, ended.used)
            running.is_booked = True
        if running.is_cancelled:
            return
        try:
            await self._give(running, ended)
        except ClaimLost as error:
            log.info("a run counts no more: %s", error.message, extra={"job": running.claim.job})
            return
        verdict = await asyncio.to_thread(self._variants.tell, running, ended)
        if verdict is not None and verdict.state == "worse":
            self._events.publish("canary_withdrawn", model=running.used_model, why=verdict.why)

    async def recover(self) -> int:
        """Books and gives back every job that a daemon before this one died with; returns how many they were."""
        left = await self._jobs.list_jobs([JobState.claimed], 1_000_000)
        entries = read_entries(self._ledger.folder) if left else ()
        booked = {(entry.job, entry.owner_epoch) for entry in entries if isinstance(entry, Entry)}
        for job in left:
            claimed_ns = next(
                event.at_ns for event in reversed(await self._jobs.history(job.job)) if event.kind == "claimed"
            )
            seconds = max(0.0, (job.updated_ns - claimed_ns) / 1e9)
            running = Running(Claim(job.job, job.owner_epoch), job, (0, 0), job.checkpoint, 0.0, 0.0)
            running.is_booked = (job.job, job.owner_epoch) in booked
            actions = counted_actions(job) - job.actions
            await self.settle(running, Died(Used(actions, seconds, seconds, ()), "died with its daemon"))
        return len(left)

    async def _book(self, running: Running, used: Used) -> None:
        spec = running.job.spec
        metered = running.metered or self._meter.take(running.claim.job, time.monotonic())
        running.metered = metered
        run = Run(
            job=running.claim.job,
            owner_epoch=running.claim.owner_epoch,
            gate_epochs=running.gate_epochs,
            model=running.used_model or spec.model or spec.agent,
            seconds=used.seconds,
            cpu_s=used.cpu_s,
            actions=used.actions,
            joules=metered.joules(used.seconds),
            awake_joules=used.seconds * metered.awake_share() * self._awake_power_W,
            battery_share=metered.battery_share(),
        )
        entry = await asyncio.to_thread(self._ledger.append, run)
        running.joules, running.spent = entry.joules, self._expenses.booked(entry)
        self._metrics.add("run_seconds", used.seconds)
        self._metrics.add("compute_joules", entry.joules, source="estimated" if entry.is_estimated else "measured")
        self._metrics.add("awake_joules", entry.awake_joules)
        self._events.publish(
            "run_ended", running.claim.job, actions=used.actions, seconds=used.seconds, unheard=used.unheard
        )

    async def _give(self, running: Running, ended: RunEnded) -> None:
        claim, actions, spent = running.claim, ended.used.actions, running.spent
        if isinstance(ended, Ended):
            state, total = JobState(ended.state), ended.used.total
            await self._jobs.finish(claim, Result(state, ended.answer, actions=actions, spent=spent, total=total))
            self.finished += 1
            self._metrics.add("jobs_ended", state=ended.state)
            self._events.publish(ended.state, claim.job, over=True, answer=ended.answer, actions=actions)
        elif isinstance(ended, Yielded):
            checkpoint = Checkpoint.decode(ended.checkpoint)
            await self._jobs.release(
                claim, f"yielded to the car: {ended.reason}", checkpoint, actions=actions, spent=spent
            )
            self._metrics.add("jobs_given_back", kind="yield")
            self._events.publish(
                "yielded",
                claim.job,
                reason=ended.reason,
                stopped_ns=ended.stopped_ns,
                released_ns=ended.released_ns,
                handed_back_ns=boottime_ns(),
            )
        elif isinstance(ended, GivenBack):
            last_or_none = Checkpoint.decode(ended.checkpoint) if ended.checkpoint else None
            await self._jobs.release(claim, f"not promised: {ended.reason}", last_or_none, actions=actions, spent=spent)
            self._metrics.add("jobs_given_back", kind="refused")
            self._events.publish("given_back", claim.job, reason=ended.reason)
        else:
            if isinstance(ended, Broken):
                kind, error, last = "broken", ended.error, ended.checkpoint
            else:
                kind, error, last = "worker_died", f"its worker {ended.how}", running.checkpoint
            checkpoint_or_none = Checkpoint.decode(last) if last else None
            left = await self._jobs.release(
                claim, error, checkpoint_or_none, actions=actions, is_fault=True, spent=spent
            )
            self._metrics.add("jobs_given_back", kind="fault")
            self._events.publish(kind, claim.job, over=left.is_over, error=error)
