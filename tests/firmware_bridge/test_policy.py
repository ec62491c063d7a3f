"""The policy: each limit at its edge, hysteresis on the way back only, and every kind of doubt closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from firmware_bridge import policy
from firmware_bridge import signals as s
from firmware_bridge.fusion import Fact
from firmware_bridge.policy import Memory, Verdict, evaluate, rules_of
from firmware_bridge.policy_settings import Car, Charge, Owner, Policy
from firmware_bridge.readings import Quality, Value
from firmware_bridge.signals import SIGNALS
from kernels.gate.word import REASONS
from tests.firmware_bridge.parked import PARKED, SECOND, START

SETTLED = Memory(is_first=False)


def facts(changes: Mapping[str, Value] | None = None) -> dict[str, Fact]:
    derived = {s.FILTERED_12V: 13.2, s.DEBT_ENERGY_LEFT: 400.0, s.DAY_ENERGY_LEFT: 4000.0}
    values = {**PARKED, **derived, **(changes or {})}
    return {name: Fact(name, value, Quality.GOOD, START, value) for name, value in values.items()}


def judge(
    changes: Mapping[str, Value] | None = None, *, settings: Policy | None = None, memory: Memory = SETTLED
) -> Verdict:
    settings = settings or Policy()
    return evaluate(facts(changes), rules_of(settings), settings, memory, START)


def names(verdict: Verdict) -> list[str]:
    return [because.reason for because in verdict.reasons]


def test_parked_and_well_is_clear() -> None:
    verdict = judge()
    assert verdict.is_clear
    assert verdict.confirmed_ns == START


@pytest.mark.parametrize(
    ("signal", "value", "reason"),
    [
        (s.SPEED, 0.51, "moving"),
        (s.SPEED, -0.51, "moving"),
        (s.IS_MOVING, True, "moving"),
        (s.POWER_STATE, "ACC", "ignition_on"),
        (s.POWER_STATE, "ON", "ignition_on"),
        (s.POWER_STATE, "START", "ignition_on"),
        (s.DRIVER_SEAT, True, "occupied"),
        (s.PASSENGER_SEAT, True, "occupied"),
        (s.DRIVER_DOOR, True, "door_open"),
        (s.PASSENGER_DOOR, True, "door_open"),
        (s.REAR_DRIVER_DOOR, True, "door_open"),
        (s.REAR_PASSENGER_DOOR, True, "door_open"),
        (s.CONSENT, False, "no_consent"),
        (s.CHARGE, 49.99, "charge_below_reserve"),
        (s.VOLTAGE_12V, 10.79, "low_12v"),
        (s.FILTERED_12V, 11.79, "low_12v"),
        (s.PACK_HOTTEST, 45.01, "battery_too_hot"),
        (s.PACK_COLDEST, -10.01, "battery_too_cold"),
        (s.COMPUTE_TEMPERATURE, 85.01, "compute_too_hot"),
        (s.CABIN_TEMPERATURE, 60.01, "cabin_too_hot"),
        (s.DEBT_ENERGY_LEFT, 0.0, "energy_budget_spent"),
        (s.DAY_ENERGY_LEFT, -3.0, "energy_budget_spent"),
        (s.METERED, True, "link_metered"),
        (s.CRASH, True, "crash_detected"),
        (s.OTA, True, "ota_update"),
        (s.LOW_POWER, True, "low_power_mode"),
        (s.PAUSE, True, "operator_pause"),
    ],
)
def test_each_condition_closes_alone(signal: str, value: Value, reason: str) -> None:
    assert names(judge({signal: value})) == [reason]


@pytest.mark.parametrize("gear", [127.0, 125.0, 126.5, 1.0, 0.0, -1.0])
def test_no_gear_but_park(gear: float) -> None:
    assert names(judge({s.GEAR: gear}, settings=Policy(car=Car(not_fitted=(s.PARK_LOCK,))))) == [
        "not_parked",
        "signals_contradict",
    ]
    known = facts({s.GEAR: gear})
    del known[s.PARK_LOCK]
    settings = Policy(car=Car(not_fitted=(s.PARK_LOCK,)))
    assert names(evaluate(known, rules_of(settings), settings, SETTLED, START)) == ["not_parked"]


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        (s.SPEED, 0.5),
        (s.SPEED, -0.5),
        (s.POWER_STATE, "OFF"),
        (s.CHARGE, 50.0),
        (s.VOLTAGE_12V, 10.8),
        (s.FILTERED_12V, 11.8),
        (s.PACK_HOTTEST, 45.0),
        (s.PACK_COLDEST, -10.0),
        (s.COMPUTE_TEMPERATURE, 85.0),
        (s.CABIN_TEMPERATURE, 60.0),
        (s.PARKING_BRAKE, False),
        (s.IS_CHARGING, False),
    ],
)
def test_the_edge_itself_is_allowed_once_open(signal: str, value: Value) -> None:
    assert judge({signal: value}).is_clear


@pytest.mark.parametrize(
    ("signal", "shut", "still_shut", "opens"),
    [
        (s.CHARGE, 49.9, 52.9, 53.0),
        (s.FILTERED_12V, 11.7, 12.19, 12.2),
        (s.VOLTAGE_12V, 10.7, 11.19, 11.2),
        (s.PACK_HOTTEST, 45.1, 40.1, 40.0),
        (s.PACK_COLDEST, -10.1, -5.1, -5.0),
        (s.COMPUTE_TEMPERATURE, 85.1, 80.1, 80.0),
        (s.CABIN_TEMPERATURE, 60.1, 55.1, 55.0),
        (s.DEBT_ENERGY_LEFT, 0.0, 50.0, 50.001),
    ],
)
def test_hysteresis_delays_openings_only(signal: str, shut: float, still_shut: float, opens: float) -> None:
    assert judge({signal: still_shut}).is_clear  # while open, the limit itself counts
    verdict = judge({signal: shut})
    assert not verdict.is_clear
    assert verdict.reasons[0].opens_at == opens
    assert not judge({signal: still_shut}, memory=verdict.memory).is_clear
    assert judge({signal: opens}, memory=verdict.memory).is_clear
    assert not judge({signal: still_shut}, memory=Memory()).is_clear  # a start has no smaller margins


def test_hysteresis_belongs_to_the_limit_that_was_broken() -> None:
    closed = judge({s.DRIVER_DOOR: True})
    assert judge({s.CHARGE: 50.5}, memory=closed.memory).is_clear


def test_a_reserve_of_all_can_be_reached() -> None:
    settings = Policy(charge=Charge(reserve_pct=100.0))
    closed = judge({s.CHARGE: 99.0}, settings=settings)
    assert names(closed) == ["charge_below_reserve"]
    assert judge({s.CHARGE: 100.0}, settings=settings, memory=closed.memory).is_clear


def test_floor_and_reserve_are_two() -> None:
    assert names(judge({s.CHARGE: 19.9})) == ["charge_below_floor", "charge_below_reserve"]
    low_reserve = Policy(charge=Charge(reserve_pct=0.0))
    assert names(judge({s.CHARGE: 19.9}, settings=low_reserve)) == ["charge_below_floor"]


USED = sorted({rule.signal for rule in rules_of(Policy())})


@pytest.mark.parametrize("signal", USED)
@pytest.mark.parametrize(
    ("quality", "reason"),
    [
        (Quality.ABSENT, "signal_absent"),
        (Quality.STALE, "signal_stale"),
        (Quality.INVALID, "signal_invalid"),
        (Quality.CONTRADICTORY, "signals_contradict"),
    ],
)
def test_every_doubt_of_every_signal_closes(signal: str, quality: Quality, reason: str) -> None:
    settings = Policy()
    known = facts()
    known[signal] = Fact(signal, None, quality, START, PARKED.get(signal))
    verdict = evaluate(known, rules_of(settings), settings, SETTLED, START)
    assert names(verdict) == [reason]
    del known[signal]
    assert names(evaluate(known, rules_of(settings), settings, SETTLED, START)) == ["signal_absent"]


@pytest.mark.parametrize("signal", [name for name, row in SIGNALS.items() if row.is_core])
def test_core_signals_have_a_rule_under_any_settings(signal: str) -> None:
    least = Policy(car=Car(not_fitted=s.OPTIONAL), owner=Owner(metered=True), charge=Charge(floor_pct=5, reserve_pct=0))
    assert signal in {rule.signal for rule in rules_of(least)}


@pytest.mark.parametrize(
    "changes",
    [
        {s.GEAR: 126.0, s.SPEED: 5.01},
        {s.PARK_LOCK: True, s.GEAR: 127.0},
        {s.PARK_LOCK: False, s.GEAR: 126.0},
        {s.IS_MOVING: False, s.SPEED: 5.01},
        {s.IS_CHARGING: True, s.SPEED: -5.01},
    ],
)
def test_witnesses_that_cannot_both_be_true(changes: dict[str, Value]) -> None:
    assert "signals_contradict" in names(judge(changes))


def test_a_witness_that_the_car_lacks_may_still_contradict() -> None:
    settings = Policy(car=Car(not_fitted=(s.PARK_LOCK,)))
    assert names(judge({s.PARK_LOCK: False}, settings=settings)) == ["signals_contradict"]
    known = facts()
    del known[s.PARK_LOCK]
    assert evaluate(known, rules_of(settings), settings, SETTLED, START).is_clear


@pytest.mark.parametrize(
    ("hours", "minute", "is_clear"),
    [
        (("22:00-06:00",), 1320.0, True),
        (("22:00-06:00",), 1319.9, False),
        (("22:00-06:00",), 359.9, True),
        (("22:00-06:00",), 360.0, False),
        (("22:00-06:00",), 0.0, True),
        (("09:00-12:00", "14:00-24:00"), 720.0, False),
        (("09:00-12:00", "14:00-24:00"), 1439.9, True),
        ((), 600.0, True),
    ],
)
def test_owner_s_hours(hours: tuple[str, ...], minute: float, is_clear: bool) -> None:
    verdict = judge({s.MINUTE_OF_DAY: minute}, settings=Policy(owner=Owner(hours=hours)))
    assert names(verdict) == ([] if is_clear else ["outside_hours"])


def test_charging_only_and_metered() -> None:
    assert names(judge({s.IS_CHARGING: False}, settings=Policy(charge=Charge(charging_only=True)))) == ["not_charging"]
    assert judge({s.METERED: True}, settings=Policy(owner=Owner(metered=True))).is_clear


def test_since_is_kept_while_a_reason_lasts() -> None:
    settings = Policy()
    rules = rules_of(settings)
    first = evaluate(facts({s.DRIVER_DOOR: True}), rules, settings, SETTLED, START)
    later = evaluate(facts({s.DRIVER_DOOR: True, s.SPEED: 2.0}), rules, settings, first.memory, START + SECOND)
    assert {because.reason: because.since_ns for because in later.reasons} == {
        "door_open": START,
        "moving": START + SECOND,
    }
    gone = evaluate(facts(), rules, settings, later.memory, START + 2 * SECOND)
    again = evaluate(facts({s.DRIVER_DOOR: True}), rules, settings, gone.memory, START + 3 * SECOND)
    assert again.reasons[0].since_ns == START + 3 * SECOND


def test_the_lease_runs_from_the_older_of_gear_and_speed() -> None:
    settings = Policy()
    known = facts()
    known[s.SPEED] = replace(known[s.SPEED], time_ns=START - 70)
    assert evaluate(known, rules_of(settings), settings, SETTLED, START).confirmed_ns == START - 70
    known[s.GEAR] = replace(known[s.GEAR], time_ns=START - 90)
    assert evaluate(known, rules_of(settings), settings, SETTLED, START).confirmed_ns == START - 90
    known[s.GEAR] = replace(known[s.GEAR], quality=Quality.STALE, value=None)
    assert evaluate(known, rules_of(settings), settings, SETTLED, START).confirmed_ns == 0


def test_every_reason_is_in_the_gate_word_s_table() -> None:
    settings = Policy(owner=Owner(hours=("22:00-06:00",)), charge=Charge(charging_only=True))
    for rule in rules_of(settings):
        assert rule.reason in REASONS
    assert set(policy._DOUBT.values()) <= set(REASONS)
