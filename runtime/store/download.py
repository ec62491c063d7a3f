"""Fetches a bundle from a folder, a web server, or another car: only the chunks that are nowhere here, and resumable.

    <file>.ihb.chunks ─► which chunks ─┬─► in an installed version: copied
                                       ├─► in the unfinished download: kept
                                       └─► elsewhere: a range of <file>.ihb, checked by its hash
                                                └─► downloads/<hash>.ihb ─► ModelStore.install checks it all again

Stopped at any point (the car is wanted, the network is gone, the process is killed) it goes on where it stood.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.store.bundle import SUFFIX
from runtime.store.chunks import INDEX_CAP_BYTES, Index, chunks_of, read_index
from runtime.store.errors import BundleError, StoreUnusable
from runtime.store.files import disk_errors
from runtime.store.manifest import BUNDLE_CAP_BYTES
from runtime.store.models import ModelStore

TIMEOUT_S = 20.0
RUN_BYTES = 4 << 20  # neighbouring chunks are fetched together up to this


class Unreachable(StoreUnusable):
    """A bundle's source cannot be reached, or broke off."""

    next_step = "try again: what was fetched is kept, and the download goes on there"


class Stopped(StoreUnusable):
    """A download was told to stop."""

    next_step = "start it again: what was fetched is kept"


@dataclass
class Fetched:
    """What a download cost. `path` is the whole archive, for `ModelStore.install`."""

    path: Path
    total_bytes: int
    fetched_bytes: int
    reused_bytes: int


class Source(Protocol):
    """A place that has files."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Returns at most `size` bytes of a file from `offset`. Raises Unreachable."""


class FolderSource:
    """A folder: a mounted disk, or another car's share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, offset: int, size: int) -> bytes:
        try:
            with open(self._folder / name, "rb") as stream:
                stream.seek(offset)
                return stream.read(size)
        except OSError as error:
            raise Unreachable(f"{self._folder / name} cannot be read: {error.strerror}") from error


class HttpSource:
    """A web server that knows ranges (RFC 9110, section 14). `base` ends without a slash."""

    def __init__(self, base: str) -> None:
        if not base.startswith(("https://", "http://")):
            raise ValueError(f"expected an http(s) address, got {base!r}")
        self._base = base

    def read(self, name: str, offset: int, size: int) -> bytes:
        request = urllib.request.Request(
            f"{self._base}/{name}",
            headers={"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"},
        )
        try:
            with closing(urllib.request.urlopen(request, timeout=TIMEOUT_S)) as answer:
                if answer.status != 206 and offset:
                    raise Unreachable(
                        f"{self._base} does not serve ranges (status {answer.status})", next_step="use another server"
                    )
                return bytes(answer.read(size))
        except urllib.error.HTTPError as error:
            with error:
                raise Unreachable(f"{self._base}/{name}: the server says {error.code}") from error
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self._base}/{name} cannot be fetched: {error}") from error


class Pace:
    """Keeps a download below `bytes_per_s` (0: no limit) on average. Clock and sleep are handed in."""

    def __init__(
        self,
        bytes_per_s: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s, self._clock, self._sleep = bytes_per_s, clock, sleep
        self._began_s, self._count = clock(), 0

    def spent(self, count: int) -> None:
        """Waits until `count` more bytes are within the limit."""
        self._count += count
        if self._bytes_per_s:
            ahead_s = self._count / self._bytes_per_s - (self._clock() - self._began_s)
            if ahead_s > 0:
                self._sleep(ahead_s)


def fetch(
    source: Source,
    name: str,
    store: ModelStore,
    *,
    pace: Pace | None = None,
    limit_bytes: int = BUNDLE_CAP_BYTES,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Fetched:
    """Returns the archive `name` (an .ihb with its .chunks beside it), put together in the store's downloads folder.

    Nothing in it is trusted yet: hand it to `store.install`, then call `discard`. Raises Unreachable, Stopped (when
    `may_go_on` says no), BundleError (an index or a chunk that is wrong, more than `limit_bytes`), StoreUnusable.
    """
    if Path(name).name != name or not name.endswith(SUFFIX):
        raise BundleError(f"'{name}' is no bundle's file: expected a name that ends in {SUFFIX}", next_step="")
    data = _read_whole(source, f"{name}.chunks")
    index = read_index(data, f"{name}.chunks")
    if index.total_bytes > limit_bytes:
        raise BundleError(f"{name} has {index.total_bytes} bytes, at most {limit_bytes} are fetched", next_step="")
    folder = store.root / "downloads"
    part = folder / f"{hashlib.sha256(data).hexdigest()[:32]}{SUFFIX}"
    with disk_errors(part):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(descriptor, index.total_bytes)
            missing = _fill_from_here(descriptor, index, store)
            fetched = _fill(descriptor, index, missing, source, name, pace or Pace(), may_go_on)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return Fetched(part, index.total_bytes, fetched, index.total_bytes - fetched)


def discard(fetched: Fetched) -> None:
    """Removes a download that was installed, or is not wanted. Raises StoreUnusable."""
    with disk_errors(fetched.path):
        fetched.path.unlink(missing_ok=True)


def _read_whole(source: Source, name: str) -> bytes:
    data = b""
    while part := source.read(name, len(data), RUN_BYTES):
        data += part
        if len(data) > INDEX_CAP_BYTES:
            raise BundleError(f"{name} has more than the {INDEX_CAP_BYTES} bytes that are taken")
        if len(part) < RUN_BYTES:
            break
    return data


def _fill_from_here(descriptor: int, index: Index, store: ModelStore) -> list[tuple[int, int]]:
    """Puts in what installed bundles have; returns (number, offset) of the chunks that are neither there nor here."""
    wanted: dict[bytes, list[int]] = {}
    missing = []
    offset = 0
    for number, chunk in enumerate(index.chunks):
        if hashlib.sha256(os.pread(descriptor, chunk.size, offset)).digest() != chunk.sha256:
            wanted.setdefault(chunk.sha256, []).append(offset)
            missing.append((number, offset))
        offset += chunk.size
    for path in _installed_files(store) if wanted else ():
        for begin, chunk in chunks_of(path):
            for at in wanted.pop(chunk.sha256, []):
                with open(path, "rb") as stream:
                    stream.seek(begin)
                    os.pwrite(descriptor, stream.read(chunk.size), at)
    return [(number, at) for number, at in missing if index.chunks[number].sha256 in wanted]


def _installed_files(store: ModelStore) -> Iterator[Path]:
    seen: set[int] = set()
    for path in sorted((store.root / "bundles").rglob("*")):
        status = path.lstat()
        if path.is_file() and not path.is_symlink() and status.st_ino not in seen:
            seen.add(status.st_ino)
            yield path


def _fill(
    descriptor: int,
    index: Index,
    missing: list[tuple[int, int]],
    source: Source,
    name: str,
    pace: Pace,
    may_go_on: Callable[[], bool],
) -> int:
    """Fetches the missing chunks in runs of neighbours; returns the bytes that were fetched."""
    fetched = 0
    for run in _runs(index, missing):
        if not may_go_on():
            raise Stopped(f"the download of {name} was stopped after {fetched} bytes")
        offset, size = run[0][1], sum(index.chunks[number].size for number, _ in run)
        data = source.read(name, offset, size)
        if len(data) != size:
            raise Unreachable(f"{name} broke off: {len(data)} of {size} bytes from {offset} came")
        for number, at in run:
            chunk = index.chunks[number]
            piece = data[at - offset : at - offset + chunk.size]
            if hashlib.sha256(piece).digest() != chunk.sha256:
                raise BundleError(f"{name}: the {chunk.size} bytes from {at} are not what its index says")
            os.pwrite(descriptor, piece, at)
        fetched += size
        pace.spent(size)
    return fetched


def _runs(index: Index, missing: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    run: list[tuple[int, int]] = []
    size = 0
    for number, offset in missing:
        if run and (run[-1][0] + 1 != number or size + index.chunks[number].size > RUN_BYTES):
            yield run
            run, size = [], 0
        run.append((number, offset))
        size += index.chunks[number].size
    if run:
        yield run
