"""The gate's duty, for one thread: how much CPU time it may use in each window of 100 ms of CLOCK_BOOTTIME.

    window  |####......|####......|######....|##........|      duty 400 permille; the third could not be stopped in time
             worked     worked     too long   less

A thread that used its share pauses until the next window. What could not be paused in time (a backend without pauses,
an agent's own code) is a debt that the next windows pay; what was left over is not saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kernels.gate.word import GateToken, boottime_ns
from runtime.backends.protocol import StepResult

WINDOW_NS = 100_000_000
CLOSED_LOOK_NS = 20_000_000  # how often to look again at a gate that is closed
FULL_PERMILLE = 1000
GATE_LOOK_S = 0.002  # how often a paused run looks at the gate


class Pacer:
    """Counts the CPU time of the thread that calls it; only that thread may. `duty_permille()` 0 is a closed gate."""

    def __init__(
        self,
        duty_permille: Callable[[], int] = lambda: FULL_PERMILLE,
        *,
        clock: Callable[[], int] = boottime_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._duty_permille, self._clock, self._cpu_clock = duty_permille, clock, cpu_clock
        self._window, self._used_ns, self._credit_ns = -1, 0, 0
        self.paused_ns = 0  # what was slept inside of runs, for whoever times them

    def credit_ns(self) -> int:
        """Returns how long this thread may work now; 0 or less: not before the next window."""
        duty, now_ns, used_ns = self._duty_permille(), self._clock(), self._cpu_clock()
        share_ns = WINDOW_NS * duty // FULL_PERMILLE
        window = now_ns // WINDOW_NS
        if self._window < 0 or duty >= FULL_PERMILLE:
            self._window, self._used_ns, self._credit_ns = window, used_ns, share_ns
            return share_ns
        credit_ns = self._credit_ns - (used_ns - self._used_ns) + (window - self._window) * share_ns
        self._window, self._used_ns, self._credit_ns = window, used_ns, min(credit_ns, share_ns)
        return self._credit_ns

    def wait_ns(self) -> int:
        """Returns how long to wait before looking again; 0: work may begin now."""
        if self.credit_ns() > 0:
            return 0
        left_ns = WINDOW_NS - self._clock() % WINDOW_NS
        return left_ns if self._duty_permille() else min(left_ns, CLOSED_LOOK_NS)

    @property
    def is_limited(self) -> bool:
        """Whether a part of each window must be left free."""
        return self._duty_permille() < FULL_PERMILLE

    def until_ns(self) -> int:
        """Returns when (of the clock) the share is used up if this thread works on from now."""
        return self._clock() + max(0, self.credit_ns())


def paced(
    step: Callable[[GateToken | None], StepResult], gate: GateToken | None, pacer: Pacer, *, keeps_progress: bool
) -> StepResult:
    """As the step of a run, but that it also waits at the end of each window's share. What cannot pause is run whole,
    and waits longer after."""
    if gate is None:
        return step(None)
    while True:
        while (wait_ns := pacer.wait_ns()) > 0:
            if not gate.is_open():
                return StepResult.PREEMPTED
            began_ns = time.perf_counter_ns()
            time.sleep(min(GATE_LOOK_S, wait_ns / 1e9))
            pacer.paused_ns += time.perf_counter_ns() - began_ns
        is_cut = pacer.is_limited and keeps_progress
        if step(gate.until(pacer.until_ns()) if is_cut else gate) is StepResult.DONE:
            return StepResult.DONE
        if not is_cut or not gate.is_open():
            return StepResult.PREEMPTED
