"""The drawn day is the surveys' day, and windows keep to the policy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from firmware_bridge.policy_settings import Energy, Policy
from runtime.fleet.simulate.parking import DAY_S, HOUR_S, START_TIMES, Habits, Parkings, draw_parkings
from runtime.fleet.simulate.windows import REGIONS, Rules, open_windows

CARS = 40_000
FREE = Rules(nights_only=0.0, charging_only=0.0, offline=0.0, in_the_sun=0.0)


@pytest.fixture(scope="module")
def parked() -> Parkings:
    return draw_parkings(CARS, Habits(), np.random.default_rng(3))


def test_the_day_is_that_of_the_surveys(parked: Parkings) -> None:
    assert 0.95 < parked.parked_share() < 0.965, "95 to 96.5 % of the time parked"
    is_parking = parked.end > parked.start
    assert (parked.start[:, 1:] >= parked.end[:, :-1]).all(), "in order, and never two at once"
    assert parked.end.max() <= DAY_S
    trips = (parked.start[:, 1:] < DAY_S).sum(axis=1)
    assert np.mean(trips == 0) == pytest.approx(0.30, abs=0.01)
    assert 2.5 < trips.mean() < 2.8
    assert is_parking[:, 0].mean() > 0.99


@pytest.mark.parametrize("day", sorted(START_TIMES))
def test_trips_begin_when_the_table_says(day: str) -> None:
    parked = draw_parkings(CARS, Habits(day=day), np.random.default_rng(4))
    leaves = parked.end[:, :-1][(parked.end[:, :-1] < DAY_S)] / HOUR_S + 4
    found = np.histogram(leaves % 24, bins=np.arange(25))[0] / len(leaves)
    table = np.array(START_TIMES[day]) / sum(START_TIMES[day])
    assert np.abs(found - table).max() < 0.006


def test_charging_is_while_plugged(parked: Parkings) -> None:
    charges = parked.charge_end > parked.charge_start
    assert 0.2 < charges.any(axis=1).mean() < 0.6
    assert parked.plugged[charges].all()
    assert (parked.charge_start[charges] >= parked.start[charges]).all()
    assert (parked.charge_end <= np.maximum(parked.end, parked.charge_start)).all()


def test_windows_lie_in_parkings_and_keep_the_budget(parked: Parkings) -> None:
    windows = open_windows(parked, REGIONS[3], FREE, np.random.default_rng(5))
    lasts_h = (windows.end - windows.start) / HOUR_S
    budget_h = FREE.policy.energy.debt_max_Wh / (FREE.compute_W + FREE.awake_W)
    assert lasts_h[~windows.plugged].max() <= budget_h * 1.001
    assert lasts_h[windows.plugged].max() > 8
    assert (windows.start[1:] >= windows.start[:-1]).all()
    assert (windows.awake_s <= windows.end - windows.start + 0.1).all()
    hours = windows.open_cars(HOUR_S)
    assert hours.sum() * HOUR_S == pytest.approx((windows.end - windows.start).sum(dtype=np.float64), rel=1e-5)


def test_who_never_charges_gives_nothing(parked: Parkings) -> None:
    never = dataclasses.replace(parked, plugged=np.zeros_like(parked.plugged))
    assert len(open_windows(never, REGIONS[0], FREE, np.random.default_rng(1)).start) == 0


def test_every_rule_takes_its_part(parked: Parkings) -> None:
    def hours(rules: Rules, region: int = 0) -> float:
        windows = open_windows(parked, REGIONS[region], rules, np.random.default_rng(6))
        return float((windows.end - windows.start).sum(dtype=np.float64))

    free = hours(FREE)
    for rules in (
        dataclasses.replace(FREE, nights_only=1.0),
        dataclasses.replace(FREE, charging_only=1.0),
        dataclasses.replace(FREE, offline=0.5),
        dataclasses.replace(FREE, month="july", in_the_sun=1.0, sun_C=40.0),
        dataclasses.replace(FREE, policy=Policy(energy=Energy(day_max_Wh=200.0))),
    ):
        assert hours(rules) < 0.99 * free, rules
    nights = open_windows(parked, REGIONS[0], dataclasses.replace(FREE, nights_only=1.0), np.random.default_rng(6))
    by_hour = nights.open_cars(HOUR_S)
    assert abs(by_hour[2:18]).max() < 1e-6, "06:00 to 22:00"
    assert by_hour[:2].min() > 0
    assert by_hour[18:].min() > 0
