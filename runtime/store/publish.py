"""Puts a bundle where others fetch it from: the archive, and beside it the index of its chunks (download.py).

nav-1.2.0.ihb   nav-1.2.0.ihb.chunks        in a folder, behind any web server that knows ranges, or shared by a car
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.store.bundle import SUFFIX, check_head, copy_archive, open_source
from runtime.store.chunks import write_index
from runtime.store.files import disk_errors, write_atomically
from runtime.store.keys import TrustedKeys

INDEX_SUFFIX = ".chunks"


@dataclass(frozen=True)
class Published:
    """Where it lies now."""

    path: Path
    total_bytes: int
    chunks_bytes: int


def publish(bundle: Path, folder: Path, trusted: TrustedKeys) -> Published:
    """Writes a signed bundle (folder or .ihb) as NAME-VERSION.ihb with its index into `folder`, every byte checked.

    The index is there before the archive, so that nobody finds one without the other. Raises UntrustedBundle,
    BundleError, StoreUnusable.
    """
    with open_source(bundle) as source:
        manifest = check_head(*source.head(), trusted, str(bundle))
    path = folder / f"{manifest.name}-{manifest.version}{SUFFIX}"
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}")
        try:
            copy_archive(bundle, aside)
            index = write_index(aside)
            write_atomically(path.with_name(path.name + INDEX_SUFFIX), index)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    return Published(path, path.stat().st_size, len(index))
