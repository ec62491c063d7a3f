"""The tables of the local job store and every statement on them; sqlite.py gives them to the daemon.

| table  | row                                                                        |
|--------|----------------------------------------------------------------------------|
| jobs   | a job of life.py; `seq` is its age                                         |
| events | a line of a job's history                                                  |
| epoch  | one row: the last owner_epoch that was given                               |
| results | one result of a batch, by its job and its number                           |

One connection holds the file alone (exclusive locking: a second daemon is refused, and no shared-memory file is left
behind). Write-ahead log; every change is one IMMEDIATE transaction that reads the job, lets life.py decide, and writes.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.clock import JobClock, Now
from runtime.jobs.life import (
    LAST_BACKOFF_S,
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
from runtime.jobs.spec import JobSpec, Limits
from runtime.jobs.store import Capabilities, Claim, JobStoreError, read_checkpoint

APPLICATION_ID = 0x69684A42  # "ihJB"
SCHEMA_VERSION = 2  # 2: what runs have cost, results of batches
SCHEMA = """
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
# What version 1 lacked; a store of that version gets it when it is opened.
SINCE_1 = """
ALTER TABLE jobs ADD COLUMN joules REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN price REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN run_joules REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN run_price REAL NOT NULL DEFAULT 0;
CREATE TABLE results (
    job TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
"""
# Columns that are fields of Job under the same name and of the same type.
PLAIN = [name for name in Job.__struct_fields__ if name not in ("spec", "state", "running")]
RUNNING = ["run_joules", "run_price"]  # Job.running
COLUMNS = [*PLAIN, *RUNNING, "idempotency_key", "desktop", "agent", "priority", "spec", "state"]
_INSERT = f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_UPDATE = f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in [*PLAIN, *RUNNING, 'state'])} WHERE job = ?"
_SELECT = f"SELECT {', '.join(PLAIN)}, {', '.join(RUNNING)}, spec, state FROM jobs "
# Named, because the planner would rather sort all that is queued than believe that one row is wanted.
_READY = (
    "INDEXED BY jobs_ready WHERE state = 'queued' AND NOT (not_before_ns > ? AND not_before_ns <= ?)"
    " AND (desktop = '' OR desktop NOT IN (SELECT desktop FROM jobs WHERE state = 'claimed'))"
)


class _Lengths(msgspec.Struct, frozen=True):
    """What admission wants of a stored spec; the rest of it is skipped over."""

    limits: Limits = Limits()


_LENGTHS = msgspec.msgpack.Decoder(_Lengths)


class JobTables:
    """The store's file, open. All methods on one thread; each is a whole change or raises with nothing changed."""

    def __init__(self, path: Path, clock: JobClock, max_attempts: int) -> None:
        self._path, self._clock, self._max_attempts = path, clock, max_attempts
        self._syncs = True
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            with self._told():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def submit(self, spec: JobSpec) -> tuple[str, bool]:
        with self._change() as now:
            row = self._db.execute(
                "SELECT job, spec FROM jobs WHERE idempotency_key = ?", [spec.idempotency_key or None]
            ).fetchone()
            if row is not None:
                if JobSpec.decode(row[1]) != spec.assigned(row[0]):
                    raise IdempotencyConflict(f"the key '{spec.idempotency_key}' is that of job {row[0]}, another one")
                return row[0], False
            job, event = submitted(uuid.uuid4().hex, spec, now)
            values = _plain(job)
            own = [
                spec.idempotency_key or None,
                spec.desktop,
                spec.agent,
                spec.priority,
                job.spec.encode(),
                job.state.value,
            ]
            self._db.execute(_INSERT, values + own)
            self._tell(event)
            return job.job, True

    def claim(self, capabilities: Capabilities, owner: str, lease_s: float) -> Claim | None:
        with self._change() as now:
            self._sweep(now)
            found = self._next_for(capabilities, now)
            if found is None:
                return None
            (epoch,) = self._db.execute("UPDATE epoch SET last = last + 1 RETURNING last").fetchone()
            self._keep(claimed(found, owner, epoch, lease_s, now))
            return Claim(found.job, epoch, read_checkpoint(found))

    def can_claim(self, capabilities: Capabilities) -> bool:
        with self._told():
            return self._next_for(capabilities, self._clock.now()) is not None

    def renew(self, claim: Claim, lease_s: float) -> None:
        # Neither a lease nor a checkpoint is worth waiting for the disk: after a power cut both are void or old news.
        with self._change(sync=False) as now:
            self._write(renewed(self._job(claim.job), claim.owner_epoch, lease_s, now))

    def save(self, claim: Claim, checkpoint: Checkpoint, spent: Spent) -> None:
        with self._change(sync=False) as now:
            self._write(saved(self._job(claim.job), claim.owner_epoch, checkpoint, now, spent))

    def put_results(self, claim: Claim, first: int, results: Sequence[bytes]) -> None:
        with self._change():
            owned(self._job(claim.job), claim.owner_epoch)
            self._db.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?)",
                [(claim.job, number, data) for number, data in enumerate(results, first)],
            )

    def results(self, job: str, since: int) -> list[tuple[int, bytes]]:
        with self._told():
            self._job(job)
            return self._db.execute(
                "SELECT number, data FROM results WHERE job = ? AND number >= ? ORDER BY number", [job, since]
            ).fetchall()

    def finish(self, claim: Claim, result: Result) -> None:
        with self._change() as now:
            self._keep(finished(self._job(claim.job), claim.owner_epoch, result, now))

    def release(
        self, claim: Claim, reason: str, checkpoint: Checkpoint | None, actions: int, is_fault: bool, spent: Spent
    ) -> JobState:
        with self._change() as now:
            change = released(
                self._job(claim.job),
                claim.owner_epoch,
                reason,
                now,
                checkpoint=checkpoint,
                actions=actions,
                is_fault=is_fault,
                spent=spent,
                max_attempts=self._max_attempts,
            )
            self._keep(change)
            return change[0].state

    def cancel(self, job: str, reason: str) -> Job:
        with self._change() as now:
            self._keep(cancelled(self._job(job), reason, now))
            return self._job(job)

    def sweep(self) -> list[Job]:
        now = self._clock.now()
        with self._told():
            if not self._overdue(now):  # the usual case costs no transaction
                return []
        with self._change() as now:
            return self._sweep(now)

    def get(self, job: str) -> Job:
        with self._told():
            return self._job(job)

    def list_jobs(self, states: list[JobState], limit: int) -> list[Job]:
        wanted = [state.value for state in states or JobState]
        # The newest are found in the index alone; only they are read.
        newest = f"SELECT seq FROM jobs WHERE state IN ({', '.join('?' * len(wanted))}) ORDER BY seq DESC LIMIT ?"
        with self._told():
            return self._select(f"WHERE seq IN ({newest}) ORDER BY seq DESC", [*wanted, limit])

    def counts(self) -> dict[JobState, int]:
        with self._told():
            found = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in JobState}

    def history(self, job: str) -> list[JobEvent]:
        with self._told():
            self._job(job)
            rows = self._db.execute(
                "SELECT job, at_ns, kind, owner, owner_epoch, detail FROM events WHERE job = ? ORDER BY id", [job]
            )
            return [JobEvent(*row) for row in rows]

    def forget(self, before_ns: int) -> int:
        with self._change():
            over = [state.value for state in JobState if state.is_over]
            old = f"state IN ({', '.join('?' * len(over))}) AND updated_ns < ?"
            for table in ("events", "results"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE job IN (SELECT job FROM jobs WHERE {old})", [*over, before_ns]
                )
            return self._db.execute(f"DELETE FROM jobs WHERE {old}", [*over, before_ns]).rowcount

    def close(self) -> None:
        self._db.close()

    def _open(self) -> None:
        self._db.create_function("max_s", 1, lambda spec: _LENGTHS.decode(spec).limits.max_s, deterministic=True)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON")  # a checkpoint may hold what was seen: gone means gone
        self._db.execute("PRAGMA cache_size = -1024")  # KiB; the daemon's memory is counted
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if (application, version, tables) == (0, 0, 0):
            self._create()
        elif (application, version) == (APPLICATION_ID, 1):
            self._bring_up()
        elif (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
            kind = f"job store version {version}" if application == APPLICATION_ID else "a database of something else"
            raise JobStoreError(
                f"{self._path} is {kind}, this build reads job store version {SCHEMA_VERSION}",
                next_step="start the build that made it, or name another state folder",
            )
        self._db.execute("BEGIN IMMEDIATE")  # holds the file from here on
        self._db.execute("COMMIT")

    def _create(self) -> None:
        # A store that was lost and made anew goes on above the old one's epochs: they begin at the time, in s * 2^20.
        first_epoch = self._clock.now().utc_ns // 1_000_000_000 << 20
        self._db.execute("BEGIN IMMEDIATE")
        for statement in (SCHEMA + SINCE_1).split(";"):
            self._db.execute(statement)
        self._db.execute("INSERT INTO epoch VALUES (?)", [first_epoch])
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def _bring_up(self) -> None:
        """Adds what a store of an earlier version lacks, all of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        for statement in SINCE_1.split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what SQLite says into JobStoreError: what, where, next step."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise JobStoreError(
                    f"the job store {self._path} is held by another process", next_step="stop the other daemon first"
                ) from error
            raise JobStoreError(f"the job store {self._path} cannot be used: {error}") from error
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            raise JobStoreError(
                f"the job store {self._path} is damaged: {error}",
                next_step="keep a copy of it, then move it away; the daemon makes a new one",
            ) from error
        except OSError as error:
            raise JobStoreError(f"the job store {self._path} cannot be used: {error.strerror}") from error

    @contextmanager
    def _change(self, *, sync: bool = True) -> Iterator[Now]:
        """One transaction: all of it is kept, or nothing. `sync` False leaves its way to the disk to a later one."""
        with self._told():
            if sync is not self._syncs:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
                self._syncs = sync
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._clock.now()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite has rolled back by itself after some errors
                    self._db.execute("ROLLBACK")
                raise

    def _next_for(self, capabilities: Capabilities, now: Now) -> Job | None:
        """Returns the job that a claimer gets. Rows are read in their order, and no further than needed."""
        rest = _READY
        values: list[object] = [now.utc_ns, now.utc_ns + int(LAST_BACKOFF_S * 1e9)]
        if capabilities.agents is not None:
            if not capabilities.agents:
                return None
            rest += f" AND agent IN ({', '.join('?' * len(capabilities.agents))})"
            values += capabilities.agents
        if capabilities.longest_s is not None:
            rest += " AND max_s(spec) <= ?"  # the usual reason to pass a job over: without reading the whole of it
            values.append(capabilities.longest_s)
        rows = self._rows(rest + " ORDER BY priority DESC, seq", values)
        try:
            return next((job for job in rows if capabilities.can_do(job.spec)), None)
        finally:
            rows.close()

    def _job(self, job: str) -> Job:
        found = self._select("WHERE job = ?", [job])
        if not found:
            raise UnknownJob(f"there is no job {job}")
        return found[0]

    def _select(self, rest: str, values: list[object]) -> list[Job]:
        return list(self._rows(rest, values))

    def _rows(self, rest: str, values: list[object]) -> Generator[Job, None, None]:
        count = len(PLAIN)
        for row in self._db.execute(_SELECT + rest, values):
            plain = dict(zip(PLAIN, row, strict=False))
            run_joules, run_price, spec, state = row[count:]
            running = Spent(run_joules, run_price)
            yield Job(spec=JobSpec.decode(spec), state=JobState(state), running=running, **plain)

    def _overdue(self, now: Now) -> list[Job]:
        lost = self._select(
            "INDEXED BY jobs_taken WHERE state = 'claimed' AND (lease_boot <> ? OR lease_until_ns <= ?)",
            [now.boot_id, now.boottime_ns],
        )
        late = self._select(
            "INDEXED BY jobs_due WHERE deadline_ns <= ? AND deadline_ns IS NOT NULL AND state IN ('queued', 'claimed')",
            [now.utc_ns],
        )
        return list({job.job: job for job in lost + late}.values())

    def _sweep(self, now: Now) -> list[Job]:
        changes = [overdue(job, now, self._max_attempts) for job in self._overdue(now)]
        for change in changes:
            self._keep(change)
        return [change[0] for change in changes if change is not None]

    def _keep(self, change: Change | None) -> None:
        if change is not None:
            self._write(change[0])
            self._tell(change[1])

    def _write(self, job: Job) -> None:
        self._db.execute(_UPDATE, [*_plain(job), job.state.value, job.job])

    def _tell(self, event: JobEvent) -> None:
        self._db.execute(
            "INSERT INTO events (job, at_ns, kind, owner, owner_epoch, detail) VALUES (?, ?, ?, ?, ?, ?)",
            list(msgspec.structs.astuple(event)),
        )


def _plain(job: Job) -> list[object]:
    """Returns the values of PLAIN and RUNNING."""
    return [*(getattr(job, name) for name in PLAIN), job.running.joules, job.running.price]
