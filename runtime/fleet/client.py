"""A scheduler's end of a fleet: submit, look, wait, cancel; what was promised is in an outbox until it is done.

    async with Submitter(address, outbox) as fleet:
        job = (await fleet.submit(spec)).job
        async for told in fleet.watch(job): ...

Every job gets an idempotency key and a file in the outbox before it is sent. While the fleet is away it waits there; a
store that lost its jobs gets them again under the same keys, and its new incarnation is above the old one, so that no
owner from before counts. A job that is over is told and leaves the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec
from nats.aio.msg import Msg

from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.errors import FleetAway
from runtime.fleet.store import NatsJobStore, job_named
from runtime.fleet.streams import PROGRESS
from runtime.jobs.life import IdempotencyConflict, Job, JobError, JobState, UnknownJob
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import JobStoreError
from runtime.store.files import replace_file

POLL_S = 0.2
RESULTS_POLL_S = 1.0


@dataclass(frozen=True)
class Sent:
    """A job that will be done. `is_known` False: it is in the outbox, and the fleet has not answered yet."""

    job: str
    is_new: bool
    is_known: bool


class Told(msgspec.Struct, frozen=True):
    """Something that happened to a job: a line of its history, or `detail` (JSON) of what its car does right now."""

    at_ns: int
    job: str
    kind: str
    owner: str
    detail: str
    over: bool = False


class Outbox:
    """One file a job that is not known to be over. Raises JobStoreError where the disk does not take it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JobStoreError(f"the outbox {folder} cannot be made: {error.strerror}") from error

    def put(self, job: str, spec: JobSpec) -> None:
        """Keeps a job; it is on the disk when this returns."""
        try:
            replace_file(self._folder / f"{job}.job", spec.encode(), sync=True)
        except OSError as error:
            raise JobStoreError(f"the outbox {self._folder} cannot be written: {error.strerror}") from error

    def drop(self, job: str) -> None:
        (self._folder / f"{job}.job").unlink(missing_ok=True)

    def jobs(self) -> dict[str, JobSpec]:
        return {path.stem: JobSpec.decode(path.read_bytes()) for path in sorted(self._folder.glob("*.job"))}

    @property
    def incarnation(self) -> int:
        """The highest incarnation of the fleet's store that was seen from here."""
        path = self._folder / "incarnation"
        return int(path.read_text()) if path.exists() else 0

    def saw(self, incarnation: int) -> None:
        if incarnation > self.incarnation:
            replace_file(self._folder / "incarnation", str(incarnation).encode(), sync=False)


class Submitter:
    """One submitter. Use `async with`; entering connects once, and goes on trying if the fleet is away."""

    def __init__(self, address: FleetAddress, outbox: Path) -> None:
        self.outbox = Outbox(outbox)
        self.connection = Connection(address)
        self.store = NatsJobStore(self.connection)

    async def __aenter__(self) -> Submitter:
        with contextlib.suppress(FleetAway):
            await self.connection.open()
            self.outbox.saw(self.connection.incarnation)
        self.connection.keep()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.store.close()

    async def submit(self, spec: JobSpec) -> Sent:
        """Submits a job; without a key it gets one. Raises IdempotencyConflict, ServerRefused, JobStoreError (disk)."""
        if not spec.idempotency_key:
            spec = msgspec.structs.replace(spec, idempotency_key=uuid.uuid4().hex)
        job = job_named(spec.idempotency_key)
        waiting = self.outbox.jobs().get(job)
        if waiting is not None and waiting != spec:
            raise IdempotencyConflict(f"the key '{spec.idempotency_key}' is that of job {job}, another one")
        self.outbox.put(job, spec)
        try:
            _, is_new = await self.store.submit(spec)
        except FleetAway:
            return Sent(job, True, False)
        except JobError:
            if waiting is None:
                self.outbox.drop(job)  # it will never be taken so: its submitter hears why
            raise
        return Sent(job, is_new, True)

    async def settle(self) -> Counter[str]:
        """Sends again what the fleet does not know, and forgets what is over. Returns how many of each.

        After a store was lost, what was done and not heard of is done again: its submitter never had the answer.
        """
        counts: Counter[str] = Counter()
        self.outbox.saw(self.connection.incarnation)
        for job, spec in self.outbox.jobs().items():
            try:
                known = await self.store.get(job)
                if known.state.is_over:
                    self.outbox.drop(job)
                    counts["over"] += 1
            except UnknownJob:
                await self.store.submit(spec)
                counts["sent again"] += 1
        return counts

    async def wait(self, job: str) -> Job:
        """Returns the job once it is over."""
        async for told in self.watch(job):
            if told.over:
                break
        return await self.store.get(job)

    async def results(self, job: str, *, is_followed: bool = True) -> AsyncIterator[tuple[int, bytes]]:
        """Yields a batch's results in order, each once, as they come until the job is over; or those that there are."""
        since = 0
        while True:
            is_over = (await self.store.get(job)).state.is_over  # asked before, so that nothing is missed after it
            for number, data in await self.store.results(job, since):
                yield number, data
                since = number + 1
            if is_over or not is_followed:
                return
            await asyncio.sleep(RESULTS_POLL_S)

    async def watch(self, job: str) -> AsyncIterator[Told]:
        """Yields a job's history, what its car tells while it works, and its end; goes on while the fleet is away."""
        queue: asyncio.Queue[Told] = asyncio.Queue()

        async def hear(message: Msg) -> None:
            kind = message.subject.rpartition(".")[2]
            queue.put_nowait(Told(time.time_ns(), job, kind, "", message.data.decode(errors="replace")))

        subscription = None
        told = 0
        while True:
            with contextlib.suppress(FleetAway):
                if subscription is None and self.connection.is_up:
                    subscription = await self.connection.client.subscribe(f"{PROGRESS}{job}.*", cb=hear)
                known = await self.store.get(job)
                history = await self.store.history(job)
                for event in history[told:]:
                    over = JobState.__members__.get(event.kind, JobState.queued).is_over
                    detail = event.detail or (known.answer if over else "")
                    while not queue.empty():
                        yield queue.get_nowait()
                    yield Told(event.at_ns, job, event.kind, event.owner, detail, over)
                    if over:
                        self.outbox.drop(job)
                        if subscription is not None:
                            await subscription.unsubscribe()
                        return
                told = len(history)
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                yield await asyncio.wait_for(queue.get(), POLL_S)
