"""Facts that the bridge derives from other facts: so far the averaged 12 V. Pure; its memory is handed in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_bridge import signals
from firmware_bridge.fusion import Fact, Facts
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


def derive(facts: dict[str, Fact], policy: Policy, memory: Derived) -> Derived:
    """Adds the derived facts to `facts`; returns the memory for the next time.

    A doubtful 12 V makes its average doubtful in the same way, and the average begins anew after it.
    """
    average = _average_12v(facts, policy, memory.average_12v)
    return Derived(average)


def _average_12v(facts: dict[str, Fact], policy: Policy, average: Average) -> Average:
    raw = _fact(facts, signals.VOLTAGE_12V)
    if raw.quality is not Quality.GOOD or not isinstance(raw.value, float | int):
        facts[signals.FILTERED_12V] = Fact(signals.FILTERED_12V, None, raw.quality, raw.time_ns)
        return Average()
    average = average.after(float(raw.value), raw.time_ns, policy.low_voltage.filter_s)
    facts[signals.FILTERED_12V] = Fact(signals.FILTERED_12V, average.value, Quality.GOOD, raw.time_ns, average.value)
    return average


def _fact(facts: Facts, name: str) -> Fact:
    return facts.get(name) or Fact(name, None, Quality.ABSENT, 0)
