"""The daemon's end of the ledger: appends one line a run, on the disk before `append` returns.

    state/ledger/
      000001.jsonl  000002.jsonl …   lines of entry.py; a new file every 4 MiB, so that opening reads only the last
      torn-…                         what a crash left behind the last whole line: set aside, never thrown away
      lock

A crash in the middle of an append leaves a piece of a line at the end; opening the ledger sets it aside. A damaged line
with whole ones after it is no crash: it stays where it is, and `verify` (audit.py) tells.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from runtime.errors import RuntimeFault
from runtime.ledger.entry import START, Entry, read_line

SEGMENT_BYTES = 4 << 20
# A core at work, the order of magnitude of a car computer's (NVIDIA's nvpmodel tables: Jetson Orin's 8 to 12 cores draw
# 10 to 30 W at full clocks). Only for estimates, and every entry made with it says so.
BUSY_CORE_W = 2.5


class LedgerError(RuntimeFault):
    """The ledger cannot be read or written: a full or failing disk, rights, or another daemon holds it."""

    next_step: ClassVar[str] = "free space or mend the disk; what was booked before is untouched"


class Ledger:
    """The ledger in `folder`, held by this process alone. `clock` gives UTC in ns.

    `set_aside` names what the last crash left. Raises LedgerError.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        clock: Callable[[], int] = time.time_ns,
        busy_core_W: float = BUSY_CORE_W,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self.set_aside: list[Path] = []
        self._clock, self._busy_core_W, self._segment_bytes = clock, busy_core_W, segment_bytes
        self._lock = self._segment = -1
        self._n, self._previous, self._size = 0, START, 0
        self._is_dirty = False
        try:
            with _told(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._hold()
                self._open_last()
        except BaseException:
            self.close()
            raise

    @property
    def last_hash(self) -> str:
        """The hash of the last entry: who keeps it elsewhere can show that none after it was cut off."""
        return self._previous

    def append(
        self,
        *,
        job: str,
        owner_epoch: int,
        gate_epoch: int,
        model: str,
        seconds: float,
        cpu_s: float,
        actions: int,
        joules: float | None = None,
    ) -> Entry:
        """Books a run. `joules` None is estimated from `cpu_s`. Returns the entry once it is on the disk.

        Raises LedgerError; then nothing is booked, and a later append goes on where this one began.
        """
        if not (0 <= seconds < float("inf") and 0 <= cpu_s < float("inf") and actions >= 0 and (joules or 0.0) >= 0):
            raise ValueError(f"a run cannot use {seconds} s, {cpu_s} s of CPU, {actions} actions, {joules} J")
        entry = Entry(
            n=self._n + 1,
            at_ns=self._clock(),
            job=job,
            owner_epoch=owner_epoch,
            gate_epoch=gate_epoch,
            model=model,
            seconds=round(float(seconds), 6),
            cpu_s=round(float(cpu_s), 6),
            actions=actions,
            joules=round(float(cpu_s * self._busy_core_W if joules is None else joules), 6),
            is_estimated=joules is None,
            previous=self._previous,
        ).hashed()
        line = entry.line()
        if read_line(line[:-1]) is None:
            raise ValueError(f"job {job!r} or model {model!r} does not fit into a line of the ledger")
        with _told(self.folder):
            self._write(line)
        self._n, self._previous, self._size = entry.n, entry.hash, self._size + len(line)
        return entry

    def close(self) -> None:
        """Lets the ledger go. May be called again."""
        for descriptor in (self._segment, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._segment = self._lock = -1

    def _hold(self) -> None:
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LedgerError(
                f"the ledger {self.folder} is held by another process", next_step="stop the other daemon first"
            ) from error

    def _open_last(self) -> None:
        """Finds the end of the chain: the last whole line of the last segment that has one."""
        paths = segments(self.folder)
        for path in reversed(paths):
            data = path.read_bytes()
            last, end = _last_whole(data)
            if end < len(data):
                self._put_aside(path, data[end:], end)
            if last is not None:
                self._n, self._previous = last.n, last.hash
            if last is not None or path == paths[0]:
                break
        self._path = paths[-1] if paths else self.folder / _segment_name(1)
        self._open_segment()

    def _put_aside(self, path: Path, torn: bytes, at: int) -> None:
        """Copies what is behind the last whole line to a file of its own, then cuts it off."""
        aside = self.folder / f"torn-{path.stem}-{at}-{self._clock()}"
        with open(aside, "xb") as out:
            out.write(torn)
            out.flush()
            os.fsync(out.fileno())
        _sync(self.folder)
        with open(path, "r+b") as segment:
            segment.truncate(at)
            os.fsync(segment.fileno())
        self.set_aside.append(aside)

    def _open_segment(self) -> None:
        self._segment = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._segment).st_size
        _sync(self.folder)

    def _write(self, line: bytes) -> None:
        if self._size >= self._segment_bytes:
            self._next_segment()
        if self._is_dirty:
            os.ftruncate(self._segment, self._size)
        self._is_dirty = True  # until the line is on the disk, what is behind `_size` is of no account
        at, rest = self._size, memoryview(line)
        while rest:
            written = os.pwrite(self._segment, rest, at)
            at, rest = at + written, rest[written:]
        os.fsync(self._segment)
        self._is_dirty = False

    def _next_segment(self) -> None:
        if self._is_dirty:
            os.ftruncate(self._segment, self._size)
            os.fsync(self._segment)
            self._is_dirty = False
        before, self._path = self._segment, self.folder / _segment_name(int(self._path.stem) + 1)
        try:
            self._open_segment()
        except OSError:
            self._path = self.folder / _segment_name(int(self._path.stem) - 1)
            raise
        os.close(before)


def segments(folder: Path) -> list[Path]:
    """Returns the ledger's files, oldest first. Empty if there is no ledger."""
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.isdecimal())


def _segment_name(number: int) -> str:
    return f"{number:06}.jsonl"


def _last_whole(data: bytes) -> tuple[Entry | None, int]:
    """Returns the last line that matches its own hash, and where it ends (0 if there is none)."""
    end = data.rfind(b"\n") + 1
    while end:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        entry = read_line(data[begin : end - 1])
        if entry is not None:
            return entry, end
        end = begin
    return None, 0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"the ledger {folder} cannot be written: {error.strerror or error}") from error
