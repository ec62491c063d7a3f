"""The oracle: what must hold for the gate to be open, written from the requirements, not from the policy.

It shares nothing with the policy but the vocabulary: names, limits and ages stand here once more, as literals, for one
reference policy in which every optional row is in force. Where the two disagree, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REFERENCE_TOML = """
[timing]
dwell_s = 30.0
drain_s = 2.0
fault_hold_s = 20.0
lease_ms = 150.0
[car]
standing_below_kmh = 0.5
[charge]
floor_pct = 20.0
reserve_pct = 50.0
hysteresis_pct = 3.0
charging_only = true
[low_voltage]
guard_V = 11.8
cut_V = 10.8
hysteresis_V = 0.4
[energy]
hysteresis_Wh = 50.0
[heat]
battery_max_C = 45.0
battery_min_C = -10.0
compute_max_C = 85.0
cabin_max_C = 60.0
hysteresis_C = 5.0
[owner]
hours = ["20:00-07:30"]
metered = false
"""
DWELL_NS, DRAIN_NS, FAULT_HOLD_NS, LEASE_NS = 30_000_000_000, 2_000_000_000, 20_000_000_000, 150_000_000

# What a reading may be besides good; every one of these closes, for every signal below.
DOUBTS = {
    "absent": "signal_absent",
    "stale": "signal_stale",
    "invalid": "signal_invalid",
    "contradictory": "signals_contradict",
}


@dataclass(frozen=True, slots=True)
class Need:
    """The gate is open only while `signal` is one of `only`, or within one of `within`. After it was not, numbers must
    be within `again` first. `age_ms`: no older reading counts. `calm` is a value that is well for sure."""

    reason: str
    signal: str
    age_ms: int
    calm: bool | float | str
    only: tuple[bool | float | str, ...] = ()
    within: tuple[tuple[float, float], ...] = ()
    again: tuple[tuple[float, float], ...] = ()
    others: tuple[bool | float | str, ...] = ()  # further values to try that are not well


BIG = 1e9
_V = "Vehicle."
_OWN = "Vehicle.IdleHands."
_PACK = "Vehicle.Powertrain.TractionBattery."


def _shut(reason: str, signal: str, age_ms: int) -> Need:
    return Need(reason, _V + signal, age_ms, False, only=(False,), others=(True,))


def _span(reason: str, signal: str, age_ms: int, calm: float, low: float, high: float, inset: float) -> Need:
    again_low = round(low + inset, 6) if low > -BIG else low
    again_high = round(high - inset, 6) if high < BIG else high
    return Need(reason, signal, age_ms, calm, within=((low, high),), again=((again_low, again_high),))


NEEDS: tuple[Need, ...] = (
    Need(
        "not_parked",
        _V + "Powertrain.Transmission.SelectedGear",
        200,
        126.0,
        only=(126.0,),
        others=(-1.0, 0.0, 1.0, 125.0, 127.0),
    ),
    Need(
        "not_parked",
        _V + "Powertrain.Transmission.IsParkLockEngaged",
        500,
        True,
        only=(True,),
        others=(False,),
    ),
    _span("moving", _V + "Speed", 200, 0.0, -0.5, 0.5, 0.0),
    _shut("moving", "IsMoving", 500),
    Need(
        "ignition_on",
        _V + "LowVoltageSystemState",
        1000,
        "LOCK",
        only=("OFF", "LOCK"),
        others=("ACC", "ON", "START"),
    ),
    _shut("occupied", "Cabin.Seat.Row1.DriverSide.IsOccupied", 1000),
    _shut("occupied", "Cabin.Seat.Row1.PassengerSide.IsOccupied", 1000),
    _shut("door_open", "Cabin.Door.Row1.DriverSide.IsOpen", 1000),
    _shut("door_open", "Cabin.Door.Row1.PassengerSide.IsOpen", 1000),
    _shut("door_open", "Cabin.Door.Row2.DriverSide.IsOpen", 1000),
    _shut("door_open", "Cabin.Door.Row2.PassengerSide.IsOpen", 1000),
    Need("no_consent", _OWN + "Consent.IsGiven", 5000, True, only=(True,), others=(False,)),
    _span("charge_below_floor", _PACK + "StateOfCharge.Displayed", 30_000, 80.0, 20.0, BIG, 3.0),
    _span("charge_below_reserve", _PACK + "StateOfCharge.Displayed", 30_000, 80.0, 50.0, BIG, 3.0),
    Need("not_charging", _PACK + "Charging.IsCharging", 5000, True, only=(True,), others=(False,)),
    _span("low_12v", _V + "LowVoltageBattery.CurrentVoltage", 5000, 13.0, 10.8, BIG, 0.4),
    _span("low_12v", _OWN + "LowVoltageBattery.FilteredVoltage", 5000, 13.0, 11.8, BIG, 0.4),
    _span("battery_too_hot", _PACK + "Temperature.Max", 60_000, 25.0, -BIG, 45.0, 5.0),
    _span("battery_too_cold", _PACK + "Temperature.Min", 60_000, 20.0, -10.0, BIG, 5.0),
    _span("compute_too_hot", _OWN + "Compute.Temperature", 2000, 50.0, -BIG, 85.0, 5.0),
    _span("cabin_too_hot", _V + "Cabin.HVAC.AmbientAirTemperature", 60_000, 22.0, -BIG, 60.0, 5.0),
    _span("energy_budget_spent", _OWN + "Energy.DebtBudgetLeft", 5000, 300.0, 0.001, BIG, 50.0),
    _span("energy_budget_spent", _OWN + "Energy.DayBudgetLeft", 5000, 300.0, 0.001, BIG, 50.0),
    Need(
        "outside_hours",
        _OWN + "Clock.MinuteOfDay",
        5000,
        1300.0,
        within=((1200.0, 1439.9999999999998), (0.0, 449.99999999999994)),
        again=((1200.0, 1439.9999999999998), (0.0, 449.99999999999994)),
        others=(450.0, 700.0),
    ),
    _shut("link_metered", "IdleHands.Link.IsMetered", 60_000),
    _shut("crash_detected", "IdleHands.Crash.IsDetected", 5000),
    _shut("low_power_mode", "IdleHands.LowPowerMode.IsActive", 5000),
    _shut("ota_update", "IdleHands.Update.IsInProgress", 5000),
    _shut("operator_pause", "IdleHands.Operator.IsPaused", 5000),
)
GEAR = NEEDS[0].signal
LOCK = NEEDS[1].signal
SPEED = NEEDS[2].signal
IS_MOVING = NEEDS[3].signal
IS_CHARGING = _PACK + "Charging.IsCharging"

Known = Mapping[str, tuple[str, bool | float | str | None]]  # signal -> (quality, value)


def expected(known: Known, was_broken: bool) -> set[tuple[str, str]]:
    """Returns what must keep the gate shut, as (reason, signal). `was_broken`: every need was broken a moment ago."""
    found: set[tuple[str, str]] = set()
    for need in NEEDS:
        quality, value = known[need.signal]
        if quality != "good":
            found.add((DOUBTS[quality], need.signal))
        elif not _is_met(need, value, was_broken):
            found.add((need.reason, need.signal))
    for is_so, signal in _impossible({name: value for name, (quality, value) in known.items() if quality == "good"}):
        if is_so:
            found.add(("signals_contradict", signal))
    return found


def _is_met(need: Need, value: bool | float | str | None, was_broken: bool) -> bool:
    if need.only:
        return value in need.only
    spans = need.again if was_broken else need.within
    return not isinstance(value, str | bool | None) and any(low <= value <= high for low, high in spans)


def _impossible(good: Mapping[str, bool | float | str | None]) -> list[tuple[bool, str]]:
    speed = good.get(SPEED)
    drives = isinstance(speed, float) and (speed > 5.0 or speed < -5.0)
    in_park = good.get(GEAR) == 126.0
    return [
        (in_park and drives, GEAR),
        (good.get(LOCK) is True and GEAR in good and not in_park, LOCK),
        (good.get(LOCK) is False and in_park, LOCK),
        (good.get(IS_MOVING) is False and drives, IS_MOVING),
        (good.get(IS_CHARGING) is True and drives, IS_CHARGING),
    ]


def values_of(need: Need) -> list[bool | float | str]:
    """Returns the values to try: what is well, what is not, and both sides of every bound."""
    tried: list[bool | float | str] = [need.calm, *need.only, *need.others, *(("?", True) if need.within else ())]
    for low, high in (*need.within, *need.again):
        for bound in (low, high):
            if abs(bound) < BIG:
                tried += [bound, round(bound - 0.0011, 6), round(bound + 0.0011, 6)]
    if need.signal == SPEED:
        tried += [-5.0011, -5.0, 5.0, 5.0011, 120.0]
    distinct = {(type(each), each): each for each in tried}  # True is not 1.0 here
    return list(distinct.values())
