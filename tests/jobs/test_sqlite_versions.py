"""A store's file of version 1, as the builds before batches and budgets made it, under this build."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import ManualClock
from runtime.jobs.life import JobState, Result, Spent
from runtime.jobs.spec import BATCH_AGENT, Batch, JobSpec
from runtime.jobs.sqlite import SqliteJobStore
from runtime.jobs.store import Capabilities, JobStoreError

# The statements of the build that wrote version 1, word for word: what they made lies on disks.
SCHEMA_1 = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL UNIQUE,
    idempotency_key TEXT UNIQUE,
    desktop TEXT NOT NULL, agent TEXT NOT NULL, priority INTEGER NOT NULL, spec BLOB NOT NULL,
    state TEXT NOT NULL, submitted_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
    deadline_ns INTEGER, not_before_ns INTEGER NOT NULL,
    owner TEXT NOT NULL, owner_epoch INTEGER NOT NULL, lease_until_ns INTEGER NOT NULL, lease_boot TEXT NOT NULL,
    claims INTEGER NOT NULL, attempts INTEGER NOT NULL, actions INTEGER NOT NULL,
    checkpoint BLOB NOT NULL, reason TEXT NOT NULL, answer TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_ready ON jobs (priority DESC, seq) WHERE state = 'queued';
CREATE INDEX jobs_taken ON jobs (desktop) WHERE state = 'claimed';
CREATE INDEX jobs_due ON jobs (deadline_ns) WHERE deadline_ns IS NOT NULL AND state IN ('queued', 'claimed');
CREATE INDEX jobs_state ON jobs (state, seq);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, at_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    owner TEXT NOT NULL, owner_epoch INTEGER NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_job ON events (job, id);
CREATE TABLE epoch (last INTEGER NOT NULL) STRICT;
"""
INSERT_1 = (
    "INSERT INTO jobs (job, submitted_ns, updated_ns, deadline_ns, not_before_ns, owner, owner_epoch, lease_until_ns, "
    "lease_boot, claims, attempts, actions, checkpoint, reason, answer, idempotency_key, desktop, agent, priority, "
    "spec, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
EVENT_1 = "INSERT INTO events (job, at_ns, kind, owner, owner_epoch, detail) VALUES (?, ?, 'submitted', '', 0, '')"
APPLICATION_ID = 0x69684A42
LAST_EPOCH = 1_811_939_328_000_007
DAMAGED = "CREATE TABLE results (job TEXT)"  # in the way of what version 2 adds


def spec_1(key: str) -> bytes:
    """A job's spec as that build wrote it: version 3 of the form, which knew no budget and no batch."""
    form = {
        "desktop": "unix:/d", "instruction": "press OK", "version": 3, "agent": "block_clicker", "model": "",
        "variants": [], "retries": None, "token": "", "priority": 0, "deadline_s": None,
        "limits": {"max_actions": 500, "max_s": 600.0, "action_ms": 331.0},
        "needs": {"region": "", "device": "", "memory_MiB": 0, "plugged_in": False, "other_than": []},
        "verification": {"repeatable": False, "rate": 0.0}, "idempotency_key": key, "labels": {},
    }  # fmt: skip
    return msgspec.msgpack.encode(form)


def store_1(path: Path, clock: ManualClock, *, extra: str = "") -> None:
    """Makes a store of version 1: a job that waits with a checkpoint, one that is under way, one that is done."""
    now = clock.now()
    half = Checkpoint(agent_kind="block_clicker", state=b"half").encode()

    def row(job: str, state: str, **given: Any) -> list[Any]:
        return [
            job, now.utc_ns, now.utc_ns, None, 0, given.get("owner", ""), given.get("epoch", 0),
            given.get("lease_ns", 0), given.get("boot", ""), given.get("claims", 0), 0, given.get("actions", 0),
            given.get("checkpoint", b""), "", given.get("answer", ""), f"key-{job}", "unix:/d" + job, "block_clicker",
            0, spec_1(f"key-{job}"), state,
        ]  # fmt: skip

    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        for statement in SCHEMA_1.split(";"):
            made.execute(statement)
        made.execute("INSERT INTO epoch VALUES (?)", [LAST_EPOCH])
        made.execute(INSERT_1, row("waits", "queued", claims=1, actions=3, checkpoint=half))
        lease_ns = now.boottime_ns + 10 * 10**9
        made.execute(
            INSERT_1, row("runs", "claimed", owner="car", epoch=LAST_EPOCH, lease_ns=lease_ns, boot=now.boot_id)
        )
        made.execute(INSERT_1, row("over", "done", claims=1, actions=9, answer="42"))
        for job in ("waits", "runs", "over"):
            made.execute(EVENT_1, [job, now.utc_ns])
        if extra:
            made.execute(extra)
        made.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        made.execute("PRAGMA user_version = 1")


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as opened:
        return int(opened.execute("PRAGMA user_version").fetchone()[0])


async def test_a_store_of_version_1_is_brought_up_with_all_that_it_holds(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "jobs.sqlite"
    store_1(path, clock)
    store = SqliteJobStore(path, clock=clock)
    jobs = {job.job: job for job in await store.list_jobs()}
    assert {name: job.state.value for name, job in jobs.items()} == {
        "waits": "queued", "runs": "claimed", "over": "done"
    }  # fmt: skip
    assert (jobs["over"].answer, jobs["over"].actions, jobs["over"].claims) == ("42", 9, 1)
    assert Checkpoint.decode(jobs["waits"].checkpoint).state == b"half"
    assert {(job.joules, job.price) for job in jobs.values()} == {(0.0, 0.0)}
    assert [event.kind for event in await store.history("runs")] == ["submitted"]
    assert await store.submit(JobSpec.decode(spec_1("key-over"))) == ("over", False), "its key is still its own"
    await store.close()
    assert version_of(path) == 2


async def test_work_goes_on_where_version_1_left_it(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "jobs.sqlite"
    store_1(path, clock)
    store = SqliteJobStore(path, clock=clock)
    again = await store.claim(Capabilities(), "car", 10)
    assert again is not None
    assert again.job == "waits"
    assert again.checkpoint is not None
    assert again.checkpoint.state == b"half"
    assert again.owner_epoch == LAST_EPOCH + 1, "the fence goes on above what was given"
    await store.save(again, Checkpoint(agent_kind="block_clicker", state=b"more"), Spent(3.0, 0.5))
    await store.finish(again, Result(JobState.done, actions=1, spent=Spent(4.0, 0.75)))
    over = await store.get("waits")
    assert (over.joules, over.price, over.actions) == (4.0, 0.75, 4)
    batch, _ = await store.submit(JobSpec(agent=BATCH_AGENT, model="m", batch=Batch(inputs=({"x": [1]},))))
    claim = await store.claim(Capabilities(), "car", 10)
    assert claim is not None
    await store.put_results(claim, 0, [b"r"])
    await store.close()
    again_open = SqliteJobStore(path, clock=clock)  # the second opening finds nothing left to bring up
    assert await again_open.results(batch) == [(0, b"r")]
    assert (await again_open.get("waits")).joules == 4.0
    await again_open.close()


async def test_bringing_a_store_up_is_all_or_nothing(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "jobs.sqlite"
    store_1(path, clock, extra=DAMAGED)
    with pytest.raises(JobStoreError):
        SqliteJobStore(path, clock=clock)
    assert version_of(path) == 1
    with closing(sqlite3.connect(path)) as opened:
        columns = {name for _, name, *_ in opened.execute("PRAGMA table_info(jobs)")}
        assert "joules" not in columns
        opened.execute("DROP TABLE results")
    store = SqliteJobStore(path, clock=clock)
    assert len(await store.list_jobs()) == 3
    await store.close()
