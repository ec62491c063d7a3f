"""A job store in memory: for tests, and for a laptop that needs no job to outlive the process."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import JobClock, SystemClock
from runtime.jobs.life import (
    LAST_BACKOFF_S,
    NOTHING,
    Change,
    IdempotencyConflict,
    Job,
    JobEvent,
    JobState,
    Result,
    Spent,
    UnknownJob,
    cancelled,
    claimed,
    finished,
    overdue,
    owned,
    released,
    renewed,
    saved,
    submitted,
)
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import DEFAULT_MAX_ATTEMPTS, Capabilities, Claim, read_checkpoint


class MemoryJobStore:
    """A `runtime.jobs.store.JobStore` that keeps its jobs in a dictionary."""

    def __init__(self, *, clock: JobClock | None = None, max_attempts: int = DEFAULT_MAX_ATTEMPTS) -> None:
        self._clock = clock or SystemClock()
        self._max_attempts = max_attempts
        self._jobs: dict[str, Job] = {}  # in the order of submission
        self._keys: dict[str, str] = {}
        self._events: dict[str, list[JobEvent]] = {}
        self._results: dict[str, dict[int, bytes]] = {}
        self._epoch = 0

    async def submit(self, spec: JobSpec) -> tuple[str, bool]:
        if spec.idempotency_key in self._keys:
            known = self._jobs[self._keys[spec.idempotency_key]]
            if known.spec != spec.assigned(known.job):
                raise IdempotencyConflict(f"the key '{spec.idempotency_key}' is that of job {known.job}, another one")
            return known.job, False
        job = uuid.uuid4().hex
        self._keep(submitted(job, spec, self._clock.now()))
        if spec.idempotency_key:
            self._keys[spec.idempotency_key] = job
        return job, True

    async def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        await self.sweep()
        ready = self._ready(capabilities)
        if not ready:
            return None
        first = max(ready, key=lambda job: job.spec.priority)  # max keeps the oldest of equals
        self._epoch += 1
        self._keep(claimed(first, owner, self._epoch, lease_s, self._clock.now()))
        return Claim(first.job, self._epoch, read_checkpoint(first))

    async def can_claim(self, capabilities: Capabilities) -> bool:
        return bool(self._ready(capabilities))

    def _ready(self, capabilities: Capabilities) -> list[Job]:
        now = self._clock.now()
        busy = {job.spec.desktop for job in self._jobs.values() if job.state is JobState.claimed} - {""}
        return [
            job
            for job in self._jobs.values()
            if job.state is JobState.queued
            and job.spec.desktop not in busy
            and capabilities.can_do(job.spec)
            and not now.utc_ns < job.not_before_ns <= now.utc_ns + LAST_BACKOFF_S * 1e9
        ]

    async def renew(self, claim: Claim, lease_s: float) -> None:
        job = await self.get(claim.job)
        self._jobs[claim.job] = renewed(job, claim.owner_epoch, lease_s, self._clock.now())

    async def save(self, claim: Claim, checkpoint: Checkpoint, spent: Spent = NOTHING, elsewhere: bool = False) -> None:
        job = await self.get(claim.job)
        self._jobs[claim.job] = saved(job, claim.owner_epoch, checkpoint, self._clock.now(), spent)

    async def put_results(self, claim: Claim, first: int, results: Sequence[bytes]) -> None:
        owned(await self.get(claim.job), claim.owner_epoch)
        self._results.setdefault(claim.job, {}).update(enumerate(results, first))

    async def results(self, job: str, since: int = 0) -> list[tuple[int, bytes]]:
        await self.get(job)
        return [one for one in sorted(self._results.get(job, {}).items()) if one[0] >= since]

    async def finish(self, claim: Claim, result: Result) -> None:
        job = await self.get(claim.job)
        self._keep(finished(job, claim.owner_epoch, result, self._clock.now()))

    async def release(
        self,
        claim: Claim,
        reason: str,
        checkpoint: Checkpoint | None = None,
        *,
        actions: int = 0,
        is_fault: bool = False,
        spent: Spent = NOTHING,
    ) -> JobState:
        change = released(
            await self.get(claim.job),
            claim.owner_epoch,
            reason,
            self._clock.now(),
            checkpoint=checkpoint,
            actions=actions,
            is_fault=is_fault,
            spent=spent,
            max_attempts=self._max_attempts,
        )
        self._keep(change)
        return change[0].state

    async def cancel(self, job: str, reason: str) -> Job:
        self._keep(cancelled(await self.get(job), reason, self._clock.now()))
        return self._jobs[job]

    async def sweep(self) -> list[Job]:
        now = self._clock.now()
        changes = [change for job in self._jobs.values() if (change := overdue(job, now, self._max_attempts))]
        for change in changes:
            self._keep(change)
        return [job for job, _ in changes]

    async def get(self, job: str) -> Job:
        if job not in self._jobs:
            raise UnknownJob(f"there is no job {job}")
        return self._jobs[job]

    async def list_jobs(self, states: Iterable[JobState] = (), limit: int = 50) -> list[Job]:
        wanted = frozenset(states) or frozenset(JobState)
        return [job for job in reversed(self._jobs.values()) if job.state in wanted][:limit]

    async def counts(self) -> dict[JobState, int]:
        return {state: sum(job.state is state for job in self._jobs.values()) for state in JobState}

    async def history(self, job: str) -> list[JobEvent]:
        await self.get(job)
        return list(self._events[job])

    async def forget(self, before_ns: int) -> int:
        old = [name for name, job in self._jobs.items() if job.state.is_over and job.updated_ns < before_ns]
        for name in old:
            self._keys.pop(self._jobs[name].spec.idempotency_key, None)
            del self._jobs[name], self._events[name]
            self._results.pop(name, None)
        return len(old)

    async def close(self) -> None:
        return None

    def _keep(self, change: Change | None) -> None:
        if change is not None:
            job, event = change
            self._jobs[job.job] = job
            self._events.setdefault(job.job, []).append(event)
