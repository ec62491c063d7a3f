"""gate_epoch over restarts: a stored ceiling, so that a closing never waits for a disk.

The file says that every epoch below its ceiling may have been published. A start takes the ceiling as its first epoch
and stores a higher one before anything can open; near the ceiling it is raised again, and while that fails the gate
may not open.
"""

from __future__ import annotations

import json
from pathlib import Path

from firmware_bridge import files
from firmware_bridge.errors import StateError

BLOCK = 10_000
_NEXT_STEP = (
    'if the file is damaged, replace it by {path} = {{"ceiling": N}} with an N above every gate_epoch in the journal'
)


class Epochs:
    """Holds the ceiling. Raises StateError when the stored one is damaged: guessing could let the epoch fall."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.first = _read(path)
        self.ceiling = self.first
        try:
            self.raise_ceiling(self.first)
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error.strerror}") from error

    def is_near(self, epoch: int) -> bool:
        """Returns whether the ceiling should be raised now."""
        return epoch >= self.ceiling - BLOCK // 2

    def allows(self, epoch: int) -> bool:
        """Returns whether the gate may open in `epoch`: the closing after it still has a stored number."""
        return epoch + 1 < self.ceiling

    def raise_ceiling(self, epoch: int) -> None:
        """Stores a ceiling above `epoch`. Raises OSError; the old one is then in force."""
        ceiling = max(epoch, self.ceiling) + BLOCK
        files.replace(self._path, json.dumps({"ceiling": ceiling}).encode(), is_durable=True)
        self.ceiling = ceiling


def _read(path: Path) -> int:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    try:
        ceiling = json.loads(text)["ceiling"]
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise StateError(f"{path} is damaged: {text[:60]!r}", next_step=_NEXT_STEP.format(path=path)) from error
    if isinstance(ceiling, bool) or not isinstance(ceiling, int) or not 0 <= ceiling < 2**62:
        raise StateError(f"{path} has the impossible ceiling {ceiling!r}", next_step=_NEXT_STEP.format(path=path))
    return ceiling
