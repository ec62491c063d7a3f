"""Reads the ledger as an auditor does, also beside a daemon that writes it: is it whole, and what has been answered?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.ledger.answers import read_answers
from runtime.ledger.entry import START, Entry, read_line
from runtime.ledger.ledger import COUNTERSIGNED, LedgerError, segments
from runtime.ledger.receipt import Countersignature, Receipt, ReceiptError, verify_receipt


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
    """The audit. `last_hash` is what a receipt elsewhere is compared with; `is_whole` says that nothing was found.

    `cars` are the public keys that signed entries, in the order of their first; more than one only where the car's
    identity was made anew. `countersigned` entries have the fleet's word.
    """

    entries: int
    last_hash: str
    damages: tuple[Damage, ...]
    cars: tuple[str, ...] = ()
    countersigned: int = 0

    @property
    def is_whole(self) -> bool:
        return not self.damages


def read_entries(folder: Path) -> Iterator[Entry | Damage]:
    """Yields every line in order: an entry, or what is wrong with it. Raises LedgerError if a file cannot be read.

    A last line without its end is not told: it is being written, or a crash left it and the daemon sets it aside.
    """
    paths = segments(folder)
    for path in paths:
        lines = _bytes_of(path).split(b"\n")
        if lines[-1] and path != paths[-1]:
            lines.append(b"")  # only the last file may have an unfinished line
        for number, line in enumerate(lines[:-1], 1):
            yield read_line(line) or Damage(path.name, number, "the line does not match its own hash")


def verify(folder: Path, *, car: str | None = None) -> Verdict:
    """Checks every line and signature, and that each line follows the one before it.

    `car` is the public key that must have signed; None takes any, and the verdict names them. Raises LedgerError if a
    file cannot be read.
    """
    damages: list[Damage] = []
    previous, n, count, countersigned = START, 0, 0, 0
    seen: set[tuple[str, int]] = set()
    cars: dict[str, None] = {}
    answers = answers_of(folder)
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
        answer = answers.get(found.hash)
        try:
            verify_receipt(Receipt(entry=found, countersignature=answer), car=car)
        except ReceiptError as error:
            damages.append(Damage(where, 1, error.message))
        else:
            countersigned += answer is not None
        seen.add((found.job, found.owner_epoch))
        cars.setdefault(found.car)
        previous, n = found.hash, found.n
    return Verdict(count, previous or START, tuple(damages), tuple(cars), countersigned)


def receipts(folder: Path, since_ns: int = 0, until_ns: int = 2**63 - 1) -> Iterator[Receipt]:
    """Yields the receipts booked in that time, oldest first, with the fleet's counter-signature where there is one."""
    answers = answers_of(folder)
    for found in read_entries(folder):
        if isinstance(found, Entry) and since_ns <= found.at_ns < until_ns:
            yield Receipt(entry=found, countersignature=answers.get(found.hash))


def waiting(folder: Path) -> Iterator[Receipt]:
    """Yields the receipts that no fleet has counter-signed yet, oldest first: what is still to be sent."""
    return (receipt for receipt in receipts(folder) if receipt.countersignature is None)


def answers_of(folder: Path) -> dict[str, Countersignature]:
    """Returns the counter-signatures by the hash of their entry. Raises LedgerError if they cannot be read."""
    path = folder / COUNTERSIGNED
    return read_answers(_bytes_of(path)) if path.exists() else {}


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LedgerError(f"the ledger's file {path} cannot be read: {error.strerror}") from error
