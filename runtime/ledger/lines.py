"""A file that lines are only ever added to: each is on the disk before `append` returns, or of no account.

`size_bytes` is where the last whole line ends. A write that failed half-way leaves bytes behind that place; they are
cut off before the next line is written, and at the next opening if there is none.
"""

from __future__ import annotations

import os
from pathlib import Path


class Lines:
    """The file `path`, made if it is absent. Every call raises OSError where the disk does not take it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._is_dirty = False
        try:
            self.size_bytes = os.fstat(self._descriptor).st_size
            sync_folder(path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, line: bytes) -> None:
        """Puts `line` at the end; returns once it is on the disk."""
        self.mend()
        self._is_dirty = True  # until the line is on the disk, what is behind `size_bytes` is of no account
        at, rest = self.size_bytes, memoryview(line)
        while rest:
            written = os.pwrite(self._descriptor, rest, at)
            at, rest = at + written, rest[written:]
        os.fsync(self._descriptor)
        self._is_dirty = False
        self.size_bytes = at

    def mend(self) -> None:
        """Cuts off what an append left that failed."""
        if self._is_dirty:
            os.ftruncate(self._descriptor, self.size_bytes)
            os.fsync(self._descriptor)
            self._is_dirty = False

    def close(self) -> None:
        """Lets the file go. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def sync_folder(folder: Path) -> None:
    """Makes names in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cut_off(path: Path, at: int) -> None:
    """Shortens the file `path` to `at` bytes, on the disk."""
    with open(path, "r+b") as file:
        file.truncate(at)
        os.fsync(file.fileno())
