"""What cars left here for the next owner of their job: one file a job, replaced before the action it is sent with.

    Keep ─► kept/HASH, whole or as it was        next hello of the job ─► Kept        the job is over ─► no file

It outlives the connector, not a power failure: then the store's older checkpoint counts. Above CAP files the oldest go.
"""

from __future__ import annotations

from pathlib import Path

from runtime.desktop.journal import job_hash
from runtime.store.files import replace_file

CAP = 256


class KeptStates:
    """The files of one folder, made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "kept"

    def put(self, job: str, data: bytes) -> None:
        """Keeps `data`, whole, also if this process is killed now. Raises OSError; then what was kept stands."""
        path = self._path(job)
        if not path.exists():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._make_room()
        replace_file(path, data, sync=False)

    def get(self, job: str) -> bytes:
        """Returns what was kept of a job, empty if nothing."""
        try:
            return self._path(job).read_bytes()
        except OSError:
            return b""

    def drop(self, job: str) -> None:
        self._path(job).unlink(missing_ok=True)

    def _path(self, job: str) -> Path:
        return self._folder / job_hash(job).hex()

    def _make_room(self) -> None:
        by_age = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in by_age[: max(0, len(by_age) - CAP + 1)]:
            path.unlink(missing_ok=True)
