"""A car's jobs: its own queue, and while it has room the fleet's. One `JobStore` for the daemon.

    gate open, a place free ─► can_claim() ─► the puller waits at the fleet ─► a job is taken ─► on_job() ─► claim()
    gate closed             ─► nobody asks ─► what was taken and not begun goes back within a second

Its own jobs go first. The fleet is pulled only while the daemon asks, which it does only while its gate is open; what
it can do (the forecast's longest run, its region, what is resident) goes with every pull. A checkpoint must reach the
fleet before the next action is sent, since another car may be given the job; a result or a release that cannot be told
is kept on the disk and told later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from runtime.fleet.connection import Connection
from runtime.fleet.errors import FleetsJob
from runtime.fleet.offers import NAK
from runtime.fleet.records import token
from runtime.fleet.spool import Finished, GivenBack, Kept, Spool
from runtime.fleet.standings import Standings
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import PROGRESS, PROOF
from runtime.jobs.account import ACCOUNT
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.life import NOTHING, ClaimLost, Job, JobError, JobEvent, JobState, Result, Spent, saved
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Capabilities, Claim, JobStore, JobStoreError

log = logging.getLogger("idlehands.fleet")
WAIT_S = 20.0  # a pull waits so long at the server before it asks anew
ASKED_S = 0.6  # the daemon asks every quarter of a second while it could take a job
POLL_S = 0.05
NEWS_S = 0.25  # within this time it asks for jobs of a kind that is new
FLUSH_S = 1.0
NOT_BEGUN = "it was not begun: the car's gate closed"
STANDING_S = 30.0  # so often, and before every job, it looks whether it is quarantined
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 30.0


class CarJobs:
    """The jobs of one car: the `local` store's, and the fleet's once it was started."""

    def __init__(
        self,
        local: JobStore,
        connection: Connection,
        spool: Spool,
        *,
        region: str = "",
        device: str = "",
        max_attempts: int,
        lease_s: float,
        asked_s: float = ASKED_S,
        news_s: float = NEWS_S,
    ) -> None:
        self._local, self._connection, self._spool = local, connection, spool
        self._fleet = NatsJobStore(connection, max_attempts=max_attempts)
        self._place = {"region": region, "device": device, "car": connection.address.name}
        self._standings, self._standing_read_s, self._quarantined = Standings(connection), float("-inf"), ""
        self._lease_s, self._asked_for_s, self._news_s = lease_s, asked_s, news_s
        self._on_job: Callable[[], None] = lambda: None
        self._mine: dict[str, Kept] = {kept.job.job: kept for kept in spool.read()}
        self._gone: deque[int] = deque(maxlen=1000)  # epochs that ended here, so that a late word finds no other store
        self._saved_s: dict[str, float] = {}  # when the fleet was last told a checkpoint, or the job was taken
        self._spooling = asyncio.Lock()
        self._unspooled: set[str] = set()
        self._spools: set[asyncio.Task[None]] = set()
        self._in_hand: Claim | None = None
        self._taken_s = 0.0
        self._able: Capabilities | None = None
        self._is_lively = True  # the last pull brought something
        self._asked_s = float("-inf")
        self._asked = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_fleet_up(self) -> bool:
        return self._connection.is_up

    @property
    def untold(self) -> int:
        """How many ends the fleet has not heard yet."""
        return sum(kept.end is not None for kept in self._mine.values())

    def start(self, on_job: Callable[[], None]) -> None:
        """Begins to connect and to pull, in the running loop; `on_job` hears that a job was taken."""
        self._on_job = on_job
        self._connection.keep()
        self._tasks = [asyncio.create_task(self._pull()), asyncio.create_task(self._flush())]

    async def tell(self, job: str, kind: str, detail: bytes) -> None:
        """Tells whoever watches the job at the fleet what happens in its run; nothing is kept of it.

        The account of a decision is for the fleet's checks alone.
        """
        if job in self._mine and kind == ACCOUNT:
            await self._connection.say(f"{PROOF}{token(self._connection.address.name)}.{job}", detail)
        elif job in self._mine:
            await self._connection.say(f"{PROGRESS}{job}.{kind}", detail)

    async def submit(self, spec: JobSpec) -> tuple[str, bool]:
        return await self._local.submit(spec)

    async def can_claim(self, capabilities: Capabilities) -> bool:
        self._able, self._asked_s = msgspec.structs.replace(capabilities, **self._place), time.monotonic()
        self._asked.set()
        return self._in_hand is not None or await self._local.can_claim(capabilities)

    async def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        claim = await self._local.claim(capabilities, owner, lease_s)
        if claim is None:
            claim, self._in_hand = self._in_hand, None
        if claim is not None:
            self._asked_s = float("-inf")  # a place is taken: nothing more until the daemon asks again
        return claim

    async def renew(self, claim: Claim, lease_s: float) -> None:
        if self._kept(claim) is None:
            await self._local.renew(claim, lease_s)
            return
        with self._told(claim):
            await self._fleet.renew(claim, lease_s)

    async def save(self, claim: Claim, checkpoint: Checkpoint, spent: Spent = NOTHING, elsewhere: bool = False) -> None:
        kept = self._kept(claim)
        if kept is None:
            await self._local.save(claim, checkpoint, spent, elsewhere)
            return
        every_s, now_s = kept.job.spec.checkpoint.every_s, time.monotonic()
        if not elsewhere or now_s - self._saved_s.get(claim.job, now_s) >= every_s:
            with self._told(claim):
                await self._fleet.save(claim, checkpoint, spent)
            self._saved_s[claim.job] = now_s
        # What the fleet was not told is in the spool, for a daemon after this one.
        job = saved(kept.job, claim.owner_epoch, checkpoint, self._connection.now(), spent)
        self._mine[claim.job] = msgspec.structs.replace(kept, job=job)
        self._spool_soon(claim.job)

    async def put_results(self, claim: Claim, first: int, results: Sequence[bytes]) -> None:
        if self._kept(claim) is None:
            await self._local.put_results(claim, first, results)
            return
        with self._told(claim):
            await self._fleet.put_results(claim, first, results)

    async def results(self, job: str, since: int = 0) -> list[tuple[int, bytes]]:
        return await (self._fleet if job in self._mine else self._local).results(job, since)

    async def finish(self, claim: Claim, result: Result) -> None:
        kept = self._kept(claim)
        if kept is None:
            await self._local.finish(claim, result)
            return
        await self._end(kept, Finished(result))

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
        kept = self._kept(claim)
        if kept is None:
            return await self._local.release(claim, reason, checkpoint, actions=actions, is_fault=is_fault, spent=spent)
        encoded = b"" if checkpoint is None else checkpoint.encode()
        if not is_fault:
            self._asked_s = float("-inf")  # the gate has closed: nothing is taken until the daemon asks again
        return await self._end(kept, GivenBack(reason, encoded, actions, is_fault, spent))

    async def cancel(self, job: str, reason: str) -> Job:
        if job in self._mine:
            raise FleetsJob(f"job {job} is the fleet's and only runs here")
        return await self._local.cancel(job, reason)

    async def sweep(self) -> list[Job]:
        return await self._local.sweep()

    async def get(self, job: str) -> Job:
        return self._mine[job].job if job in self._mine else await self._local.get(job)

    async def list_jobs(self, states: Iterable[JobState] = (), limit: int = 50) -> list[Job]:
        wanted = list(states)
        fleets = self._running() if not wanted or JobState.claimed in wanted else []
        return [*fleets, *await self._local.list_jobs(wanted, limit)][:limit]

    async def counts(self) -> dict[JobState, int]:
        counts = await self._local.counts()
        counts[JobState.claimed] += len(self._running())
        return counts

    async def history(self, job: str) -> list[JobEvent]:
        return list(self._mine[job].events) if job in self._mine else await self._local.history(job)

    async def forget(self, before_ns: int) -> int:
        return await self._local.forget(before_ns)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(JobError):
            await self._put_back(NOT_BEGUN)
        await asyncio.gather(*self._spools)
        await self._connection.close()
        await self._local.close()

    def _running(self) -> list[Job]:
        return [kept.job for kept in self._mine.values() if kept.end is None]

    def _kept(self, claim: Claim) -> Kept | None:
        """Returns a claim of the fleet's, None for one of the local store's. Raises ClaimLost for one that was lost."""
        kept = self._mine.get(claim.job)
        if kept is not None and kept.owner_epoch == claim.owner_epoch and kept.end is None:
            return kept
        if kept is not None or claim.owner_epoch in self._gone:
            raise ClaimLost(f"job {claim.job} is not this car's under epoch {claim.owner_epoch} any more")
        return None

    async def _end(self, kept: Kept, end: Finished | GivenBack) -> JobState:
        """Tells the fleet how a run ended, or keeps it to be told. Raises ClaimLost, JobStoreError (a full disk)."""
        claim, kept = kept.claim, msgspec.structs.replace(kept, end=end)
        try:
            with self._told(claim):
                state = await self._say_end(kept)
        except JobStoreError as error:
            log.warning("how job %s ended is kept until the fleet is back: %s", claim.job, error.message)
            async with self._spooling:
                await asyncio.to_thread(self._spool.keep, kept)
            self._mine[claim.job] = kept
            return end.result.state if isinstance(end, Finished) else JobState.queued
        self._forget(claim)
        return state

    async def _say_end(self, kept: Kept) -> JobState:
        claim, end = kept.claim, kept.end
        if isinstance(end, Finished):
            await self._fleet.finish(claim, end.result)
            return end.result.state
        assert end is not None
        checkpoint = Checkpoint.decode(end.checkpoint) if end.checkpoint else None
        return await self._fleet.release(
            claim, end.reason, checkpoint, actions=end.actions, is_fault=end.is_fault, spent=end.spent
        )

    @contextlib.contextmanager
    def _told(self, claim: Claim) -> Iterator[None]:
        """A claim that is lost is forgotten here too; its caller hears it."""
        try:
            yield
        except ClaimLost:
            self._forget(claim)
            raise

    def _forget(self, claim: Claim) -> None:
        self._gone.append(claim.owner_epoch)
        kept = self._mine.get(claim.job)
        if kept is not None and kept.owner_epoch == claim.owner_epoch:
            del self._mine[claim.job]
            self._saved_s.pop(claim.job, None)
            self._spool_soon(claim.job)

    def _spool_soon(self, job: str) -> None:
        """Brings the file of a claim up to what is known of it, off this loop: next to a ledger's syncs a rename or a
        removal takes milliseconds. A claim that is killed before it has its file is one whose lease runs out."""
        if job in self._unspooled:
            return  # it waits already, and will find what is newest then
        self._unspooled.add(job)
        task = asyncio.create_task(self._spool_now(job))
        self._spools.add(task)
        task.add_done_callback(self._spools.discard)

    async def _spool_now(self, job: str) -> None:
        async with self._spooling:
            self._unspooled.discard(job)
            kept = self._mine.get(job)
            try:
                if kept is None:
                    await asyncio.to_thread(self._spool.drop, job)
                elif kept.end is None:  # an end's file is on the disk already
                    await asyncio.to_thread(self._spool.keep, kept)
            except (JobStoreError, OSError) as error:
                log.warning("what this car knows of job %s is not on its disk: %s", job, error)

    async def _flush(self) -> None:
        """Tells the fleet what it has not heard, in the order in which it happened, once it is back."""
        while True:
            await asyncio.sleep(FLUSH_S)
            if not self._connection.is_up:
                continue
            for job, kept in list(self._mine.items()):
                if kept.end is None:
                    continue
                try:
                    await self._say_end(kept)
                    log.info("the fleet has heard how job %s ended", job)
                except ClaimLost as error:
                    log.warning("what this car did for job %s counts no more: %s", job, error.message)
                except JobStoreError as error:
                    log.info("%s", error.message)
                    break
                self._forget(kept.claim)

    def _is_asked(self) -> bool:
        return time.monotonic() - self._asked_s < self._asked_for_s

    async def _pull(self) -> None:
        """Waits for a job while the daemon asks for one; takes it, and gives it back if nobody begins it."""
        while True:
            try:
                if self._in_hand is not None:
                    await self._watch_in_hand()
                elif self._able is None or not self._is_asked():
                    self._asked.clear()
                    await self._asked.wait()
                    self._standing_read_s = float("-inf")
                    continue
                elif self._connection.is_up and await self._is_quarantined():
                    await asyncio.sleep(FLUSH_S)
                    continue
                elif self._connection.is_up:
                    await self._take_one(self._able)
                    continue
            except JobError as error:  # away, refused, or the job went to another: nothing is held
                log.info("no job from the fleet: %s", error.message)
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)
            await asyncio.sleep(POLL_S)

    async def _is_quarantined(self) -> bool:
        """Returns whether the fleet trusts this car no more: then it asks for nothing, and its server refuses it."""
        if time.monotonic() - self._standing_read_s > STANDING_S:
            why = (await self._standings.get(self._connection.address.name)).quarantined
            if why and why != self._quarantined:
                log.error("the fleet has quarantined this car: %s", why)
            self._quarantined, self._standing_read_s = why, time.monotonic()
        return bool(self._quarantined)

    async def _take_one(self, able: Capabilities) -> None:
        await self._fleet.lanes.listen(self._news_s)
        self._fleet.lanes.news.clear()
        groups = await self._fleet.lanes.matching(able)
        offers = []
        for group in groups if self._is_lively else []:  # in the order of priority, without waiting
            offers = await self._fleet.offers.pull(group)
            if offers:
                break
        if not offers:
            every = [lane for group in groups for lane in group]
            offers = await self._fleet.offers.pull(every, WAIT_S, self._fleet.lanes.news)
        self._is_lively = bool(offers)
        for offer in sorted(offers, key=lambda offer: -offer.lane.priority):
            again_s: float = 0.0
            if self._in_hand is None and self._is_asked():
                taken = await self._fleet.take(offer, able, self._connection.address.name, self._lease_s)
                if isinstance(taken, Claim):
                    await self._took(taken)
                    continue
                if taken is None:
                    continue
                again_s = taken
            await self._fleet.offers.answer(offer.ack, NAK, again_s)
        if not groups:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._fleet.lanes.news.wait(), FLUSH_S)
        self._pause_s = FIRST_PAUSE_S

    async def _took(self, claim: Claim) -> None:
        record = self._fleet.known(claim)
        self._mine[claim.job] = Kept(1, claim.owner_epoch, record.job, record.events)
        self._spool_soon(claim.job)
        self._saved_s[claim.job] = time.monotonic()
        self._in_hand, self._taken_s = claim, time.monotonic()
        self._on_job()

    async def _watch_in_hand(self) -> None:
        claim = self._in_hand
        assert claim is not None
        if not self._is_asked():
            await self._put_back(NOT_BEGUN)
        elif time.monotonic() - self._taken_s > self._lease_s / 3:
            self._taken_s = time.monotonic()
            try:
                await self._fleet.renew(claim, self._lease_s)
            except ClaimLost:
                self._in_hand = None
                self._forget(claim)

    async def _put_back(self, reason: str) -> None:
        claim, self._in_hand = self._in_hand, None
        kept = self._kept(claim) if claim is not None else None
        if kept is not None:
            await self._end(kept, GivenBack(reason, b"", 0, False))
