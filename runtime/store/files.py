"""Files that are whole or absent: written aside, synced, renamed, and the folder synced. And one lock for writers."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.store.errors import StoreUnusable

COPY_BYTES = 1 << 20


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Puts `data` at `path`: a reader sees the old file or the new one, whenever this is killed.

    Raises StoreUnusable; then the old file is untouched.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    with disk_errors(path):
        try:
            write_new(aside, data, mode)
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise
        sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, sync: bool) -> None:
    """As `write_atomically`, for a folder with one writer, mode 0600. Without `sync` it outlives a kill alone.

    Raises OSError; then the old file is untouched.
    """
    aside = path.with_name(f".{path.name}.new")  # one name, so that a kill leaves one at most
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(aside, path)
    if sync:
        sync_folder(path.parent)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that must not exist, and syncs it. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        write_all(descriptor, data)
        os.fchmod(descriptor, mode)  # whatever the umask says
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Writes all of `data`: a write may take less than it was given. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Makes names in `folder` outlive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Turns OSError into StoreUnusable: what, where, and what the system said."""
    try:
        yield
    except OSError as error:
        raise StoreUnusable(f"{what} cannot be written: {error.strerror or error}") from error


@contextmanager
def sole_writer(lock: Path) -> Iterator[None]:
    """Holds the lock file `lock`. Raises StoreUnusable at once if another process holds it: nobody waits unseen."""
    with disk_errors(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreUnusable(
            f"{lock.parent} is being changed by another process", next_step="wait for it, then try again"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
