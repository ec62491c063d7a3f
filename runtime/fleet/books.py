"""The fleet's books: every car's receipts, each taken once and in its place in the car's chain, in one SQLite file.

    Parcel (a car's receipts, oldest first) ─► whole? signed by this car's key? the next of its chain? ─► Answer
                                               not for a run that has one?      on the disk, then counter-signed

A car's key is pinned by its first parcel; who may send as which car the server knows (credentials.py). A receipt that
was taken already is counter-signed again: the answer may have been lost. A parcel that leaves a gap, or a fleet that
lost its books, is answered with the number that is wanted, and the car begins there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from runtime.errors import RuntimeFault
from runtime.ledger.entry import START, Entry
from runtime.ledger.receipt import Countersignature, Receipt, ReceiptError, countersign
from runtime.ledger.signing import public_hex

PARCEL_CAP = 64
_FORM = """
CREATE TABLE IF NOT EXISTS cars (name TEXT PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL, last TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (car TEXT NOT NULL, n INTEGER NOT NULL, hash TEXT NOT NULL, job TEXT NOT NULL,
    owner_epoch INTEGER NOT NULL, at_ns INTEGER NOT NULL, line BLOB NOT NULL, PRIMARY KEY (car, n)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS runs ON receipts (job, owner_epoch, car);
"""


class BooksError(RuntimeFault):
    """The fleet's books cannot be opened or written: a full or failing disk, rights, or a damaged file."""

    next_step: ClassVar[str] = "free space or mend the disk; the cars keep what was not answered and send it again"


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a car sends: receipts without a counter-signature, consecutive, oldest first."""

    receipts: Annotated[tuple[Receipt, ...], Meta(min_length=1, max_length=PARCEL_CAP)]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fleet's word for the first receipts of a parcel; `wanted` is the number that it takes next.

    `refused` says why it stopped before the parcel's end; empty if it did not, or if only others are wanted first.
    """

    countersignatures: tuple[Countersignature, ...]
    wanted: int
    refused: str = ""


_parcels = msgspec.json.Decoder(Parcel)


class Books:
    """The books in the file `path`, made if absent; `key` is the fleet's. Raises BooksError.

    Used by one thread at a time.
    """

    def __init__(self, path: Path, key: Ed25519PrivateKey) -> None:
        self.fleet = public_hex(key)
        self._path, self._key = path, key
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_FORM)
        except (OSError, sqlite3.Error) as error:
            raise BooksError(f"the fleet's books {path} cannot be opened: {error}") from error

    def take(self, parcels: Sequence[tuple[str, bytes]], at_ns: int) -> list[Answer]:
        """Takes parcels, each with the car that sent it; returns their answers once all are on the disk.

        Raises BooksError; then none was taken.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                answers = [self._take(car, data, at_ns) for car, data in parcels]
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise BooksError(f"the fleet's books {self._path} cannot be written: {error}") from error
        return answers

    def count(self) -> int:
        """Returns how many receipts were taken."""
        return int(self._db.execute("SELECT count(*) FROM receipts").fetchone()[0])

    def contested(self) -> int:
        """Returns how many runs several cars claim to have made: a job's record says whose the owner_epoch was."""
        runs = "SELECT 1 FROM receipts GROUP BY job, owner_epoch HAVING count(*) > 1"
        return int(self._db.execute(f"SELECT count(*) FROM ({runs})").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    def _take(self, car: str, data: bytes, at_ns: int) -> Answer:
        try:
            parcel = _parcels.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Answer((), 0, f"this is no parcel of receipts: {error}")
        row = self._db.execute("SELECT key, n, last FROM cars WHERE name = ?", (car,)).fetchone()
        key, n, last = row or (parcel.receipts[0].entry.car, 0, START)
        words: list[Countersignature] = []
        refused = ""
        for receipt in parcel.receipts:
            entry = receipt.entry
            try:
                signed = countersign(receipt, self._key, at_ns, car=key).countersignature
            except ReceiptError as error:
                refused = error.message
                break
            if entry.n > n + 1:
                break  # those before it are wanted first
            if entry.n <= n:
                refused = self._differs(car, entry)
            elif entry.previous != last:
                refused = f"receipt {entry.n} does not follow receipt {n} that the fleet has of {car}"
            else:
                refused = self._keep(car, entry, at_ns)
            if refused:
                break
            assert signed is not None
            words.append(signed)
            if entry.n > n:
                n, last = entry.n, entry.hash
        if words:
            self._db.execute("INSERT OR REPLACE INTO cars VALUES (?, ?, ?, ?)", (car, key, n, last))
        return Answer(tuple(words), n + 1, refused)

    def _differs(self, car: str, entry: Entry) -> str:
        row = self._db.execute("SELECT hash FROM receipts WHERE car = ? AND n = ?", (car, entry.n)).fetchone()
        if row is None or row[0] != entry.hash:
            return f"the fleet has another receipt {entry.n} of {car}: its ledger was replaced"
        return ""

    def _keep(self, car: str, entry: Entry, at_ns: int) -> str:
        try:
            self._db.execute(
                "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (car, entry.n, entry.hash, entry.job, entry.owner_epoch, at_ns, entry.line()),
            )
        except sqlite3.IntegrityError:
            return f"job {entry.job!r} under owner {entry.owner_epoch} is in the books already"
        return ""
