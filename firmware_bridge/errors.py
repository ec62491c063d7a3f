"""Errors of the bridge: settings, sources, policy. See kernels/errors.py for the tree.

BridgeError
├── SettingsError    a TOML file: unknown key, wrong type, out of range
├── SourceError      a signal source: unknown scheme, cannot be opened
│   └── TraceError   a recorded trace: wrong version, unsorted times, unknown signal
├── CueError         a cue cannot be given to a replay
├── JournalError     the journal of verdicts cannot be read
├── ConsentError     the owner's consent (in consent.py: it alone needs cryptography)
└── StateError       the bridge's own stored state cannot be read or kept
"""

from __future__ import annotations

from typing import ClassVar

from kernels.errors import IdlehandsError


class BridgeError(IdlehandsError):
    """The bridge cannot start, or a file handed to it is not what it must be."""


class SettingsError(BridgeError):
    """A settings file has a key that does not exist, a value of another type, or one outside its range."""

    next_step: ClassVar[str] = "correct the file; nothing was changed"


class SourceError(BridgeError):
    """A signal source cannot be opened, or its URL is not understood."""


class TraceError(SourceError):
    """A recorded trace is not one, is of another version, or its lines contradict its format."""

    next_step: ClassVar[str] = "correct or record the trace again; nothing was changed"


class CueError(BridgeError):
    """Nobody waits for the cue: the replay is not running, or has another cue file."""

    next_step: ClassVar[str] = "start the bridge with a source such as `trace:FILE?cues=PATH` and give the same PATH"


class JournalError(BridgeError):
    """The journal of verdicts is absent or has no record of that moment."""


class StateError(BridgeError):
    """A file of the bridge's state folder is damaged or cannot be kept: without it the gate stays closed."""
