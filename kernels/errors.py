"""The root of every error that a user can meet, on the lowest floor so that all three packages stand on it.

    IdlehandsError
    ├── KernelError                     kernels/: native halls, the gate word
    ├── BridgeError                     firmware_bridge/: settings, sources, policy (its own errors.py)
    └── RuntimeFault                    runtime/: daemon, desktop, bundles, jobs  (its own errors.py)

A class's docstring is its cause and `next_step` what the reader can do: the error catalogue is generated from both.
"""

from __future__ import annotations

from typing import ClassVar


class IdlehandsError(Exception):
    """Something that the user, not the programmer, must act on. The command line prints it on one line and exits 2.

    `message` says what, where, expected and got; `next_step` (the class's, unless a better one is given) what to do.
    """

    next_step: ClassVar[str] = ""

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = self.next_step if next_step is None else next_step

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message


class KernelError(IdlehandsError):
    """A native hall refused its input, or is not built."""
