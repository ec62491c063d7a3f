"""The gate word in Python: what a reading says, the reader's mapping, the token that kernels poll.

    GateWriter ──► /run/idlehands/gate ──► GateReader ──► GateToken ──► `const ih_gate *` in every kernel
    (writer.py)    64 bytes, one writer    read-only      an epoch      polled at least once per 50 µs of work

The layout, the states, the reasons and the rule of *open* are those of kernels/common/gate_word.h, read from it here.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

from kernels.common.native import not_built
from kernels.errors import KernelError

try:
    from kernels.gate import _gate
except ImportError as error:  # pragma: no cover - only without a build
    raise not_built("kernels.gate._gate", error) from error

LEASE_MAX_NS = _gate.LEASE_MAX_NS
POLL_NS = _gate.POLL_NS


class State(IntEnum):
    """Work may run in OPEN only; the others say how far it is from there."""

    CLOSED = _gate.STATES["CLOSED"]
    WARMING = _gate.STATES["WARMING"]
    OPEN = _gate.STATES["OPEN"]
    DRAINING = _gate.STATES["DRAINING"]
    FAULTED = _gate.STATES["FAULTED"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the gate is not open. An urgent reason means that the car is wanted: the worker is ended, not paused."""

    name: str
    bit: int
    urgent: bool


REASONS: dict[str, Reason] = {name: Reason(name, bit, urgent) for bit, name, urgent in _gate.REASONS}
_BY_BIT: dict[int, str] = {reason.bit: reason.name for reason in REASONS.values()}


class GateWordError(KernelError):
    """The gate word's file is absent, is not one, is held by another writer, or was written by another version."""

    next_step: ClassVar[str] = "start the bridge (`idlehands bridge`) and name its gate word's file"


class GateClosed(Exception):
    """The gate closed while a kernel worked; nothing was kept, call it again when the gate is open."""


@dataclass(frozen=True, slots=True)
class GateReading:
    """One consistent reading of the gate word.

    `reasons` are names of `REASONS` in bit order (empty while open); a bit that this build does not know is
    `unknown_<bit>`. `duty_permille` is the share of each 100 ms window that may be worked, `power_budget_mW` 0 is
    not limited. A word whose writer was stopped in the middle of writing reads as FAULTED with the reason `fault`.
    """

    state: State
    reasons: tuple[str, ...]
    gate_epoch: int
    lease_until_ns: int
    duty_permille: int
    max_threads: int
    power_budget_mW: int
    boot_matches: bool

    def is_open(self, now_ns: int) -> bool:
        """Returns whether work may run at `now_ns` (CLOCK_BOOTTIME); the epoch is for the caller to compare."""
        return self.state is State.OPEN and self.boot_matches and 0 < self.lease_until_ns - now_ns <= LEASE_MAX_NS


def boottime_ns() -> int:
    """Returns CLOCK_BOOTTIME in ns: the clock of leases and of every time that crosses processes. Runs in suspend."""
    return _gate.boottime_ns()


def reason_bits(names: Iterable[str]) -> int:
    """Returns the bits of `names`. Raises ValueError for a name that the table does not have."""
    bits = 0
    for name in names:
        if name not in REASONS:
            raise ValueError(f"no gate reason is called {name!r}; the table has: {', '.join(REASONS)}")
        bits |= 1 << REASONS[name].bit
    return bits


def reason_names(bits: int) -> tuple[str, ...]:
    """Returns the names of the set bits, lowest first."""
    return tuple(_BY_BIT.get(bit, f"unknown_{bit}") for bit in range(64) if bits >> bit & 1)


def decode(word: _gate.Word, path: Path) -> GateReading:
    """Reads `word` once. Raises GateWordError if it is not a gate word of this version (`path` is for the message)."""
    consistent, magic, version, threads, state, duty, reasons, epoch, lease, boot, power = word.read()
    if magic != _gate.MAGIC:
        raise GateWordError(f"{path} is not a gate word: it begins with {magic:#010x}, expected {_gate.MAGIC:#010x}")
    if version != _gate.VERSION:
        raise GateWordError(
            f"{path} has gate word version {version}, this build reads version {_gate.VERSION}",
            next_step="run the bridge and the daemon of one build",
        )
    if not consistent or state not in State.__members__.values():
        state, reasons = State.FAULTED, reasons | reason_bits(["fault"])
    matches = boot != 0 and boot == _gate.boot_id_hash()
    return GateReading(State(state), reason_names(reasons), epoch, lease, duty, threads, power, matches)


class GateToken:
    """What one caller started with: the word and an epoch. Kernels take `address`, a `const ih_gate *`.

    The pointer is good while the token lives (it keeps the mapping); keep it referenced over the call.
    """

    __slots__ = ("_token",)

    def __init__(self, word: _gate.Word, gate_epoch: int, until_ns: int = 0) -> None:
        self._token = _gate.Token(word, gate_epoch, until_ns)

    def until(self, until_ns: int) -> GateToken:
        """Returns a token that also says *closed* from `until_ns` (CLOCK_BOOTTIME) on: what keeps to the duty."""
        return GateToken(self._token.word, self._token.gate_epoch, until_ns)

    @property
    def address(self) -> int:
        """Address of the `struct ih_gate` (kernels/common/gate_word.h)."""
        return self._token.address

    @property
    def gate_epoch(self) -> int:
        """The epoch that the caller started with."""
        return self._token.gate_epoch

    def is_open(self) -> bool:
        """Returns whether the caller may go on: open now, and not closed once since its epoch began."""
        return self._token.is_open()


class GateReader:
    """A read-only mapping of the gate word; it goes on showing the word over restarts of the bridge.

    Raises GateWordError if `path` is absent, a link, not 64 bytes, or not a gate word of this version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._word = _gate.Word(_map(self.path))
        decode(self._word, self.path)

    def read(self) -> GateReading:
        """Returns the word as it is now. Raises GateWordError if another version took the file over."""
        return decode(self._word, self.path)

    def is_open(self, gate_epoch: int) -> bool:
        """Returns whether work that started in `gate_epoch` may go on (the full rule; about 0.3 µs)."""
        return _gate.Token(self._word, gate_epoch).is_open()

    def token(self, gate_epoch: int) -> GateToken:
        """Returns the token for work that starts in `gate_epoch` (take it from a reading that was open)."""
        return GateToken(self._word, gate_epoch)


def _map(path: Path) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise GateWordError(f"there is no gate word at {path}") from error
    except OSError as error:
        raise GateWordError(f"the gate word {path} cannot be opened: {error.strerror}") from error
    try:
        size = os.fstat(descriptor).st_size
        if size != _gate.SIZE:
            raise GateWordError(f"{path} has {size} bytes, a gate word has {_gate.SIZE}")
        return mmap.mmap(descriptor, _gate.SIZE, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
