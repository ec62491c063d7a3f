"""A person wins: when the agent must keep its hands off, as a machine without I/O or a clock.

            person's input                        quiet for quiet_s, or the resume hotkey
┌───────┐ ─────────────────────► ┌────────────┐ ───────────────────────────────────────► ┌───────┐
│ agent │                        │   person   │                                          │ agent │
└───┬───┘ ◄───────────────────── └─────┬──────┘                                          └───────┘
    │ stop hotkey                      │ stop hotkey
    └──────────► ┌─────────┐ ◄─────────┘
                 │ stopped │  no session at all, until the resume hotkey or stop_s have passed
                 └─────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

S = 1_000_000_000


class Holder(Enum):
    """Whose hands are on the desktop."""

    agent = "agent"
    person = "person"
    stopped = "stopped"


class Signal(Enum):
    """What a person did."""

    input = "input"
    resume = "resume"
    stop = "stop"
    approve = "approve"


class People(Protocol):
    """Where signals come from, and where people see who holds the desktop. x11/person.py is one."""

    def fileno(self) -> int:
        """Returns a descriptor that is readable when `drain` has something to do."""

    def drain(self) -> list[Signal]:
        """Returns what people have done since the last call."""

    def show(self, holder: Holder) -> None:
        """Shows whose hands are on the desktop."""


@dataclass(frozen=True, slots=True)
class TakeoverRules:
    """How a person takes the desktop and gives it back. An empty hotkey is none."""

    quiet_s: float = 3.0
    resume_hotkey: str = "ctrl+alt+enter"
    stop_hotkey: str = "ctrl+alt+escape"
    stop_s: float = 600.0
    approve_hotkey: str = "ctrl+alt+y"


class Takeover:
    """Follows `Signal`s; `holder` says who may act. Times are ns of any clock that does not go back."""

    def __init__(self, rules: TakeoverRules) -> None:
        self.rules = rules
        self.holder = Holder.agent
        self._until_ns = 0

    @property
    def deadline_ns(self) -> int | None:
        """When `tick` has something to do, None if only a person can change anything."""
        return None if self.holder is Holder.agent else self._until_ns

    def hear(self, signal: Signal, now_ns: int) -> bool:
        """Takes in what a person did. Returns whether the holder changed."""
        before = self.holder
        if signal is Signal.stop:
            self.holder, self._until_ns = Holder.stopped, now_ns + int(self.rules.stop_s * S)
        elif signal is Signal.resume:
            self.holder = Holder.agent
        elif self.holder is not Holder.stopped:  # an approval too is a hand on the keyboard
            self.holder, self._until_ns = Holder.person, now_ns + int(self.rules.quiet_s * S)
        return self.holder is not before

    def tick(self, now_ns: int) -> bool:
        """Lets time pass. Returns whether the desktop went back to the agent."""
        if self.holder is Holder.agent or now_ns < self._until_ns:
            return False
        self.holder = Holder.agent
        return True
