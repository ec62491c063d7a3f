"""Reads the ledger as an auditor does, also beside a daemon that writes it: is it whole, and what does it come to?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runtime.ledger.entry import START, Entry, read_line
from runtime.ledger.ledger import LedgerError, segments


@dataclass(frozen=True)
class Damage:
    """Where the ledger is not what was written: a line of a file, and what is wrong there."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.what}"


@dataclass(frozen=True)
class Verdict:
    """The audit. `last_hash` is what a receipt elsewhere is compared with; `is_whole` says that nothing was found."""

    entries: int
    last_hash: str
    damages: tuple[Damage, ...]

    @property
    def is_whole(self) -> bool:
        return not self.damages


@dataclass
class Used:
    """Sums over runs. `estimated_joules` are a part of `joules`."""

    runs: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    actions: int = 0
    joules: float = 0.0
    estimated_joules: float = 0.0

    def add(self, entry: Entry) -> None:
        self.runs += 1
        self.seconds += entry.seconds
        self.cpu_s += entry.cpu_s
        self.actions += entry.actions
        self.joules += entry.joules
        self.estimated_joules += entry.joules if entry.is_estimated else 0.0


@dataclass
class Statement:
    """What was used from `since_ns` up to, not including, `until_ns` (UTC), in all and by model."""

    since_ns: int
    until_ns: int
    jobs: int = 0
    total: Used = field(default_factory=Used)
    by_model: dict[str, Used] = field(default_factory=dict)


def read_entries(folder: Path) -> Iterator[Entry | Damage]:
    """Yields every line in order: an entry, or what is wrong with it. Raises LedgerError if a file cannot be read.

    A last line without its end is not told: it is being written, or a crash left it and the daemon sets it aside.
    """
    paths = segments(folder)
    for path in paths:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise LedgerError(f"the ledger's file {path} cannot be read: {error.strerror}") from error
        if lines[-1] and path != paths[-1]:
            lines.append(b"")  # only the last file may have an unfinished line
        for number, line in enumerate(lines[:-1], 1):
            yield read_line(line) or Damage(path.name, number, "the line does not match its own hash")


def verify(folder: Path) -> Verdict:
    """Checks every line, and that each follows the one before it. Raises LedgerError if a file cannot be read."""
    damages: list[Damage] = []
    previous, n, count = START, 0, 0
    seen: set[tuple[str, int]] = set()
    for found in read_entries(folder):
        if isinstance(found, Damage):
            damages.append(found)
            n += 1  # it stands for one entry, so that what follows is not blamed for it
            previous = ""
            continue
        count += 1
        where = f"entry {found.n}"
        if found.n != n + 1:
            damages.append(Damage(where, 1, f"follows entry {n}: {abs(found.n - n - 1)} are missing or doubled"))
        elif previous and found.previous != previous:
            damages.append(Damage(where, 1, "does not follow the entry before it: that one was replaced"))
        if (found.job, found.owner_epoch) in seen:
            damages.append(Damage(where, 1, f"books job {found.job} under owner {found.owner_epoch} again"))
        seen.add((found.job, found.owner_epoch))
        previous, n = found.hash, found.n
    return Verdict(count, previous or START, tuple(damages))


def statement(folder: Path, since_ns: int = 0, until_ns: int = 2**63 - 1) -> Statement:
    """Returns what the runs booked in that time used. Damaged lines are not counted: `verify` tells of them."""
    made = Statement(since_ns, until_ns)
    jobs = set()
    for found in read_entries(folder):
        if isinstance(found, Entry) and since_ns <= found.at_ns < until_ns:
            jobs.add(found.job)
            made.total.add(found)
            made.by_model.setdefault(found.model, Used()).add(found)
    made.jobs = len(jobs)
    return made
