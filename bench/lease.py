"""A gate whose lease runs out at a known moment, as when the bridge dies: how late a kernel returns is then known
exactly, without a second thread to close the gate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kernels.gate import _gate


class LeaseGate:
    """What a run may be stopped by: `address` is a `const ih_gate *`."""

    def __init__(self) -> None:
        self._word = _gate.Word(bytearray(64), writable=True)
        self._token = _gate.Token(self._word, 1)

    @property
    def address(self) -> int:
        return int(self._token.address)

    def open_for(self, lease_ns: int) -> int:
        """Opens the gate for that long; returns the moment (CLOCK_BOOTTIME, ns) at which it will be closed."""
        until_ns = int(_gate.boottime_ns()) + min(lease_ns, int(_gate.LEASE_MAX_NS))
        self._word.write(max_threads=1, state=_gate.STATES["OPEN"], duty_permille=1000, reasons=0, gate_epoch=1,
                         lease_until_ns=until_ns, boot_id_hash=_gate.boot_id_hash(), power_budget_mW=0)  # fmt: skip
        return until_ns


def breathe(busy_s: float) -> None:
    """Sleeps for a tenth of what was computed: Linux stops a real-time thread for 50 ms that takes 95 % of a second."""
    time.sleep(busy_s / 10)


@contextmanager
def favoured() -> Iterator[bool]:
    """Puts this thread before all others, so that a busy machine does not count; yields whether that was allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
