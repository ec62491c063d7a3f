"""The one writer of the gate word: creates the file, holds it, and sees to it that gate_epoch only grows.

open ──► anything else            gate_epoch + 1
open, own lease ran out ──► open  gate_epoch + 1, and *warming* instead (the writer was stopped meanwhile)
a new writer                      gate_epoch + 1 over the highest known, *closed* because `starting`
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from kernels.gate import _gate
from kernels.gate.word import LEASE_MAX_NS, GateReading, GateWordError, State, boottime_ns, decode, reason_bits

# Beyond this an epoch is damage, not a count: at a thousand closings a second it is 292 million years away.
EPOCH_MAX = 2**63 - 1


class GateWriter:
    """Holds the gate word at `path` as its only writer; the file stays after it, as readers keep their mappings.

    The file is created with its 64 bytes if absent (mode 0644) and otherwise written in place. `minimum_epoch` is the
    highest gate_epoch that the bridge has stored: /run is empty after a reboot, and the epoch must not fall. The word
    is *closed* (reason `starting`) from the moment that this returns until the first `publish`.

    Raises GateWordError if another writer holds the file, or if it is a link, writable by others, or no gate word.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, minimum_epoch: int = 0, clock: Callable[[], int] = boottime_ns
    ) -> None:
        self.path = Path(path)
        self._clock = clock
        if not 0 <= minimum_epoch < EPOCH_MAX:
            raise ValueError(f"minimum_epoch must be in 0..{EPOCH_MAX - 1}, got {minimum_epoch}")
        self._descriptor = _hold(self.path)
        try:
            self._word = _gate.Word(mmap.mmap(self._descriptor, _gate.SIZE), writable=True)
            is_new = self._word.read()[1] == 0
            previous_epoch = 0 if is_new else decode(self._word, self.path).gate_epoch
            if previous_epoch >= EPOCH_MAX:
                raise GateWordError(f"{self.path} has the impossible gate_epoch {previous_epoch}", next_step=_REMOVE)
        except BaseException:
            _let_go(self._descriptor)
            raise
        self._last = self._write(State.CLOSED, ["starting"], max(previous_epoch, minimum_epoch) + 1, 0, 0, 0, 0)

    @property
    def gate_epoch(self) -> int:
        """The epoch that is published now; the bridge stores it as its next `minimum_epoch`."""
        return self._last.gate_epoch

    def publish(
        self,
        state: State,
        reasons: Iterable[str],
        lease_until_ns: int,
        *,
        duty_permille: int = 1000,
        max_threads: int | None = None,
        power_budget_mW: int = 0,
    ) -> GateReading:
        """Publishes one decision and returns what readers see now, which may be less than asked for:

        if this writer's own lease ran out while it said *open* (it was stopped, or the machine slept), OPEN becomes
        WARMING with the reason `bridge_was_stopped`, and the caller's dwell starts anew.

        `lease_until_ns` (CLOCK_BOOTTIME) is the time of the oldest safety input evaluated plus the lease;
        `max_threads` None is every CPU. Raises ValueError for an unknown reason, OPEN with a reason, any other state
        without one, or a number out of its range.
        """
        names = list(reasons)
        threads = os.cpu_count() or 1 if max_threads is None else max_threads
        now_ns = self._clock()
        _check(state, names, lease_until_ns, now_ns, duty_permille, threads, power_budget_mW)
        was_open = self._last.state is State.OPEN
        was_stopped = was_open and self._last.lease_until_ns <= now_ns
        if state is State.OPEN and was_stopped:
            state, names = State.WARMING, ["bridge_was_stopped"]
        epoch = self._last.gate_epoch + (was_open and state is not State.OPEN)
        self._last = self._write(state, names, epoch, lease_until_ns, duty_permille, threads, power_budget_mW)
        return self._last

    def close(self) -> None:
        """Publishes *closed* (reason `starting`: no bridge is there) and lets the file go. May be called again."""
        if self._descriptor >= 0:
            self.publish(State.CLOSED, ["starting"], 0)
            _let_go(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> GateWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(
        self, state: State, reasons: Iterable[str], epoch: int, lease_ns: int, duty: int, threads: int, power_mW: int
    ) -> GateReading:
        if self._descriptor < 0:
            raise ValueError(f"the writer of {self.path} is closed")
        self._word.write(
            state=state,
            reasons=reason_bits(reasons),
            gate_epoch=epoch,
            lease_until_ns=lease_ns,
            duty_permille=duty,
            max_threads=threads,
            power_budget_mW=power_mW,
            boot_id_hash=_gate.boot_id_hash(),
        )
        return decode(self._word, self.path)


_REMOVE = "if no bridge runs, remove the file, start the bridge, then restart the daemon"


def _check(
    state: State, reasons: list[str], lease_ns: int, now_ns: int, duty: int, threads: int, power_mW: int
) -> None:
    if (state is State.OPEN) == bool(reasons):
        raise ValueError(f"{state.name} with the reasons {reasons}: OPEN has none, every other state has at least one")
    if not 0 <= lease_ns <= now_ns + LEASE_MAX_NS:
        raise ValueError(f"lease_until_ns is {lease_ns}, now is {now_ns}: a lease lasts at most {LEASE_MAX_NS} ns")
    for name, value, limit in (
        ("duty_permille", duty, 1000),
        ("max_threads", threads, 0xFFFF),
        ("power_budget_mW", power_mW, 0xFFFFFFFF),
    ):
        if not 0 <= value <= limit:
            raise ValueError(f"{name} must be in 0..{limit}, got {value}")


def _let_go(descriptor: int) -> None:
    """Unlocks in so many words: the mapping holds a duplicate of the descriptor, and with it the lock."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _hold(path: Path) -> int:
    """Returns a descriptor of the 64-byte file at `path`, locked; creates it if absent."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            descriptor = os.open(path, flags)
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise GateWordError(f"the gate word {path} cannot be written: {why}", next_step=_REMOVE) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022:
            mode = stat.filemode(status.st_mode)
            raise GateWordError(f"{path} must be a plain file that only its owner writes, it is {mode}")
        if status.st_size == 0:  # just created, here or by a writer that died at this very point
            os.posix_fallocate(descriptor, 0, _gate.SIZE)  # a full /run fails here and not as a SIGBUS later
        elif status.st_size != _gate.SIZE:
            size = f"{path} has {status.st_size} bytes, a gate word has {_gate.SIZE}"
            raise GateWordError(size, next_step=_REMOVE)
    except BlockingIOError as error:
        os.close(descriptor)
        raise GateWordError(f"another bridge writes {path}", next_step="stop the other bridge first") from error
    except OSError as error:
        os.close(descriptor)
        raise GateWordError(f"the gate word {path} cannot be written: {error.strerror}") from error
    except GateWordError:
        os.close(descriptor)
        raise
    return descriptor
