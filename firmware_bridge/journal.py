"""The journal of verdicts: JSON lines, bounded, written by a thread of its own so that a slow disk delays no closing.

    journal.jsonl      the present one; at its size limit it becomes
    journal.jsonl.1    the one before, which is then overwritten

A line is one write, synced; a torn last line (power cut) is skipped by the reader. A full disk loses records, counts
them and stops nothing.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firmware_bridge.errors import JournalError

# A record is written at least so often: where the last one is much older, no bridge ran.
SNAPSHOT_NS = 60_000_000_000
_WAITING_LIMIT = 1000


class Journal:
    """The writer. `lost` counts records that could not be kept."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.lost = 0
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, record: dict[str, Any]) -> None:
        """Hands a record over; never blocks. Beyond a thousand waiting it is counted as lost."""
        if self._waiting.qsize() >= _WAITING_LIMIT:
            self.lost += 1
        else:
            self._waiting.put(record)

    def close(self, timeout_s: float = 2.0) -> None:
        """Writes what waits and ends the thread; a disk that hangs is left alone after `timeout_s`."""
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                self._write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            except OSError as error:
                self.lost += 1
                self.last_error = str(error)

    def _write(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last one was cut off: it must not swallow this one
            written = os.write(descriptor, line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if size + len(line) > self._limit_bytes:
            os.replace(self._path, self._path.with_name(self._path.name + ".1"))


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the records, oldest first; damaged lines are skipped. Raises JournalError if it is absent."""
    found = [each for each in (path.with_name(path.name + ".1"), path) if each.exists()]
    if not found:
        raise JournalError(f"there is no journal at {path}", next_step="start the bridge, or name its state folder")
    for each in found:
        try:
            with open(each, encoding="utf-8", errors="replace") as file:
                for line in file:
                    record = _parsed(line)
                    if record is not None:
                        yield record
        except OSError as error:
            raise JournalError(f"the journal {each} cannot be read: {error.strerror}") from error


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("wall_s"), int | float) else None
