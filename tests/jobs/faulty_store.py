"""Run under LD_PRELOAD by test_sqlite.py: a fault at every write of a job's life. Prints how many points were tried."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import ManualClock
from runtime.jobs.life import JobState, Result
from runtime.jobs.spec import JobSpec
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.store import Capabilities
from tests.faults.attack import Ended, Mode, attack

MODE = Mode[sys.argv[1]]
CLOCK = ManualClock()


def spec(number: int) -> JobSpec:
    return JobSpec(desktop=f"unix:/{number}", instruction="press OK", idempotency_key=str(number))


def prepare(folder: Path) -> None:
    """One job is in the store, finished."""

    async def work() -> None:
        store = SqliteJobStore(folder / "jobs.sqlite", clock=CLOCK)
        await store.submit(spec(0))
        claim = await store.claim(Capabilities(), "car", 10)
        assert claim is not None
        await store.finish(claim, Result(JobState.done, "first"))
        await store.close()

    asyncio.run(work())


def act(folder: Path) -> None:
    """A second job lives its life; each acknowledgement leaves a name beside the store."""

    async def work() -> None:
        store = SqliteJobStore(folder / "jobs.sqlite", clock=CLOCK)
        try:
            await store.submit(spec(1))
            say(folder, "submitted")
            claim = await store.claim(Capabilities(), "car", 10)
            assert claim is not None
            say(folder, f"claimed {claim.owner_epoch}")
            await store.save(claim, Checkpoint(agent_kind="a", state=b"s" * 20_000))
            say(folder, "saved")
            await store.release(claim, "speed")
            say(folder, "released")
            claim = await store.claim(Capabilities(), "car", 10)
            assert claim is not None
            await store.finish(claim, Result(JobState.done, "second"))
            say(folder, "done")
        finally:
            await store.close()

    asyncio.run(work())


def say(folder: Path, word: str) -> None:
    os.mkfifo(folder / word)  # a name that is there or not, and no change that the faults know of


def check(folder: Path, ended: Ended) -> None:
    said = {path.name.split()[0]: path.name for path in folder.iterdir() if path.is_fifo()}

    async def look() -> None:
        store = SqliteJobStore(folder / "jobs.sqlite", clock=CLOCK)
        jobs = {job.spec.idempotency_key: job for job in await store.list_jobs()}
        assert jobs["0"].state is JobState.done
        assert jobs["0"].answer == "first"
        second = jobs.get("1")
        assert second is not None or "submitted" not in said, said
        if second is not None:
            kinds = [event.kind for event in await store.history(second.job)]
            assert kinds == ["submitted", "claimed", "released", "claimed", "done"][: len(kinds)], kinds
            assert len(kinds) >= len(said) - ("saved" in said) + ("done" in said), (kinds, said)
            assert (second.state is JobState.done) == (len(kinds) == 5)
            if "saved" in said and second.state is not JobState.done:
                assert len(Checkpoint.decode(second.checkpoint).state) == 20_000
        # and it goes on: the job is submitted again under its key, and claimed above every epoch that was given
        job, _ = await store.submit(spec(1))
        if not (await store.get(job)).state.is_over:
            CLOCK.reboot()
            await store.sweep()
            CLOCK.advance(100)
            claim = await store.claim(Capabilities(), "car-2", 10)
            assert claim is not None
            assert claim.owner_epoch > int(said.get("claimed", "x 0").split()[1])
            await store.finish(claim, Result(JobState.done, "second"))
        await store.close()

    asyncio.run(look())


if __name__ == "__main__":
    print(attack(MODE, prepare, act, check))
