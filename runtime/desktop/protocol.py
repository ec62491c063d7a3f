"""What every desktop can do: be looked at, be worked, be let go of. One contract-test suite runs over all of them.

memory.py   a desktop in memory          x11/desktop.py   an X server          rfb/desktop.py   a VNC server
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from runtime.desktop.frame import Frame
from runtime.wire.actions import Action, Precondition
from runtime.wire.tables import Outcome, Refusal


@dataclass(frozen=True, slots=True)
class Step:
    """Names one action to the desktop: the journal's own number, a 64-bit hash of the job, the job's seq."""

    journal: int
    job: int
    seq: int


class Phase(IntEnum):
    """How far an action came: the desktop has its first event, or its last."""

    BEGUN = 1
    ENDED = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """What a desktop itself remembers of the last action; it outlives the connector that applied it."""

    step: Step
    phase: Phase


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an action, and why it was refused; `applied_ns` (CLOCK_BOOTTIME) is when that was certain.

    `grabbed_us` is how long the whole desktop was held to check the precondition and inject (0: not held); `window_us`,
    on a desktop that cannot be held, how old the checked pixels were when the action went out.
    """

    outcome: Outcome
    reason: Refusal
    applied_ns: int
    grabbed_us: int = 0
    window_us: int = 0


class Desktop(Protocol):
    """A desktop. Raises DesktopLost from any method once it is gone.

    Looking (`fileno`, `drain`, `capture`) and working (`apply`) may be called from two threads at the same time;
    `release_all` may be called from any thread at any time, also during an `apply`.
    """

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def rekey(self, key: bytes) -> None:
        """Makes `key` (16 bytes) the key of every tile and region hash from now on."""

    def fileno(self) -> int:
        """Returns a descriptor that is readable when the screen may have changed."""

    def drain(self) -> int:
        """Takes in what is known, without waiting. Returns how many tiles may have changed since `capture`."""

    def capture(self, since: int) -> Frame:
        """Returns the screen as it is now; `changed` tells the tiles that differ from the frame `since` (0: all)."""

    def apply(self, action: Action, precondition: Precondition | None, step: Step) -> Applied:
        """Applies `action` at most once, unless the pixels of `precondition` have changed.

        Move, Click, Drag, Scroll, Type, Key, Hold and Release are inputs; TypeError for anything else.
        """

    def is_quick(self, action: Action, precondition: Precondition | None) -> bool:
        """Returns whether `apply` takes no longer than a few milliseconds, so that an event loop may wait for it."""

    def last_mark(self) -> Mark | None:
        """Returns how far the last action came that any connector applied here, or None if the desktop cannot tell."""

    def sign_on(self, journal: int) -> None:
        """Leaves the mark of `journal` on a desktop that has none of it, so that its absence later says something."""

    def pressed(self) -> frozenset[str]:
        """Returns the names of what is held down by us."""

    def release_all(self) -> None:
        """Lets go of every key and button that we hold, and stops an action that is under way."""

    def rest(self) -> bool:
        """Puts back what working has changed (lent keycodes), without waiting: False if it is too early for that.

        Called when a session has ended, again and again until it returns True or the next session begins.
        """

    def close(self) -> None:
        """Lets go of the desktop. A second call does nothing."""
