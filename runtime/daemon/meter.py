"""What the car says while runs are under way, summed for each: joules of the rails, awake time, the battery's share.

    bridge.json ──4 a second──► sample(now_s, jobs) ──► take(job) ──► Metered ──► the ledger's Run

Runs at the same time share what is drawn in equal parts. The rails measure the whole computer, its idle draw included:
the computer is up for the work. The car is awake *for the work* while it neither charges, nor sleeps, nor is switched
on; what is not known counts against the work, so that no owner is told less than it cost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from firmware_bridge import signals
from kernels.gate.word import boottime_ns

STATUS_NAME = "bridge.json"
SAMPLE_S = 0.25
# A longer silence (a busy machine, a bridge that is gone) is a time in which nothing is known.
GAP_S = 2.0
# A run is measured when the rails were heard for so much of it; else its joules are estimated as a whole.
COVERED = 0.9
_STOPPED = frozenset({"OFF", "LOCK"})


class _Signal(msgspec.Struct, frozen=True):
    value: Any
    quality: str


class _Status(msgspec.Struct, frozen=True):
    written_ns: int
    signals: dict[str, _Signal]


_decoder = msgspec.json.Decoder(_Status)


@dataclass(frozen=True)
class Draw:
    """What holds now. `compute_W` is None without rails; unknown is `awake_for_work` and on the battery."""

    compute_W: float | None = None
    is_awake_for_work: bool = True
    is_on_battery: bool = True


@dataclass
class Metered:
    """A run so far: `seconds` that were sampled, of them `rails_s` with rails, that gave `rails_joules`."""

    seconds: float = 0.0
    rails_s: float = 0.0
    rails_joules: float = 0.0
    awake_s: float = 0.0
    battery_s: float = 0.0

    def joules(self, run_s: float) -> float | None:
        """Returns what a run of `run_s` used by the rails; None if they were not heard for most of it."""
        if run_s <= 0 or self.rails_s < COVERED * run_s:
            return None
        return self.rails_joules * run_s / self.rails_s

    def awake_share(self) -> float:
        """Returns the share of the time in which the car was awake for work; all of it where nothing was seen."""
        return self.awake_s / self.seconds if self.seconds else 1.0

    def battery_share(self) -> float:
        """Returns the share of the time in which the battery supplied the car; all of it where nothing was seen."""
        return self.battery_s / self.seconds if self.seconds else 1.0


class Meter:
    """Samples the status file beside the gate word, at most every SAMPLE_S."""

    def __init__(self, gate_word: Path) -> None:
        self._path = gate_word.with_name(STATUS_NAME)
        self._sampled_s: float | None = None
        self._draw = Draw()
        self._runs: dict[str, Metered] = {}
        self._shares: dict[str, int] = {}

    def sample(self, now_s: float, jobs: Collection[str]) -> None:
        """Adds the time since the last sample, under what held then, to the runs of `jobs`; `now_s` is monotonic."""
        if self._sampled_s is not None and now_s - self._sampled_s < SAMPLE_S and set(jobs) == set(self._shares):
            return
        self._add(now_s)
        self._sampled_s = now_s if jobs else None
        self._shares = {job: len(jobs) for job in jobs}
        if jobs:
            self._draw = self._look()

    def so_far(self, job: str) -> Metered:
        """Returns what was summed for a run that goes on."""
        return self._runs.get(job, Metered())

    def take(self, job: str, now_s: float) -> Metered:
        """Returns what was summed for a run that ended, and forgets it. Nothing is known of a run never sampled."""
        self._add(now_s)
        self._sampled_s = now_s if self._sampled_s is not None else None
        self._shares.pop(job, None)
        return self._runs.pop(job, Metered())

    def is_supplied(self) -> bool:
        """Returns whether power flows into the battery now; not known is no."""
        return not self._look().is_on_battery

    def _add(self, now_s: float) -> None:
        if self._sampled_s is None:
            return
        elapsed_s = now_s - self._sampled_s
        if not 0 <= elapsed_s <= GAP_S:
            return
        for job, sharing in self._shares.items():
            run = self._runs.setdefault(job, Metered())
            run.seconds += elapsed_s
            run.awake_s += elapsed_s / sharing if self._draw.is_awake_for_work else 0.0
            run.battery_s += elapsed_s if self._draw.is_on_battery else 0.0
            if self._draw.compute_W is not None:
                run.rails_s += elapsed_s
                run.rails_joules += self._draw.compute_W * elapsed_s / sharing

    def _look(self) -> Draw:
        try:
            status = _decoder.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return Draw()
        if not 0 <= boottime_ns() - status.written_ns <= GAP_S * 1e9:
            return Draw()
        return draw_of({name: each.value for name, each in status.signals.items() if each.quality == "good"})


def draw_of(good: Mapping[str, Any]) -> Draw:
    """Returns what follows from the good signals by their VSS names."""
    compute_W, into_pack_W = good.get(signals.COMPUTE_POWER), good.get(signals.PACK_POWER)
    is_switched_on = signals.POWER_STATE in good and good[signals.POWER_STATE] not in _STOPPED
    is_up_anyway = good.get(signals.IS_CHARGING) is True or good.get(signals.BUS_ASLEEP) is True or is_switched_on
    return Draw(
        compute_W=float(compute_W) if isinstance(compute_W, int | float) else None,
        is_awake_for_work=not is_up_anyway,
        is_on_battery=not (isinstance(into_pack_W, int | float) and into_pack_W > 0),
    )
