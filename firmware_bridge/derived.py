"""Facts that the bridge derives from other facts: so far the averaged 12 V. Pure; its memory is handed in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_bridge import signals
from firmware_bridge.fusion import Fact, Facts, absent
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Quality


@dataclass(frozen=True, slots=True)
class Average:
    """A first-order low-pass over readings that come when they like. None before the first one."""

    value: float | None = None
    time_ns: int = 0

    def after(self, value: float, time_ns: int, time_constant_s: float) -> Average:
        """Returns the average after a reading at `time_ns`; one that is not newer changes nothing."""
        if self.value is None or time_constant_s <= 0:
            return Average(value, time_ns)
        if time_ns <= self.time_ns:
            return self
        share = 1.0 - math.exp(-(time_ns - self.time_ns) / 1e9 / time_constant_s)
        return Average(self.value + share * (value - self.value), time_ns)


@dataclass(frozen=True, slots=True)
class Derived:
    """What the next derivation must know of the last."""

    average_12v: Average = Average()


def derive(facts: Facts, policy: Policy, memory: Derived) -> tuple[dict[str, Fact], Derived]:
    """Returns the derived facts and the memory for the next time.

    A doubtful 12 V makes its average doubtful in the same way, and the average begins anew after it.
    """
    raw = facts.get(signals.VOLTAGE_12V) or absent(signals.VOLTAGE_12V)
    if raw.quality is not Quality.GOOD or not isinstance(raw.value, float | int):
        return {signals.FILTERED_12V: Fact(signals.FILTERED_12V, None, raw.quality, raw.time_ns)}, Derived()
    average = memory.average_12v.after(float(raw.value), raw.time_ns, policy.low_voltage.filter_s)
    fact = Fact(signals.FILTERED_12V, average.value, Quality.GOOD, raw.time_ns, average.value)
    return {signals.FILTERED_12V: fact}, Derived(average)
