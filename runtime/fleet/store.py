"""The job store of a fleet, on NATS JetStream: `runtime.jobs.store.JobStore` for many cars at once.

    submit   record ── create ──► offer ── publish
    claim    offer ── pull ──► record ── read ──► hold ── create (TTL) ──► record ── compare and set ──► mine
    finish   record ── compare and set ──► hold ── delete ──► offer ── ack
    release  record ── compare and set ──► hold ── delete ──► offer ── nak: another car has it in milliseconds

The record says whose a job is; every change of it compares its revision. The hold is the lease, and keeps a desktop for
one owner; its first revision, under the store's incarnation, is the owner_epoch. An offer is a hint: it is acknowledged
when the job is over, and if it is lost or doubled nothing else is.
Among equal priorities, jobs that were given back go before those that nobody has begun; else the oldest first.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from runtime.fleet.buckets import Bucket, Conflict, Entry
from runtime.fleet.connection import Connection
from runtime.fleet.lanes import Lanes
from runtime.fleet.offers import ACK, NAK, PROGRESS, Offer, Offers
from runtime.fleet.records import (
    RECORD_VERSION,
    REVISION_BITS,
    Hold,
    Record,
    encode,
    lane_of,
    read_hold,
    read_record,
    read_results,
    what_is_held,
)
from runtime.fleet.streams import HOLD, HOLDS, JOB, JOBS, RESULT, RESULTS
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import JobClock, Now
from runtime.jobs.life import (
    LAST_BACKOFF_S,
    NOTHING,
    ClaimLost,
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
    has_lease,
    overdue,
    owned,
    released,
    renewed,
    saved,
    submitted,
)
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import DEFAULT_MAX_ATTEMPTS, Capabilities, Claim, read_checkpoint

BUSY_RETRY_S = 0.25  # an offer whose desktop is another job's comes again after this
PULLS_A_LANE = 16  # offers that cannot run now are passed over, so many at a time
TTL_SLACK_S = 5


@dataclass
class _Mine:
    """What this process knows of a claim of its own: saves reading it again before each change."""

    record: Record
    revision: int
    hold: Hold
    hold_revision: int
    key: str


class NatsJobStore:
    """A `JobStore` over an open connection.

    `clock` is the fleet's own unless a test brings one; `defer` turns a wait in the fleet's time into seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        clock: JobClock | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        defer: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self.connection = connection
        self.offers = Offers(connection)
        self.lanes = Lanes(connection)
        self._clock: JobClock = clock or connection
        self._max_attempts = max_attempts
        self._defer = defer
        self._jobs = Bucket(connection, JOBS, JOB)
        self._holds = Bucket(connection, HOLDS, HOLD)
        self._results = Bucket(connection, RESULTS, RESULT)
        self._mine: dict[str, _Mine] = {}

    async def submit(self, spec: JobSpec) -> tuple[str, bool]:
        job = job_named(spec.idempotency_key) if spec.idempotency_key else uuid.uuid4().hex
        made, event = submitted(job, spec, self._clock.now())
        lane = lane_of(made.spec)
        await self.lanes.ensure(lane)
        try:
            await self._jobs.put(job, encode(Record(RECORD_VERSION, 0, made, (event,))), 0)
        except Conflict:
            known = (await self._read(job))[0].job
            if known.spec != made.spec:
                raise IdempotencyConflict(
                    f"the key '{spec.idempotency_key}' is that of job {job}, another one"
                ) from None
            if known.state is JobState.queued and not known.claims:
                await self.offers.publish(lane, job, job)  # who submitted it may have died before this
            return job, False
        await self.offers.publish(lane, job, job)
        return job, True

    async def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        if capabilities.agents is not None and not capabilities.agents:
            return None
        aside: list[tuple[Offer, float]] = []
        try:
            for group in await self.lanes.matching(capabilities):
                for _ in range(PULLS_A_LANE):
                    offers = await self.offers.pull(group)
                    if not offers:
                        break
                    for number, offer in enumerate(offers):
                        taken = await self.take(offer, capabilities, owner, lease_s)
                        if isinstance(taken, Claim):
                            aside += [(other, 0.0) for other in offers[number + 1 :]]
                            return taken
                        if taken is not None:
                            aside.append((offer, taken))
            return None
        finally:
            for offer, wait_s in aside:
                await self.offers.answer(offer.ack, NAK, self._defer(wait_s))

    async def can_claim(self, capabilities: Capabilities) -> bool:
        """As the contract says, by reading every record: for tests and a small fleet. A car waits for an offer."""
        now = self._clock.now()
        holds = [read_hold(entry.value) async for entry in self._holds.scan()]
        busy = {hold.job for hold in holds if _is_live(hold, now)}
        records = [record.job for record, _ in (await self._all()).values()]
        desktops = {job.spec.desktop for job in records if job.job in busy} - {""}
        return any(
            job.state is JobState.queued
            and not _wait_s(job, now)
            and job.spec.desktop not in desktops
            and capabilities.can_do(job.spec)
            for job in records
        )

    async def take(self, offer: Offer, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | float | None:
        """Makes an offered job the caller's; the offer is then kept by `renew`.

        Returns the claim, or after how many seconds the offer should come again (the caller gives it back so), or
        None: the offer was for a job that is over, and is answered.
        """
        while True:
            entry = await self._jobs.get(offer.job)
            record = read_record(entry.value, entry.revision) if entry else None
            if entry is None or record is None or record.job.state.is_over:
                await self.offers.answer(offer.ack, ACK)
                return None
            now = self._clock.now()
            key = what_is_held(offer.job, record.job.spec.desktop)
            held = None
            if record.job.state is JobState.claimed:
                held = await self._holds.get(key)
                record = self._with_lease(record, held)
            change = overdue(record.job, now, self._max_attempts)
            if change is not None:
                record = record.followed_by(*change)
                if record.job.state.is_over:
                    try:
                        await self._jobs.put(offer.job, encode(record), entry.revision)
                    except Conflict:
                        continue
                    await self.offers.answer(offer.ack, ACK)
                    return None
            wait_s = _wait_s(record.job, now)
            if wait_s > 0:
                if change is not None:  # the lease ran out: said now, for whoever looks
                    try:
                        await self._jobs.put(offer.job, encode(record), entry.revision)
                    except Conflict:
                        continue
                return wait_s
            if not capabilities.can_do(record.job.spec):
                return BUSY_RETRY_S
            mine = await self._hold(key, offer, record.job.owner_epoch, owner, lease_s, now)
            if mine is None:
                return BUSY_RETRY_S
            hold, hold_revision = mine
            job, event = claimed(record.job, owner, hold.epoch, lease_s, now)
            record = record.followed_by(job, event)
            try:
                revision = await self._jobs.put(offer.job, encode(record), entry.revision)
            except Conflict:
                await self._holds.delete(hold_revision)
                continue
            self._mine[offer.job] = _Mine(record, revision, hold, hold_revision, key)
            return Claim(offer.job, hold.epoch, read_checkpoint(record.job))

    def known(self, claim: Claim) -> Record:
        """Returns the record of a claim that this object has taken, as it was last written."""
        return self._mine[claim.job].record

    async def renew(self, claim: Claim, lease_s: float) -> None:
        record, _ = await self._read(claim.job)
        now = self._clock.now()
        renewed(record.job, claim.owner_epoch, lease_s, now)  # raises ClaimLost; the lease itself is the hold's
        key = what_is_held(claim.job, record.job.spec.desktop)
        while True:
            mine = self._mine.get(claim.job)
            if mine is not None and mine.hold.epoch == claim.owner_epoch:
                known: tuple[Hold, int] | None = (mine.hold, mine.hold_revision)
            else:
                entry = await self._holds.get(key)
                known = (read_hold(entry.value), entry.revision) if entry else None
                is_anothers = entry is not None and not self._is_of(entry, claim.job, claim.owner_epoch)
                if is_anothers and known is not None and _is_live(known[0], now):
                    raise ClaimLost(f"job {claim.job} lost its lease, and another has its desktop")
            ack = known[0].ack if known else ""
            hold = Hold(1, claim.job, record.job.owner, claim.owner_epoch, *_until(now, lease_s), ack)
            try:
                revision = await self._holds.put(key, encode(hold), known[1] if known else 0, _ttl_s(lease_s))
            except Conflict:
                self._mine.pop(claim.job, None)
                continue
            if mine is not None:
                mine.hold, mine.hold_revision = hold, revision
            await self.offers.answer(ack, PROGRESS)
            return

    async def save(self, claim: Claim, checkpoint: Checkpoint, spent: Spent = NOTHING, elsewhere: bool = False) -> None:
        await self._change(claim.job, lambda job, now: (saved(job, claim.owner_epoch, checkpoint, now, spent), None))

    async def put_results(self, claim: Claim, first: int, results: Sequence[bytes]) -> None:
        owned((await self._read(claim.job))[0].job, claim.owner_epoch)
        # Written over whatever is there: an owner that was just lost has computed the same from the same input.
        await self.connection.write(f"{RESULT}{claim.job}.{first}", encode(results), {})

    async def results(self, job: str, since: int = 0) -> list[tuple[int, bytes]]:
        await self._read(job)
        found: dict[int, bytes] = {}
        async for entry in self._results.scan(f"{job}.*"):
            found.update(enumerate(read_results(entry.value), int(entry.key.rpartition(".")[2])))
        return [one for one in sorted(found.items()) if one[0] >= since]

    async def finish(self, claim: Claim, result: Result) -> None:
        record = await self._change(
            claim.job, lambda job, now: finished(job, claim.owner_epoch, result, now) or (job, None)
        )
        await self._let_go(claim.job, record.job, ACK)

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
        def change(job: Job, now: Now) -> tuple[Job, JobEvent | None]:
            return released(
                job,
                claim.owner_epoch,
                reason,
                now,
                checkpoint=checkpoint,
                actions=actions,
                is_fault=is_fault,
                spent=spent,
                max_attempts=self._max_attempts,
            )

        record = await self._change(claim.job, change)
        wait_s = max(0.0, (record.job.not_before_ns - self._clock.now().utc_ns) / 1e9)
        await self._let_go(claim.job, record.job, ACK if record.job.state.is_over else NAK, wait_s)
        return record.job.state

    async def cancel(self, job: str, reason: str) -> Job:
        def change(known: Job, now: Now) -> tuple[Job, JobEvent | None]:
            return cancelled(known, reason, now) or (known, None)

        record = await self._change(job, change)
        await self._let_go(job, record.job, ACK)
        return record.job

    async def sweep(self) -> list[Job]:
        found = []
        holds = {entry.key: entry async for entry in self._holds.scan()}
        for record, entry in (await self._all()).values():
            held = holds.get(what_is_held(record.job.job, record.job.spec.desktop))
            change = overdue(self._with_lease(record, held).job, self._clock.now(), self._max_attempts)
            if change is None:
                continue
            try:
                await self._jobs.put(entry.key, encode(record.followed_by(*change)), entry.revision)
            except Conflict:
                continue  # it lives: its owner, or somebody else, has just said so
            self._mine.pop(entry.key, None)
            over = change[0].state.is_over
            wait_s = max(0.0, (change[0].not_before_ns - self._clock.now().utc_ns) / 1e9)
            await self._let_go(entry.key, change[0], ACK if over else NAK, wait_s)
            found.append(change[0])
        return found

    async def get(self, job: str) -> Job:
        return (await self._read(job))[0].job

    async def list_jobs(self, states: Iterable[JobState] = (), limit: int = 50) -> list[Job]:
        wanted = frozenset(states) or frozenset(JobState)
        records = sorted((await self._all()).values(), key=lambda found: -found[0].born)
        return [record.job for record, _ in records if record.job.state in wanted][:limit]

    async def counts(self) -> dict[JobState, int]:
        counts = dict.fromkeys(JobState, 0)
        for record, _ in (await self._all()).values():
            counts[record.job.state] += 1
        return counts

    async def history(self, job: str) -> list[JobEvent]:
        return list((await self._read(job))[0].events)

    async def forget(self, before_ns: int) -> int:
        old = [
            name
            for name, (record, _) in (await self._all()).items()
            if record.job.state.is_over and record.job.updated_ns < before_ns
        ]
        for name in old:
            await self._jobs.purge(name)
            await self._results.purge(f"{name}.*")
        return len(old)

    async def records(self) -> AsyncIterator[Record]:
        """Yields every job's record, each once."""
        for record, _ in (await self._all()).values():
            yield record

    async def close(self) -> None:
        await self.connection.close()

    async def _change(self, job: str, change: Callable[[Job, Now], tuple[Job, JobEvent | None]]) -> Record:
        """Changes a record by compare and set until it is taken, and returns it; unchanged, it is not written."""
        mine = self._mine.get(job)
        record, revision = (mine.record, mine.revision) if mine is not None else await self._read(job)
        while True:
            try:
                made, event = change(record.job, self._clock.now())
            except ClaimLost:
                if self._mine.pop(job, None) is None:
                    raise
                record, revision = await self._read(job)  # what was remembered may be old
                continue
            if made == record.job and event is None:
                return record
            record = record.followed_by(made, event)
            try:
                revision = await self._jobs.put(job, encode(record), revision)
            except Conflict:
                self._mine.pop(job, None)
                record, revision = await self._read(job)
                continue
            if (mine := self._mine.get(job)) is not None:
                mine.record, mine.revision = record, revision
            return record

    async def _hold(
        self, key: str, offer: Offer, last_epoch: int, owner: str, lease_s: float, now: Now
    ) -> tuple[Hold, int] | None:
        """Takes the hold, or returns None if it is another's; that of the job's last owner, who left it, is free."""
        hold = Hold(1, offer.job, owner, 0, *_until(now, lease_s), offer.ack)
        known = 0
        while True:
            try:
                revision = await self._holds.put(key, encode(hold), known, _ttl_s(lease_s))
            except Conflict:
                entry = await self._holds.get(key)
                is_live = entry is not None and _is_live(read_hold(entry.value), now)
                if entry is not None and is_live and not self._is_of(entry, offer.job, last_epoch):
                    return None
                known = entry.revision if entry is not None else 0
                continue
            epoch = self.connection.incarnation << REVISION_BITS | revision
            return msgspec.structs.replace(hold, epoch=epoch), revision

    async def _let_go(self, job: str, left: Job, word: bytes, wait_s: float = 0.0) -> None:
        """Deletes the hold of a job that its owner has left, and answers its offer, or makes a new one."""
        mine = self._mine.pop(job, None)
        if mine is not None:
            ack, revision = mine.hold.ack, mine.hold_revision
        else:
            ack, revision = "", 0
            entry = await self._holds.get(what_is_held(job, left.spec.desktop))
            if entry is not None and self._is_of(entry, job, left.owner_epoch):
                ack, revision = read_hold(entry.value).ack, entry.revision
        # At once: who is given the offer before the hold is gone takes it over, for the record says that it was left.
        gone = self._holds.delete(revision) if revision else asyncio.sleep(0)
        if ack:
            told = self.offers.answer(ack, word, self._defer(wait_s))
        elif word == NAK:
            told = self.offers.publish(lane_of(left.spec), job)
        else:
            told = asyncio.sleep(0)
        await asyncio.gather(told, gone)

    async def _read(self, job: str) -> tuple[Record, int]:
        entry = await self._jobs.get(job) if _is_name(job) else None
        if entry is None:
            raise UnknownJob(f"there is no job {job}", next_step="list the jobs with `idlehands fleet status`")
        return read_record(entry.value, entry.revision), entry.revision

    async def _all(self) -> dict[str, tuple[Record, Entry]]:
        return {entry.key: (read_record(entry.value, entry.revision), entry) async for entry in self._jobs.scan()}

    def _with_lease(self, record: Record, held: Entry | None) -> Record:
        """Returns the record with the lease that its hold says; none if the hold is another's or gone."""
        job = record.job
        if job.state is not JobState.claimed:
            return record
        until_ns, boot = 0, "lapsed"
        if held is not None and self._is_of(held, job.job, job.owner_epoch):
            hold = read_hold(held.value)
            until_ns, boot = hold.until_ns, hold.boot
        leased = msgspec.structs.replace(job, lease_until_ns=until_ns, lease_boot=boot)
        return Record(record.version, record.born, leased, record.events)

    def _is_of(self, held: Entry, job: str, owner_epoch: int) -> bool:
        """Returns whether a hold is that of a claim; one that was never renewed has its own revision for an epoch."""
        hold = read_hold(held.value)
        epoch = hold.epoch or self.connection.incarnation << REVISION_BITS | held.revision
        return hold.job == job and epoch == owner_epoch


def job_named(key: str) -> str:
    """Returns the name of the job of an idempotency key: the same key is the same job, whoever submits it where."""
    return hashlib.sha256(b"idlehands job\0" + key.encode()).hexdigest()[:32]


def _is_name(job: str) -> bool:
    return job.isalnum() and job.isascii()


def _wait_s(job: Job, now: Now) -> float:
    """Returns how long an offered job must wait: for its lease, or after a fault; 0 if it may run now."""
    if job.state is JobState.claimed:
        if not has_lease(job, now):
            return 0.0
        return min(5.0, max(0.05, (job.lease_until_ns - now.boottime_ns) / 1e9))
    wait_s = (job.not_before_ns - now.utc_ns) / 1e9
    return wait_s if 0 < wait_s <= LAST_BACKOFF_S else 0.0  # a longer one is a clock that was set back


def _is_live(hold: Hold, now: Now) -> bool:
    return hold.boot == now.boot_id and now.boottime_ns < hold.until_ns


def _until(now: Now, lease_s: float) -> tuple[int, str]:
    return now.boottime_ns + round(lease_s * 1e9), now.boot_id


def _ttl_s(lease_s: float) -> int:
    return min(int(lease_s) + TTL_SLACK_S, 2_000_000_000)
