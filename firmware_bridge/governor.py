"""The governor: sets duty and power from headroom and trend: the heat limit is approached and not crossed. Pure.

    looked-ahead temperature = T + trend · HORIZON_S          trend: low-passed, only its rise counts
    level += GAIN · (target − looked-ahead temperature) · dt  an integral controller on one level in [0, 1]

With a power rail that the worker can hold (`heat.control = "power"`), the level is a share of the power budget: running
slower all the time does more work per joule than running fast part of the time, as P = Ps + c·f³. Otherwise it is the
duty of each 100 ms window. Judged against on/off control on the model in firmware_bridge/thermal_model.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.policy_settings import Heat, Limits

HORIZON_S = 15.0
TREND_FILTER_S = 5.0
GAIN_PER_C_S = 0.004
# Below this level the windows get too short to be worth a wake-up: then it is nothing at all.
LEAST_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Governor:
    """What the next step must know: the level in [0, 1], the last temperature and its low-passed trend."""

    level: float = 1.0
    temperature_C: float | None = None
    trend_C_per_s: float = 0.0
    time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What work may take now; `power_budget_mW` 0 is not limited."""

    duty_permille: int
    power_budget_mW: int


def after(governor: Governor, temperature_C: float | None, time_ns: int, heat: Heat) -> Governor:
    """Returns the governor after a reading of the hottest zone at `time_ns`; one that is not newer changes nothing.

    An unknown temperature leaves nothing to grant: the policy closes for it anyway.
    """
    if temperature_C is None:
        return Governor(level=0.0)
    if governor.temperature_C is None:
        is_cool = temperature_C < heat.compute_max_C - heat.target_below_C
        return Governor(1.0 if is_cool else 0.0, temperature_C, 0.0, time_ns)
    elapsed_s = (time_ns - governor.time_ns) / 1e9
    if elapsed_s <= 0:
        return governor
    slope = (temperature_C - governor.temperature_C) / elapsed_s
    share = min(1.0, elapsed_s / TREND_FILTER_S)
    trend = governor.trend_C_per_s + share * (slope - governor.trend_C_per_s)
    ahead_C = temperature_C + max(0.0, trend) * HORIZON_S
    error_C = heat.compute_max_C - heat.target_below_C - ahead_C
    level = governor.level + GAIN_PER_C_S * error_C * min(elapsed_s, 1.0)
    if temperature_C >= heat.compute_max_C:
        level = 0.0
    return Governor(min(1.0, max(0.0, level)), temperature_C, trend, time_ns)


def grant(governor: Governor, heat: Heat, limits: Limits) -> Grant:
    """Returns the level as what the gate word says."""
    level = governor.level if governor.level >= LEAST_LEVEL else 0.0
    if heat.control == "power" and limits.power_budget_mW:
        floor = limits.power_floor_mW if level else 0
        budget = floor + level * (limits.power_budget_mW - floor)
        return Grant(limits.duty_max_permille if level else 0, max(1, int(budget)))
    return Grant(int(limits.duty_max_permille * level), limits.power_budget_mW)
