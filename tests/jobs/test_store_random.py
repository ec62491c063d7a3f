"""Random lives of jobs, every store against a model of a few lines; the model knows only what the contract says."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import ManualClock
from runtime.jobs.life import ClaimLost, JobState, Result
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Capabilities, Claim, JobStore
from tests.jobs.stores import ANY_ORDER_AMONG_EQUALS, MAX_ATTEMPTS, STORES

T = TypeVar("T")


@dataclass
class Known:
    """What the model knows of one job."""

    priority: int
    desktop: str
    owner_epoch: int = 0
    is_mine: bool = False
    state: bytes | None = None
    over: JobState | None = None
    attempts: int = 0


class Lives(RuleBasedStateMachine):
    """Rules are calls; leases and deadlines run in the store's own tests, here time stands still but for restarts."""

    @initialize(kind=st.sampled_from(sorted(STORES)))
    def begin(self, kind: str) -> None:
        self.kind = kind
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.loop = asyncio.new_event_loop()
        self.store: JobStore = STORES[kind](self.folder, self.clock)
        self.known: dict[str, Known] = {}
        self.claims: list[Claim] = []
        self.epoch = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.do(self.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    def do(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    @rule(priority=st.integers(-2, 2), desktop=st.integers(0, 2))
    def submit(self, priority: int, desktop: int) -> None:
        spec = JobSpec(desktop=f"unix:/{desktop}", instruction="x", priority=priority)
        job, is_new = self.do(self.store.submit(spec))
        assert is_new
        assert job not in self.known
        self.known[job] = Known(priority, spec.desktop)

    @rule()
    def claim(self) -> None:
        self.clock.advance(60)  # past every wait after a fault
        claim = self.do(self.store.claim(Capabilities(), "car", 1e9))
        busy = {job.desktop for job in self.known.values() if job.is_mine}
        ready = [
            name for name, job in self.known.items() if job.over is None and not job.is_mine and job.desktop not in busy
        ]
        if not ready:
            assert claim is None
            return
        assert claim is not None
        first = max(ready, key=lambda name: self.known[name].priority)
        assert self.known[claim.job].priority == self.known[first].priority
        assert claim.job == first or (self.kind in ANY_ORDER_AMONG_EQUALS and claim.job in ready)
        assert claim.owner_epoch > self.epoch
        job = self.known[claim.job]
        assert (claim.checkpoint.state if claim.checkpoint else None) == job.state
        self.epoch = job.owner_epoch = claim.owner_epoch
        job.is_mine = True
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(pick=st.data(), state=st.binary(max_size=50))
    def save(self, pick: st.DataObject, state: bytes) -> None:
        claim, job = self.pick(pick)
        if self.holds(claim, self.store.save(claim, Checkpoint(agent_kind="a", state=state))):
            job.state = state

    @precondition(lambda self: self.claims)
    @rule(pick=st.data(), state=st.none() | st.binary(max_size=50), is_fault=st.booleans())
    def release(self, pick: st.DataObject, state: bytes | None, is_fault: bool) -> None:
        claim, job = self.pick(pick)
        checkpoint = None if state is None else Checkpoint(agent_kind="a", state=state)
        if self.holds(claim, self.store.release(claim, "why", checkpoint, is_fault=is_fault)):
            job.is_mine = False
            job.state = job.state if state is None else state
            job.attempts += is_fault
            if job.attempts >= MAX_ATTEMPTS:
                job.over = JobState.failed

    @precondition(lambda self: self.claims)
    @rule(pick=st.data(), state=st.sampled_from([state for state in JobState if state.is_over]))
    def finish(self, pick: st.DataObject, state: JobState) -> None:
        claim, job = self.pick(pick)
        if job.over is not None and claim.owner_epoch == job.owner_epoch:
            return  # saying the same again is the contract's own test
        if self.holds(claim, self.store.finish(claim, Result(state))):
            job.is_mine, job.over = False, state

    @precondition(lambda self: self.claims)
    @rule(pick=st.data())
    def cancel(self, pick: st.DataObject) -> None:
        claim, job = self.pick(pick)
        if job.over is None:
            self.do(self.store.cancel(claim.job, "no more"))
            job.is_mine, job.over = False, JobState.cancelled

    @rule()
    def restart(self) -> None:
        if self.kind != "memory":
            self.do(self.store.close())
            self.store = STORES[self.kind](self.folder, self.clock)

    @rule()
    def reboot(self) -> None:
        self.clock.reboot()
        self.do(self.store.sweep())
        for job in self.known.values():
            if job.is_mine:
                job.is_mine = False
                job.attempts += 1
                if job.attempts >= MAX_ATTEMPTS:
                    job.over = JobState.failed

    @invariant()
    def every_job_is_where_the_model_says(self) -> None:
        if not hasattr(self, "store"):
            return
        stored = {job.job: job for job in self.do(self.store.list_jobs(limit=10**6))}
        assert set(stored) == set(self.known)
        for name, job in self.known.items():
            expected = job.over or (JobState.claimed if job.is_mine else JobState.queued)
            assert stored[name].state is expected
            assert stored[name].owner_epoch == job.owner_epoch
            ends = [event for event in self.do(self.store.history(name)) if JobState.__members__.get(event.kind)]
            assert sum(JobState(event.kind).is_over for event in ends) == (job.over is not None)

    def pick(self, pick: st.DataObject) -> tuple[Claim, Known]:
        claim = pick.draw(st.sampled_from(self.claims))
        return claim, self.known[claim.job]

    def holds(self, claim: Claim, call: Awaitable[object]) -> bool:
        """Makes the call; it must succeed for the present owner and be refused to everybody else."""
        job = self.known[claim.job]
        is_owner = job.is_mine and job.owner_epoch == claim.owner_epoch
        try:
            self.do(call)
        except ClaimLost:
            assert not is_owner
            return False
        assert is_owner
        return True


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
