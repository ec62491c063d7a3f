"""The life of a job, as functions of a job and a moment. Every store keeps jobs its own way; what may happen is here.

    submit ──► queued ──claim──► claimed ──finish──► done | failed | asked | cancelled
                 ▲ │                │ ▲
                 │ │                │ └─ renew, save: the lease is longer, the checkpoint newer
                 │ │                │
                 └─┼──── release ───┤ the gate closed, or (a fault) the session broke
                 └─┼── lease ran out┤ its worker died: a fault
                   │                │
                   └─── cancel ─────┴──► cancelled          deadline passed, or faults ≥ max_attempts ──► failed
                                                              no budget left ──► failed

Whoever claims becomes the owner under a new owner_epoch. renew, save, finish and release carry it and are refused
(ClaimLost) once the job is another's or over: that is all the fencing that there is. A lease that ran out is lost when
`overdue` says so, which a store asks before it gives a job away; until then its owner may still come back.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import msgspec

from runtime.errors import RuntimeFault
from runtime.jobs.checkpoint import Checkpoint, CheckpointError
from runtime.jobs.clock import Now
from runtime.jobs.spec import JobSpec

FIRST_BACKOFF_S, LAST_BACKOFF_S = 1.0, 60.0
TEXT_CAP = 8192  # characters of an answer or a reason; a longer one is cut


class JobState(str, Enum):
    """Where a job is in its life; see the chart above."""

    queued = "queued"
    claimed = "claimed"
    done = "done"
    failed = "failed"
    asked = "asked"
    cancelled = "cancelled"

    @property
    def is_over(self) -> bool:
        return self not in (JobState.queued, JobState.claimed)


class JobError(RuntimeFault):
    """Something asked of the job store cannot be done; the store is unchanged."""


class UnknownJob(JobError):
    """No job of that name is in the store."""

    next_step: ClassVar[str] = "list the jobs with `idlehands jobs`"


class IdempotencyConflict(JobError):
    """Another job was submitted with the same idempotency key."""

    next_step: ClassVar[str] = "use a new key for a new job"


class ClaimLost(JobError):
    """The job is another owner's by now, or over: its lease ran out, it was cancelled, or its deadline passed."""

    next_step: ClassVar[str] = "stop working on it; nothing that the old owner says counts any more"


class JobOver(JobError):
    """The job has ended and cannot be cancelled any more."""


class Spent(msgspec.Struct, array_like=True, frozen=True):
    """What a run has cost: J of computing and of a car awake for it, and its price by the car's [prices]."""

    joules: float = 0.0
    price: float = 0.0


NOTHING = Spent()


class Result(msgspec.Struct, frozen=True):
    """How a job ended on its own terms. `state` is one of those that are over; `actions` and `spent` are the last
    run's, `total` the actions of all runs as far as that one knows."""

    state: JobState
    answer: str = ""
    reason: str = ""
    actions: int = 0
    spent: Spent = NOTHING
    total: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the store has it. `…_ns` are UTC, `lease_until_ns` is CLOCK_BOOTTIME of the boot `lease_boot`.

    `answer` is a question when the state is asked. `attempts` counts faults: runs that ended neither by themselves nor
    by the gate. `claims` counts owners. `joules` and `price` are what its ended runs have cost, `running` what the one
    under way had when it was last heard of.
    """

    job: str
    spec: JobSpec
    state: JobState
    submitted_ns: int
    updated_ns: int
    deadline_ns: int | None = None
    not_before_ns: int = 0
    owner: str = ""
    owner_epoch: int = 0
    lease_until_ns: int = 0
    lease_boot: str = ""
    claims: int = 0
    attempts: int = 0
    actions: int = 0
    checkpoint: bytes = b""
    reason: str = ""
    answer: str = ""
    joules: float = 0.0
    price: float = 0.0
    running: Spent = Spent()


class JobEvent(msgspec.Struct, frozen=True):
    """One line of a job's history. `kind` is submitted, claimed, released, expired or the state that it ended in."""

    job: str
    at_ns: int
    kind: str
    owner: str = ""
    owner_epoch: int = 0
    detail: str = ""


Change = tuple[Job, JobEvent]


def submitted(job: str, spec: JobSpec, now: Now) -> Change:
    """Returns a new job, queued, with the model of its variant if it has some."""
    spec = spec.assigned(job)
    deadline_ns = None if spec.deadline_s is None else now.utc_ns + round(spec.deadline_s * 1e9)
    made = Job(
        job=job,
        spec=spec,
        state=JobState.queued,
        submitted_ns=now.utc_ns,
        updated_ns=now.utc_ns,
        deadline_ns=deadline_ns,
    )
    return made, JobEvent(job, now.utc_ns, "submitted")


def claimed(job: Job, owner: str, owner_epoch: int, lease_s: float, now: Now) -> Change:
    """Returns a queued job as `owner`'s. The store has asked `overdue` and given an epoch above every other."""
    if job.state is not JobState.queued or owner_epoch <= job.owner_epoch:
        raise ValueError(f"claimed() of a job that is {job.state.value}, epoch {job.owner_epoch} -> {owner_epoch}")
    taken = msgspec.structs.replace(
        _leased(job, lease_s, now),
        state=JobState.claimed,
        owner=owner,
        owner_epoch=owner_epoch,
        claims=job.claims + 1,
        updated_ns=now.utc_ns,
    )
    return taken, JobEvent(job.job, now.utc_ns, "claimed", owner, owner_epoch)


def renewed(job: Job, owner_epoch: int, lease_s: float, now: Now) -> Job:
    """Returns the job with its lease counted from now."""
    owned(job, owner_epoch)
    return _leased(job, lease_s, now)


def saved(job: Job, owner_epoch: int, checkpoint: Checkpoint, now: Now, spent: Spent = NOTHING) -> Job:
    """Returns the job with a newer checkpoint; `spent` is its run's until now."""
    owned(job, owner_epoch)
    return msgspec.structs.replace(job, checkpoint=checkpoint.encode(), updated_ns=now.utc_ns, running=spent)


def finished(job: Job, owner_epoch: int, result: Result, now: Now) -> Change | None:
    """Returns the job ended, or None if this very owner has ended it so already (its answer was lost on the way)."""
    if not result.state.is_over:
        raise ValueError(f"a job cannot end as {result.state.value}")
    answer, reason = result.answer[:TEXT_CAP], result.reason[:TEXT_CAP]
    if job.owner_epoch == owner_epoch and (job.state, job.answer, job.reason) == (result.state, answer, reason):
        return None
    owned(job, owner_epoch)
    job = msgspec.structs.replace(_paid(job, result.spent), actions=max(job.actions, result.total - result.actions))
    return _over(job, result.state, now, answer=answer, reason=reason, actions=result.actions)


def released(
    job: Job,
    owner_epoch: int,
    reason: str,
    now: Now,
    *,
    checkpoint: Checkpoint | None = None,
    actions: int = 0,
    is_fault: bool = False,
    spent: Spent = NOTHING,
    max_attempts: int,
) -> Change:
    """Returns the job given back by its owner. A fault counts as an attempt, and delays the next one ever longer.

    One that has no budget left has failed.
    """
    owned(job, owner_epoch)
    kept = job.checkpoint if checkpoint is None else checkpoint.encode()
    back = msgspec.structs.replace(_paid(job, spent), checkpoint=kept, actions=job.actions + actions)
    return _given_back(back, "released", reason[:TEXT_CAP], now, is_fault, max_attempts)


def cancelled(job: Job, reason: str, now: Now) -> Change | None:
    """Returns the job cancelled, None if it is already; an owner hears it as ClaimLost. Raises JobOver."""
    if job.state is JobState.cancelled:
        return None
    if job.state.is_over:
        raise JobOver(f"job {job.job} is {job.state.value} and cannot be cancelled", next_step="")
    return _over(job, JobState.cancelled, now, reason=reason[:TEXT_CAP] or "cancelled")


def overdue(job: Job, now: Now, max_attempts: int) -> Change | None:
    """Returns what time alone has done to the job: its deadline passed, or its lease ran out. None: nothing."""
    if job.state.is_over:
        return None
    if job.deadline_ns is not None and now.utc_ns >= job.deadline_ns:
        return _over(job, JobState.failed, now, reason=f"its deadline of {job.spec.deadline_s:g} s has passed")
    if job.state is JobState.claimed and not has_lease(job, now):
        why = "its lease ran out" if job.lease_boot == now.boot_id else "the machine was restarted"
        return _given_back(job, "expired", f"{why} (owner {job.owner})", now, True, max_attempts)
    return None


def has_lease(job: Job, now: Now) -> bool:
    """Returns whether the owner's lease still runs."""
    return job.lease_boot == now.boot_id and now.boottime_ns < job.lease_until_ns


def counted_actions(job: Job) -> int:
    """Returns how many applied actions are known of: those of the runs that were told, or what its checkpoint says.

    A run that ended without a word is known by its checkpoint alone."""
    try:
        kept = Checkpoint.decode(job.checkpoint).actions() if job.checkpoint else 0
    except CheckpointError:
        kept = 0
    counted = max(job.actions, kept)
    return min(counted, len(job.spec.batch.inputs)) if job.spec.is_batch else counted


def _given_back(job: Job, kind: str, reason: str, now: Now, is_fault: bool, max_attempts: int) -> Change:
    attempts = job.attempts + is_fault
    job = msgspec.structs.replace(_paid(job, NOTHING), attempts=attempts, actions=counted_actions(job))
    if exceeded := job.spec.budget.exceeded(job.joules, job.price):
        return _over(job, JobState.failed, now, reason=exceeded)
    if job.spec.retries is not None:
        max_attempts = job.spec.retries + 1
    if is_fault and attempts >= max_attempts:
        return _over(job, JobState.failed, now, reason=f"it failed {attempts} times, the last time: {reason}")
    wait_s = min(FIRST_BACKOFF_S * 2 ** (attempts - 1), LAST_BACKOFF_S) if is_fault else 0.0
    back = msgspec.structs.replace(
        job,
        state=JobState.queued,
        owner="",
        lease_until_ns=0,
        lease_boot="",
        not_before_ns=now.utc_ns + round(wait_s * 1e9) if wait_s else 0,
        updated_ns=now.utc_ns,
        reason=reason,
    )
    return back, JobEvent(job.job, now.utc_ns, kind, job.owner, job.owner_epoch, reason)


def _over(job: Job, state: JobState, now: Now, *, answer: str = "", reason: str = "", actions: int = 0) -> Change:
    """Returns the job ended, `actions` more than it had. It keeps no lease, and no checkpoint: that may hold what was
    seen."""
    job = msgspec.structs.replace(_paid(job, NOTHING), actions=job.actions + actions)
    ended = msgspec.structs.replace(
        job,
        state=state,
        lease_until_ns=0,
        lease_boot="",
        checkpoint=b"",
        answer=answer,
        reason=reason,
        actions=counted_actions(job),
        updated_ns=now.utc_ns,
    )
    return ended, JobEvent(job.job, now.utc_ns, state.value, job.owner, job.owner_epoch, reason)


def _paid(job: Job, spent: Spent) -> Job:
    """Returns the job with its run's cost among the ended ones': what was told, and no less than was heard before."""
    joules, price = max(spent.joules, job.running.joules), max(spent.price, job.running.price)
    if not joules and not price:
        return job
    return msgspec.structs.replace(job, joules=job.joules + joules, price=job.price + price, running=NOTHING)


def _leased(job: Job, lease_s: float, now: Now) -> Job:
    if not lease_s > 0:
        raise ValueError(f"a lease must be above 0 s, got {lease_s}")
    return msgspec.structs.replace(job, lease_until_ns=now.boottime_ns + round(lease_s * 1e9), lease_boot=now.boot_id)


def owned(job: Job, owner_epoch: int) -> None:
    """Raises ClaimLost unless the job is claimed under this epoch."""
    if job.state is JobState.claimed and job.owner_epoch == owner_epoch:
        return
    if job.state.is_over:
        said = f"it is {job.state.value}" + (f" ({job.reason})" if job.reason else "")
    else:
        said = f"it is {job.state.value} under epoch {job.owner_epoch}"
    raise ClaimLost(f"job {job.job} is not owner {owner_epoch}'s any more: {said}")
