"""What runs cost, while they go on and when they are booked: for jobs that have a budget.

    meter, the worker's CPU time, the time ──so_far──► Spent ──► the job's budget exceeded? the run is ended
    the booked entry                       ──booked──► Spent ──► the store adds it to the job's

Energy is computing (by the rails, else by CPU time) and what the car drew because it was awake for the run; the price
is what the run earns the car's owner by [prices].
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime.config.config import Ledger as LedgerSettings
from runtime.daemon.meter import Meter
from runtime.jobs.life import Job, Spent
from runtime.ledger.entry import Entry
from runtime.ledger.statement import Prices, earned

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Expenses:
    """The expenses of runs by one car's prices and assumptions."""

    def __init__(self, meter: Meter, settings: LedgerSettings, prices: Prices) -> None:
        self._meter, self._settings, self._prices = meter, settings, prices

    @property
    def currency(self) -> str | None:
        """The currency of the car's prices, None where nothing is paid: then no budget is in a wrong one."""
        return self._prices.currency if self._prices.is_paid else None

    def so_far(self, job: str, seconds: float, cpu_s: float, actions: int) -> Spent:
        """Returns what a run has cost that goes on since `seconds`."""
        metered = self._meter.so_far(job)
        joules = metered.joules(seconds)
        if joules is None:
            joules = cpu_s * self._settings.busy_core_W
        awake_joules = seconds * metered.awake_share() * self._settings.awake_power_W
        return Spent(joules + awake_joules, earned(self._prices, seconds, actions, joules))

    def booked(self, entry: Entry) -> Spent:
        """Returns what a booked run has cost."""
        return Spent(
            entry.joules + entry.awake_joules, earned(self._prices, entry.seconds, entry.actions, entry.joules)
        )


def exceeded(job: Job, spent: Spent) -> str:
    """Returns which budget of a job is spent by its ended runs and this one, in words; nothing if none is."""
    return job.spec.budget.exceeded(job.joules + spent.joules, job.price + spent.price)


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of a process, 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
