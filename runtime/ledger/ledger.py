"""The daemon's end of the ledger: appends one line a run, on the disk before `append` returns.

    state/ledger/
      000001.jsonl  000002.jsonl …   lines of entry.py; a new file every 4 MiB, so that opening reads only the last
      countersigned                  the fleet's answers to receipts, a line each (receipt.py)
      torn-…                         what a crash left behind the last whole line: set aside, never thrown away
      lock

A crash in the middle of an append leaves a piece of a line at the end; opening the ledger sets it aside. A damaged line
with whole ones after it is no crash: it stays where it is, and `verify` (audit.py) tells.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.errors import RuntimeFault
from runtime.ledger.answers import answer_line
from runtime.ledger.chain import BUSY_CORE_W, Chain
from runtime.ledger.entry import START, Entry, Run, read_line
from runtime.ledger.lines import Lines, cut_off, sync_folder
from runtime.ledger.receipt import Receipt, verify_receipt
from runtime.ledger.signing import public_hex

SEGMENT_BYTES = 4 << 20
COUNTERSIGNED = "countersigned"


class LedgerError(RuntimeFault):
    """The ledger cannot be read or written: a full or failing disk, rights, or another daemon holds it."""

    next_step: ClassVar[str] = "free space or mend the disk; what was booked before is untouched"


class Ledger:
    """The ledger in `folder`, held by this process alone. `key` is the car's, `clock` gives UTC in ns.

    `set_aside` names what the last crash left. Raises LedgerError.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: Ed25519PrivateKey,
        *,
        clock: Callable[[], int] = time.time_ns,
        busy_core_W: float = BUSY_CORE_W,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self.car = public_hex(key)
        self.set_aside: list[Path] = []
        self.on_booked: Callable[[Entry], None] | None = None  # told of each entry once it is on the disk
        self._clock, self._segment_bytes = clock, segment_bytes
        self._lock = -1
        self._segment: Lines | None = None
        self._answers: Lines | None = None
        try:
            with _told(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._hold()
                n, previous = self._open_last()
                self._answers = self._open_answers()
        except BaseException:
            self.close()
            raise
        self._chain = Chain(key, n=n, previous=previous, busy_core_W=busy_core_W)

    @property
    def last_hash(self) -> str:
        """The hash of the last entry: who keeps it elsewhere can show that none after it was cut off."""
        return self._chain.previous

    def append(self, run: Run) -> Entry:
        """Books a run. Returns the entry, which is its receipt, once it is on the disk.

        Raises LedgerError; then nothing is booked, and a later append goes on where this one began. Raises ValueError
        for what no run can use.
        """
        entry = self._chain.entry(run, self._clock())
        with _told(self.folder):
            self._current_segment().append(entry.line())
        self._chain.take(entry)
        if self.on_booked is not None:
            self.on_booked(entry)
        return entry

    def keep(self, *receipts: Receipt, fleet: Collection[str] | None = None) -> None:
        """Keeps the fleet's counter-signatures of this ledger's entries; returns once all are on the disk.

        `fleet` are the keys of which one must have signed. Raises ReceiptError for what the fleet did not sign, or not
        for this car, and LedgerError.
        """
        for receipt in receipts:
            verify_receipt(receipt, car=self.car, fleet=fleet if fleet is not None else _whoever_signed(receipt))
        assert self._answers is not None
        with _told(self.folder):
            self._answers.append(b"".join(answer_line(receipt) for receipt in receipts))

    def close(self) -> None:
        """Lets the ledger go. May be called again."""
        for lines in (self._segment, self._answers):
            if lines is not None:
                lines.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _hold(self) -> None:
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LedgerError(
                f"the ledger {self.folder} is held by another process", next_step="stop the other daemon first"
            ) from error

    def _open_last(self) -> tuple[int, str]:
        """Finds the end of the chain, the last whole line of the last segment that has one: its number and hash."""
        paths = segments(self.folder)
        found: tuple[int, str] = 0, START
        for path in reversed(paths):
            data = path.read_bytes()
            last, end = _last_whole(data)
            if end < len(data):
                self._put_aside(path, data[end:], end)
            if last is not None:
                found = last.n, last.hash
            if last is not None or path == paths[0]:
                break
        self._segment = Lines(paths[-1] if paths else self.folder / _segment_name(1))
        return found

    def _open_answers(self) -> Lines:
        """Opens the file of counter-signatures. A torn last line is no loss: the fleet answers again when asked."""
        path = self.folder / COUNTERSIGNED
        data = path.read_bytes() if path.exists() else b""
        end = data.rfind(b"\n") + 1
        if end < len(data):
            cut_off(path, end)
        return Lines(path)

    def _put_aside(self, path: Path, torn: bytes, at: int) -> None:
        """Copies what is behind the last whole line to a file of its own, then cuts it off."""
        aside = self.folder / f"torn-{path.stem}-{at}-{self._clock()}"
        with open(aside, "xb") as out:
            out.write(torn)
            out.flush()
            os.fsync(out.fileno())
        sync_folder(self.folder)
        cut_off(path, at)
        self.set_aside.append(aside)

    def _current_segment(self) -> Lines:
        """Returns the segment that the next line goes to: a new one when the last is full."""
        assert self._segment is not None
        if self._segment.size_bytes >= self._segment_bytes:
            self._segment.mend()
            full, number = self._segment, int(self._segment.path.stem) + 1
            self._segment = Lines(self.folder / _segment_name(number))
            full.close()
        return self._segment


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


def _whoever_signed(receipt: Receipt) -> Collection[str]:
    """A counter-signature must be there; whose, only a car that knows its fleet's keys can ask."""
    return () if receipt.countersignature is None else (receipt.countersignature.fleet,)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"the ledger {folder} cannot be written: {error.strerror or error}") from error
