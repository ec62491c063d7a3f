"""The local store besides the contract: its file, other processes, restarts, damage, faults of the disk."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import ManualClock
from runtime.jobs.life import ClaimLost, JobState, Result
from runtime.jobs.spec import JobSpec
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.sqlite_tables import JobTables
from runtime.jobs.store import Capabilities, JobStoreError
from tests.faults.attack import Mode, run_module

SPEC = JobSpec(desktop="unix:/d", instruction="press OK")


async def test_everything_is_there_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "made" / "jobs.sqlite"
    store = SqliteJobStore(path, clock=clock)
    job, _ = await store.submit(SPEC)
    mine = await store.claim(Capabilities(), "car", 10)
    assert mine is not None
    await store.save(mine, Checkpoint(agent_kind="a", state=b"half"))
    before = await store.get(job), await store.history(job)
    await store.close()
    again = SqliteJobStore(path, clock=clock)
    assert (await again.get(job), await again.history(job)) == before
    await again.renew(mine, 10)  # a daemon that was restarted goes on with the claims that it knows
    await again.finish(mine, Result(JobState.done))
    await again.close()


async def test_a_store_made_anew_goes_on_above_the_old_epochs(tmp_path: Path, clock: ManualClock) -> None:
    epochs = []
    for number in range(3):
        store = SqliteJobStore(tmp_path / f"{number}.sqlite", clock=clock)
        for _ in range(3):
            await store.submit(SPEC)
            mine = await store.claim(Capabilities(), "car", 10)
            assert mine is not None
            await store.finish(mine, Result(JobState.done))
            epochs.append(mine.owner_epoch)
        await store.close()
        clock.advance(1)
    assert epochs == sorted(set(epochs))


async def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    store = SqliteJobStore(tmp_path / "jobs.sqlite")
    with pytest.raises(JobStoreError, match="held by another process; stop the other daemon"):
        SqliteJobStore(tmp_path / "jobs.sqlite")
    await store.submit(SPEC)
    await store.close()


def test_a_file_that_is_no_job_store_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"this is a letter to my aunt, " * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()
    later = tmp_path / "later.sqlite"
    asyncio.run(SqliteJobStore(later).close())
    with sqlite3.connect(later) as database:
        database.execute("PRAGMA user_version = 77")
    database.close()
    for path, said in [(text, "damaged"), (other, "a database of something else"), (later, "version 77")]:
        before = path.read_bytes()
        with pytest.raises(JobStoreError, match=said):
            SqliteJobStore(path)
        assert path.read_bytes()[100:] == before[100:]
    with pytest.raises(JobStoreError, match="cannot be used"):
        SqliteJobStore(text / "jobs.sqlite")


async def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    store = SqliteJobStore(path)
    for _ in range(50):
        await store.submit(SPEC)
    await store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(JobStoreError, match="damaged"):
        await list_all(path)


async def list_all(path: Path) -> None:
    store = SqliteJobStore(path)
    try:
        await store.list_jobs()
    finally:
        await store.close()


async def test_calls_are_taken_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    store = SqliteJobStore(tmp_path / "jobs.sqlite")
    await store.submit(SPEC)
    mine = await store.claim(Capabilities(), "car", 10)
    assert mine is not None
    states = [str(number).encode() for number in range(50)]
    await asyncio.gather(*(store.save(mine, Checkpoint(agent_kind="a", state=state)) for state in states))
    assert Checkpoint.decode((await store.get(mine.job)).checkpoint).state == states[-1]
    await store.close()


KILLED = """
import asyncio, sys
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.life import JobState, Result
from runtime.jobs.spec import JobSpec
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.sqlite_tables import JobTables
from runtime.jobs.store import Capabilities

async def main():
    store = SqliteJobStore(sys.argv[1])
    say = lambda *words: print(*words, flush=True)
    for number in range(10**6):
        job, _ = await store.submit(JobSpec(desktop="unix:/d", instruction="x", idempotency_key=str(number)))
        say("submitted", job)
        mine = await store.claim(Capabilities(), "car", 1000)
        say("claimed", mine.job, mine.owner_epoch)
        await store.save(mine, Checkpoint(agent_kind="a", state=b"%d" % number * 500))
        say("saved", mine.job)
        await store.finish(mine, Result(JobState.done, answer=str(number)))
        say("finished", mine.job)

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 2, 3, 4, 57, 203])
def test_kill_9_loses_nothing_that_was_said(tmp_path: Path, lines: int) -> None:
    """Whatever the child said before it was killed is true afterwards; what it had begun is whole or absent."""
    path = tmp_path / "jobs.sqlite"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline().split() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    said += [line.split() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.wait()
    child.stdout.close()

    async def check() -> None:
        store = SqliteJobStore(path)
        jobs = {job.job: job for job in await store.list_jobs(limit=10**6)}
        finished = {words[1] for words in said if words[0] == "finished"}
        assert {words[1] for words in said} <= set(jobs)
        assert len(jobs) <= sum(words[0] == "submitted" for words in said) + 1
        assert all(jobs[job].state is JobState.done and jobs[job].answer for job in finished)
        open_jobs = [job for job in jobs.values() if not job.state.is_over]
        assert len(open_jobs) <= 1
        for words in said:
            if words[0] == "claimed":
                assert jobs[words[1]].owner_epoch == int(words[2])
            if words[0] == "saved" and words[1] not in finished and not jobs[words[1]].state.is_over:
                assert Checkpoint.decode(jobs[words[1]].checkpoint).state
        for job in jobs.values():
            kinds = [event.kind for event in await store.history(job.job)]
            assert kinds == ["submitted", "claimed", "done"][: len(kinds)]
        await store.close()

    asyncio.run(check())


@pytest.mark.parametrize("mode", Mode)
def test_a_fault_at_any_write_leaves_the_store_whole(mode: Mode) -> None:
    printed = run_module("tests.jobs.faulty_store", mode.name)
    assert int(printed.split()[-1]) > 10, printed


async def test_a_claim_that_was_lost_is_told_with_its_reason(tmp_path: Path) -> None:
    store = SqliteJobStore(tmp_path / "jobs.sqlite")
    await store.submit(SPEC)
    mine = await store.claim(Capabilities(), "car", 10)
    assert mine is not None
    await store.cancel(mine.job, "the customer called")
    with pytest.raises(ClaimLost, match="it is cancelled \\(the customer called\\)"):
        await store.renew(mine, 10)
    await store.close()


def test_no_query_reads_all_that_is_queued(tmp_path: Path) -> None:
    """Fifty thousand jobs may wait: what is asked every second must find its rows by an index, without a sort."""
    tables = JobTables(tmp_path / "jobs.sqlite", ManualClock(), 3)
    asked: list[str] = []
    tables._db.set_trace_callback(asked.append)
    tables.submit(SPEC)
    tables.sweep()
    claim = tables.claim(Capabilities(frozenset({"block_clicker"})), "car", 10)
    assert claim is not None
    tables.renew(claim, 10)
    tables._db.set_trace_callback(None)
    for statement in asked:
        if statement.startswith(("SELECT", "UPDATE jobs")):
            plan = [
                row[3] for row in tables._db.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * statement.count("?"))
            ]
            unsorted = [step for step in plan if "TEMP B-TREE" not in step]
            assert unsorted == plan, (statement, plan)
            allowed = ("SEARCH", "SCAN jobs USING INDEX jobs_ready", "SCAN jobs USING INDEX jobs_taken")
            assert all(
                step.startswith((*allowed, "LIST", "SCAN jobs USING COVERING INDEX jobs_taken")) for step in plan
            ), plan
    tables.close()
