"""A second pair of eyes on a display, for who waits until it shows something else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from runtime.desktop.x11.capture import Capture
from runtime.desktop.x11.connection import Connection

POLL_S = 0.002
REST_S = 0.05  # three frames of a browser


class Looking:
    """Sees a display as a connector does. See `looking_at`."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def seen(self) -> bytes:
        """Returns what tells one picture of the screen from another."""
        return self._capture.capture(0).hashes.tobytes()

    async def at_rest(self, most_s: float) -> bytes:
        """Waits until nothing changes any more, at most `most_s`; returns what is seen then."""
        began_s = since_s = time.monotonic()
        last = self.seen()
        while (now_s := time.monotonic()) - since_s < REST_S and now_s - began_s < most_s:
            await asyncio.sleep(POLL_S)
            if (seen := self.seen()) != last:
                last, since_s = seen, now_s
        return last

    async def changed(self, before: bytes, most_s: float) -> None:
        """Waits until the screen is not as it was, at most `most_s`."""
        until_s = time.monotonic() + most_s
        while self.seen() == before and time.monotonic() < until_s:
            await asyncio.sleep(POLL_S)


@contextlib.contextmanager
def looking_at(display: str) -> Iterator[Looking]:
    """Opens the eyes and closes them again. Raises what Connection does."""
    connection = Connection(display)
    try:
        capture = Capture(connection, bytes(16))
        try:
            yield Looking(capture)
        finally:
            capture.close()
    finally:
        connection.close()
