"""What a car must not forget of the fleet's jobs, one small file each, while it has them and until their ends are told.

    taken ─► FILE (who has it, the job)       ended, and the fleet is away ─► FILE (and how it ended, on the disk)
                                              told ─► no file

A file is replaced whole. A claim's is not synced: after a power cut the lease has run out by itself. An end's is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from runtime.jobs.life import NOTHING, Job, JobEvent, Result, Spent
from runtime.jobs.store import Claim, JobStoreError
from runtime.store.files import replace_file


class GivenBack(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A release that was not told yet; `checkpoint` is encoded, empty for none."""

    reason: str
    checkpoint: bytes
    actions: int
    is_fault: bool
    spent: Spent = NOTHING


class Finished(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A result that was not told yet."""

    result: Result


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """One file: a claim of this car, and how it ended if that is not told yet."""

    version: int
    owner_epoch: int
    job: Job
    events: tuple[JobEvent, ...]
    end: Finished | GivenBack | None = None

    @property
    def claim(self) -> Claim:
        return Claim(self.job.job, self.owner_epoch)


_decoder = msgspec.msgpack.Decoder(Kept)


class Spool:
    """The files of one folder. Raises JobStoreError where the disk does not take them; then the old ones stand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JobStoreError(f"the fleet's spool {folder} cannot be made: {error.strerror}") from error

    def keep(self, kept: Kept) -> None:
        """Writes a claim's file; with an end it is on the disk when this returns."""
        path = self._path(kept.job.job)
        try:
            replace_file(path, msgspec.msgpack.encode(kept), sync=kept.end is not None)
        except OSError as error:
            raise JobStoreError(f"the fleet's spool {path} cannot be written: {error.strerror}") from error

    def drop(self, job: str) -> None:
        """Forgets a claim: its end was told, or it is another's by now."""
        self._path(job).unlink(missing_ok=True)

    def read(self) -> Iterator[Kept]:
        """Yields what is kept; a file that a power cut damaged is set aside: its lease has run out."""
        for path in sorted(self._folder.glob("*.claim")):
            try:
                yield _decoder.decode(path.read_bytes())
            except (msgspec.DecodeError, UnicodeDecodeError):
                path.rename(path.with_suffix(".damaged"))

    def _path(self, job: str) -> Path:
        return self._folder / f"{job}.claim"
