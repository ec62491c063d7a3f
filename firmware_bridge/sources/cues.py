"""Cues: words that a person or the demonstration gives to a replay that waits for them, through a FIFO.

    idlehands ... trace:demo.jsonl?cues=/run/x/cues        the replay makes the FIFO and holds at each cue
    echo driver_returns > /run/x/cues                      or give_cue("/run/x/cues", "driver_returns")

A cue that is given before the trace comes to it is kept.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from firmware_bridge.errors import CueError, SourceError

_LONGEST = 4096


class Cues:
    """The replay's end of the FIFO, which it makes (mode 0600) and removes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._given: list[str] = []
        self._partial = b""
        try:
            if self.path.exists():
                if not stat.S_ISFIFO(self.path.stat().st_mode):
                    raise SourceError(
                        f"{self.path} is there and is no FIFO", next_step="remove it or name another path"
                    )
                self.path.unlink()  # a new one: what an earlier run left inside is not for us
            os.mkfifo(self.path, 0o600)
            # Both ends, so that a writer that closes is no end of file.
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"the cue FIFO {self.path} cannot be made: {error.strerror}") from error

    def take(self, cue: str) -> bool:
        """Returns whether `cue` was given, and forgets that it was. Never blocks."""
        self._read()
        if cue in self._given:
            self._given.remove(cue)
            return True
        return False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 4096)
            except BlockingIOError:
                return
            *lines, self._partial = (self._partial + data).split(b"\n")
            self._partial = self._partial[-_LONGEST:]
            self._given += [word for line in lines if (word := line.decode(errors="replace").strip())]
            del self._given[:-100]


def give_cue(path: str | os.PathLike[str], cue: str) -> None:
    """Gives `cue` to the replay behind the FIFO at `path`. Raises CueError if nobody is there to hear it."""
    if not cue.strip() or "\n" in cue or len(cue) > 100:
        raise ValueError(f"a cue is one short word, got {cue!r}")
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            raise CueError(f"{path} is no FIFO")
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CueError(f"there is no cue FIFO at {path}") from error
    except OSError as error:
        nobody = error.errno == errno.ENXIO
        raise CueError(
            f"nobody waits at {path}" if nobody else f"{path} cannot be written: {error.strerror}"
        ) from error
    try:
        os.write(descriptor, cue.encode() + b"\n")
    except BlockingIOError as error:
        raise CueError(f"the replay behind {path} does not read its cues") from error
    finally:
        os.close(descriptor)
