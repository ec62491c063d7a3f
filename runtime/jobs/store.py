"""The seam of job stores: what the daemon asks of one, here (SQLite), in memory, or on a fleet's servers.

    submit ─► a job is accepted: from here on it is not lost, whatever dies      claim ─► it is mine for lease_s
    renew · save · finish · release ─► with my owner_epoch, or ClaimLost         sweep ─► what time has done to jobs

All methods are coroutines: a disk's sync and a server's answer both take longer than a daemon may stand still. Each is
one atomic change: it happens whole, or it raises and nothing has changed. life.py has the chart and the rules,
tests/jobs the suite that every store passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

import msgspec

from runtime.jobs.checkpoint import Checkpoint, CheckpointError
from runtime.jobs.life import NOTHING, Job, JobError, JobEvent, JobState, Result, Spent
from runtime.jobs.spec import JobSpec
from runtime.store.versions import is_range, newest

DEFAULT_MAX_ATTEMPTS = 5


class JobStoreError(JobError):
    """The store cannot be read or written: a full or failing disk, a damaged file, or another process holds it."""

    next_step: ClassVar[str] = "free space or mend the disk, then try again; what was stored before is untouched"


class Capabilities(msgspec.Struct, frozen=True):
    """Which jobs a claimer can do. None means any. A job whose run may outlast `longest_s` (its limits.max_s) waits;
    one that needs a region or a device goes to no other.

    `resident` are the models (or agents, for jobs without a model) that it holds already: a preference, no condition.
    `versions` are the installed ones by model: a job that names a range of them waits for one who has one in it.
    `currency` is that of the claimer's prices: a job whose price budget is in another is left to others.
    """

    agents: frozenset[str] | None = None
    longest_s: float | None = None
    resident: frozenset[str] = frozenset()
    region: str = ""
    device: str = ""
    car: str = ""
    memory_MiB: int | None = None
    is_plugged_in: bool | None = None
    versions: dict[str, tuple[str, ...]] | None = None
    currency: str | None = None

    def can_do(self, spec: JobSpec) -> bool:
        """Returns whether a job may be given to this claimer. A need is met when nothing is known against it, but
        for region and device, which must be said."""
        needs = spec.needs
        return (
            (self.agents is None or spec.agent in self.agents)
            and (self.longest_s is None or spec.limits.max_s <= self.longest_s)
            and needs.region in ("", self.region)
            and needs.device in ("", self.device)
            and self.car not in needs.other_than
            and (self.memory_MiB is None or needs.memory_MiB <= self.memory_MiB)
            and (self.is_plugged_in is not False or not needs.plugged_in)
            and self._has_version(spec.model)
            and (self.currency is None or spec.budget.price is None or self.currency == spec.budget.currency)
        )

    def _has_version(self, model: str) -> bool:
        name, _, wanted = model.partition("@")
        return self.versions is None or not is_range(wanted) or newest(self.versions.get(name, ()), wanted) != ""


class Claim(msgspec.Struct, frozen=True):
    """A job that is the caller's until its lease runs out. `owner_epoch` is the fence: it goes with every action."""

    job: str
    owner_epoch: int
    checkpoint: Checkpoint | None = None


class JobStore(Protocol):
    """A store of jobs. Every method may raise JobStoreError; those that name a job raise UnknownJob."""

    async def submit(self, spec: JobSpec) -> tuple[str, bool]:
        """Returns (job, new). A known idempotency key returns its job and False; with another spec it raises
        IdempotencyConflict. Once this returns, the job outlives a crash and a power cut."""

    async def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        """Takes the job of highest priority, then oldest, that may run now; None if there is none. (Among equal
        priorities a fleet's servers may keep another order.)

        A desktop has one owner at a time: jobs on a desktop that a claimed job works on are passed over. The
        owner_epoch is above every one that the store ever gave. A checkpoint that cannot be read is dropped: the job
        begins anew.
        """

    async def can_claim(self, capabilities: Capabilities) -> bool:
        """Returns whether `claim` would give a job now; nothing changes."""

    async def renew(self, claim: Claim, lease_s: float) -> None:
        """Makes the lease last `lease_s` from now. Raises ClaimLost."""

    async def save(self, claim: Claim, checkpoint: Checkpoint, spent: Spent = NOTHING, elsewhere: bool = False) -> None:
        """Keeps a newer checkpoint, and what the run has cost until now. Raises ClaimLost, CheckpointError. A power cut
        may lose it, a crash does not. `elsewhere`: the next owner can have it without the store too, so a store that is
        far away may keep only the job's `checkpoint.every_s`."""

    async def put_results(self, claim: Claim, first: int, results: Sequence[bytes]) -> None:
        """Keeps results of a batch, numbered from `first`; one that is there is replaced: inputs have one result.
        Raises ClaimLost. They outlive a crash."""

    async def results(self, job: str, since: int = 0) -> list[tuple[int, bytes]]:
        """Returns a batch's results from number `since` on, in order; also of a job that is not over, or failed."""

    async def finish(self, claim: Claim, result: Result) -> None:
        """Ends the job. Raises ClaimLost. The same owner may say the same again: it is kept once."""

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
        """Gives the job back for others, without a checkpoint with the one it had. Raises ClaimLost, CheckpointError.

        Returns queued, or failed: a fault too many makes it poison, and its budget may be spent. `actions` and `spent`
        are those of this run.
        """

    async def cancel(self, job: str, reason: str) -> Job:
        """Ends a job that is not over, also under its owner, who hears ClaimLost. Raises JobOver."""

    async def sweep(self) -> list[Job]:
        """Returns the jobs that time has changed: leases that ran out, deadlines that passed. `claim` does it too."""

    async def get(self, job: str) -> Job:
        """Returns one job."""

    async def list_jobs(self, states: Iterable[JobState] = (), limit: int = 50) -> list[Job]:
        """Returns jobs, newest first; no `states` means all."""

    async def counts(self) -> dict[JobState, int]:
        """Returns how many jobs are in each state (all states are there)."""

    async def history(self, job: str) -> list[JobEvent]:
        """Returns what happened to a job, oldest first. Renewals and checkpoints are not told."""

    async def forget(self, before_ns: int) -> int:
        """Drops jobs that are over since before `before_ns` (UTC), with their history; returns how many."""

    async def close(self) -> None:
        """Lets the store go; what runs is ended first. May be called again."""


def read_checkpoint(job: Job) -> Checkpoint | None:
    """Returns the checkpoint that a job is claimed with, None if it has none or one that this build cannot read."""
    if not job.checkpoint:
        return None
    try:
        return Checkpoint.decode(job.checkpoint)
    except CheckpointError:
        return None  # as the contract says: the job begins anew, which is slower but right
