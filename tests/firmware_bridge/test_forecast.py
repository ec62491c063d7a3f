"""The forecast: the least of what is left, named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.energy import Account
from firmware_bridge.forecast import LONGEST_S, Forecast, forecast
from firmware_bridge.fusion import Fact
from firmware_bridge.governor import Governor
from firmware_bridge.policy_settings import Charge, Energy, Owner, Policy
from firmware_bridge.readings import Quality, Value
from tests.firmware_bridge.parked import PARKED, START

POLICY = Policy(
    energy=Energy(debt_max_Wh=100.0, day_max_Wh=1000.0, assumed_power_W=100.0, awake_power_W=100.0),
    charge=Charge(reserve_pct=50.0, pack_Wh=50_000.0),
)


def facts(**values: Value) -> dict[str, Fact]:
    known = {**PARKED, s.PACK_POWER: -40.0, s.COMPUTE_POWER: 100.0, **values}
    return {name: Fact(name, value, Quality.GOOD, START, value) for name, value in known.items()}


def ahead(account: Account | None = None, governor: Governor | None = None, settings: Policy = POLICY, **values: Value):
    return forecast(facts(**values), account or Account(), governor or Governor(), settings)


def test_on_battery_the_debt_is_the_bound() -> None:
    assert ahead() == Forecast(1800.0, "debt")  # 100 Wh at 200 W
    assert ahead(Account(debt_Wh=90.0)) == Forecast(180.0, "debt")
    assert ahead(Account(debt_Wh=130.0)) == Forecast(0.0, "debt")


def test_on_the_charger_the_day_is() -> None:
    assert ahead(Account(today_Wh=500.0), **{s.PACK_POWER: 7000.0}) == Forecast(9000.0, "day_budget")


def test_charge_above_the_reserve() -> None:
    assert ahead(**{s.CHARGE: 50.1}) == Forecast(900.0, "charge")  # 50 Wh at 200 W


def test_a_steep_rise_of_heat() -> None:
    assert ahead(governor=Governor(1.0, 80.0, 0.5, 1)) == Forecast(10.0, "heat")
    assert ahead(governor=Governor(1.0, 70.0, 0.5, 1)).limited_by == "debt"


@pytest.mark.parametrize(
    ("hours", "minute", "expected_min"),
    [
        (("22:00-06:00",), 1430.0, 370),
        (("22:00-06:00",), 350.0, 10),
        (("10:00-11:00", "11:00-12:00"), 630.0, 90),
        (("00:00-12:00", "12:00-24:00"), 630.0, math.inf),
        (("22:00-06:00",), 700.0, 0),
    ],
)
def test_the_owner_s_hours(hours: tuple[str, ...], minute: float, expected_min: float) -> None:
    settings = Policy(
        energy=Energy(debt_max_Wh=50_000.0, day_max_Wh=50_000.0, assumed_power_W=1.0), owner=Owner(hours=hours)
    )
    found = ahead(settings=settings, **{s.MINUTE_OF_DAY: minute, s.COMPUTE_POWER: 0.1, s.PACK_POWER: 9.0})
    if math.isinf(expected_min):
        assert found == Forecast(LONGEST_S, "nothing")
    else:
        assert found == Forecast(expected_min * 60.0, "hours")


@given(st.floats(0, 200), st.floats(0, 2000), st.floats(0, 100), st.one_of(st.none(), st.floats(-1e4, 1e4)))
def test_it_is_always_a_length(debt: float, today: float, charge: float, pack: float | None) -> None:
    found = ahead(Account(debt, today), **{s.CHARGE: charge, s.PACK_POWER: pack})
    assert 0.0 <= found.length_s <= LONGEST_S
