"""The local job store: SQLite in a write-ahead log, on a thread of its own.

    daemon's loop ──await──► one thread, one connection (sqlite_tables.py) ──► jobs.sqlite, -wal

The thread is there so that a slow disk's sync never holds up the daemon, which has a car to answer to. It takes the
calls in the order in which they were made.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import JobClock, SystemClock
from runtime.jobs.life import NOTHING, Job, JobEvent, JobState, Result, Spent
from runtime.jobs.spec import JobSpec
from runtime.jobs.sqlite_tables import JobTables
from runtime.jobs.store import DEFAULT_MAX_ATTEMPTS, Capabilities, Claim

T = TypeVar("T")


class SqliteJobStore:
    """A `runtime.jobs.store.JobStore` in the file `path`, which is made if absent and held by this process alone.

    Raises JobStoreError from its constructor: held by another process, not a job store, of another version, damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: JobClock | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    ) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jobs")
        try:
            opening = self._thread.submit(JobTables, Path(path), clock or SystemClock(), max_attempts)
            self._tables = opening.result()
            self._is_open = True
        except BaseException:
            self._thread.shutdown()
            raise

    async def submit(self, spec: JobSpec) -> tuple[str, bool]:
        return await self._do(lambda: self._tables.submit(spec))

    async def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        return await self._do(lambda: self._tables.claim(capabilities, owner, lease_s))

    async def can_claim(self, capabilities: Capabilities) -> bool:
        return await self._do(lambda: self._tables.can_claim(capabilities))

    async def renew(self, claim: Claim, lease_s: float) -> None:
        await self._do(lambda: self._tables.renew(claim, lease_s))

    async def save(self, claim: Claim, checkpoint: Checkpoint, spent: Spent = NOTHING, elsewhere: bool = False) -> None:
        await self._do(lambda: self._tables.save(claim, checkpoint, spent))

    async def put_results(self, claim: Claim, first: int, results: Sequence[bytes]) -> None:
        await self._do(lambda: self._tables.put_results(claim, first, results))

    async def results(self, job: str, since: int = 0) -> list[tuple[int, bytes]]:
        return await self._do(lambda: self._tables.results(job, since))

    async def finish(self, claim: Claim, result: Result) -> None:
        await self._do(lambda: self._tables.finish(claim, result))

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
        return await self._do(lambda: self._tables.release(claim, reason, checkpoint, actions, is_fault, spent))

    async def cancel(self, job: str, reason: str) -> Job:
        return await self._do(lambda: self._tables.cancel(job, reason))

    async def sweep(self) -> list[Job]:
        return await self._do(self._tables.sweep)

    async def get(self, job: str) -> Job:
        return await self._do(lambda: self._tables.get(job))

    async def list_jobs(self, states: Iterable[JobState] = (), limit: int = 50) -> list[Job]:
        wanted = list(states)
        return await self._do(lambda: self._tables.list_jobs(wanted, limit))

    async def counts(self) -> dict[JobState, int]:
        return await self._do(self._tables.counts)

    async def history(self, job: str) -> list[JobEvent]:
        return await self._do(lambda: self._tables.history(job))

    async def forget(self, before_ns: int) -> int:
        return await self._do(lambda: self._tables.forget(before_ns))

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._do(self._tables.close)
            self._thread.shutdown()

    async def _do(self, work: Callable[[], T]) -> T:
        """Runs `work` on the store's thread. A caller that is cancelled leaves it whole: it happens, unheard."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
