"""Small files that are replaced whole: a reader sees the old one or the new one, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes, *, is_durable: bool, mode: int = 0o644) -> None:
    """Writes `data` as `path` by a rename; durable: fsync of file and folder first. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if is_durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    if is_durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
