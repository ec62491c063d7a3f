"""How long a job may be that starts now: the least of what habit, energy, charge, heat and hours leave. Pure.

An admission rule, no promise: the driver may come at any moment, and then the gate closes whatever was forecast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_bridge import energy, parkings, signals
from firmware_bridge.energy import Account
from firmware_bridge.fusion import Facts
from firmware_bridge.governor import HORIZON_S, Governor
from firmware_bridge.parkings import Parkings
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Quality

# What is not bounded by anything known is told as a day.
LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """`length_s` of a job that may start now, and `limited_by`: nothing, parked, debt, day_budget, charge, heat or
    hours."""

    length_s: float
    limited_by: str


def forecast(
    facts: Facts, account: Account, governor: Governor, settings: Policy, before: Parkings = parkings.NONE
) -> Forecast:
    """Returns the least bound. What is unknown bounds nothing here: the policy has closed for it already."""
    bounds = bounds_of(facts, account, governor, settings, before)
    limited_by = min(bounds, key=lambda name: bounds[name])
    return Forecast(round(max(0.0, bounds[limited_by]), 1), limited_by)


def bounds_of(
    facts: Facts, account: Account, governor: Governor, settings: Policy, before: Parkings = parkings.NONE
) -> dict[str, float]:
    """Returns every bound in s, by its name; infinite where it bounds nothing."""
    return {
        "nothing": LONGEST_S,
        "parked": parkings.rest_s(before, settings.ahead),
        "debt": _debt_s(facts, account, settings),
        "day_budget": _hours_s(settings.energy.day_max_Wh - account.today_Wh, energy.power_W(facts, settings.energy)),
        "charge": _charge_s(facts, settings),
        "heat": _heat_s(governor, settings),
        "hours": _owner_s(facts, settings),
    }


def _debt_s(facts: Facts, account: Account, settings: Policy) -> float:
    if _is_supplied(facts):
        return math.inf
    return _hours_s(settings.energy.debt_max_Wh - account.debt_Wh, energy.power_W(facts, settings.energy))


def _charge_s(facts: Facts, settings: Policy) -> float:
    charge_pct = _good(facts, signals.CHARGE)
    if charge_pct is None or _is_supplied(facts):
        return math.inf
    left_pct = charge_pct - max(settings.charge.reserve_pct, settings.charge.floor_pct)
    return _hours_s(left_pct / 100 * settings.charge.pack_Wh, energy.power_W(facts, settings.energy))


def _heat_s(governor: Governor, settings: Policy) -> float:
    """The governor holds the temperature; only a rise that it has not yet caught is a bound."""
    if governor.temperature_C is None or governor.trend_C_per_s <= 0:
        return math.inf
    headroom_C = settings.heat.compute_max_C - governor.temperature_C
    left_s = headroom_C / governor.trend_C_per_s
    return left_s if left_s < HORIZON_S else math.inf


def _owner_s(facts: Facts, settings: Policy) -> float:
    minute = _good(facts, signals.MINUTE_OF_DAY)
    spans = settings.owner.spans()
    if minute is None or not spans:
        return math.inf
    end, is_growing = minute, True
    while is_growing and end - minute < 1440:  # spans that follow each other, over midnight too
        is_growing = False
        for begin, until in spans:
            if begin <= end % 1440 < until:
                end += until - end % 1440
                is_growing = True
    return (end - minute) * 60 if end - minute < 1440 else math.inf


def _hours_s(energy_Wh: float, power_W: float) -> float:
    return energy_Wh / power_W * 3600 if power_W > 0 else math.inf


def _is_supplied(facts: Facts) -> bool:
    into_battery_W = _good(facts, signals.PACK_POWER)
    return into_battery_W is not None and into_battery_W > 0


def _good(facts: Facts, name: str) -> float | None:
    fact = facts.get(name)
    if fact is None or fact.quality is not Quality.GOOD or isinstance(fact.value, bool | str | None):
        return None
    return float(fact.value)
