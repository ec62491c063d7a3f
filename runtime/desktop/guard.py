"""What stands beside the connector and lets go of everything when it cannot: see watchdog.py for the real one."""

from __future__ import annotations

from typing import Protocol


class Guard(Protocol):
    """What is told of sessions beside the connector: the watchdog process, or nothing (a desktop in memory)."""

    def session_opened(self) -> None:
        """A session begins: something may be pressed from now on."""

    def session_closed(self) -> None:
        """Nothing is pressed any more."""

    def beat(self) -> None:
        """The connector's loop runs."""


class NoGuard:
    """Guards nothing."""

    def session_opened(self) -> None:
        """Nothing to do."""

    def session_closed(self) -> None:
        """Nothing to do."""

    def beat(self) -> None:
        """Nothing to do."""
