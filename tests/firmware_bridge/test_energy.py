"""The energy account: only energy that flows into the battery repays, and no restart forgets."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import energy
from firmware_bridge import signals as s
from firmware_bridge.energy import Account, after, load, store
from firmware_bridge.engine import Engine
from firmware_bridge.fusion import Fact
from firmware_bridge.policy_settings import Energy, Policy, Timing
from firmware_bridge.readings import Quality
from kernels.gate.word import State
from tests.firmware_bridge.parked import MS, PARKED, START, run

SETTINGS = Energy(debt_max_Wh=100.0, day_max_Wh=200.0, hysteresis_Wh=10.0, assumed_power_W=60.0, awake_power_W=20.0)


def facts(pack_W: float | None, compute_W: float | None = 40.0, day: float | None = None) -> dict[str, Fact]:
    values = {s.PACK_POWER: pack_W, s.COMPUTE_POWER: compute_W, s.DAY: day}
    return {name: Fact(name, each, Quality.GOOD, START) for name, each in values.items() if each is not None}


def hours(account: Account, count: float, known: dict[str, Fact], is_working: bool = True) -> Account:
    for _ in range(round(count * 3600)):
        account = after(account, known, 1.0, is_working, SETTINGS)
    return account


def test_on_battery_work_is_debt_and_use() -> None:
    account = hours(Account(), 1.0, facts(-500.0))
    assert account.debt_Wh == pytest.approx(60.0)  # 40 W measured and 20 W for the car kept awake
    assert account.today_Wh == pytest.approx(60.0)


def test_unknown_power_costs_the_assumed() -> None:
    assert hours(Account(), 1.0, facts(None, None)).debt_Wh == pytest.approx(80.0)


def test_on_the_charger_work_is_no_debt_and_the_flow_repays() -> None:
    account = hours(Account(debt_Wh=50.0), 0.01, facts(1000.0))
    assert account.debt_Wh == pytest.approx(40.0)
    assert account.today_Wh == pytest.approx(0.6)
    assert hours(account, 1.0, facts(1000.0), is_working=False).debt_Wh == 0.0


@pytest.mark.parametrize("pack_W", [0.0, -100.0, None])
def test_nothing_else_repays(pack_W: float | None) -> None:
    known = facts(pack_W) | {s.IS_CHARGING: Fact(s.IS_CHARGING, True, Quality.GOOD, START)}
    assert hours(Account(debt_Wh=50.0), 1.0, known, is_working=False).debt_Wh == 50.0


def test_the_day_begins_anew_only_with_a_later_date() -> None:
    account = after(Account(today_Wh=30.0), facts(0.0, day=20000.0), 1.0, False, SETTINGS)
    assert (account.today_Wh, account.day) == (30.0, 20000)  # the first date known ends no day
    account = after(account, facts(0.0, day=19999.0), 1.0, False, SETTINGS)
    assert (account.today_Wh, account.day) == (30.0, 20000)
    account = after(account, facts(0.0, day=20001.0), 1.0, False, SETTINGS)
    assert (account.today_Wh, account.day) == (0.0, 20001)


def test_a_gap_is_no_hour_of_work() -> None:
    assert after(Account(), facts(-1.0), 3600.0, True, SETTINGS).debt_Wh == pytest.approx(60.0 / 3600)
    assert after(Account(), facts(-1.0), -5.0, True, SETTINGS).debt_Wh == 0.0


def test_what_is_stored_is_loaded_and_a_crash_costs_the_worst() -> None:
    account = Account(12.5, 30.25, 20000, is_clean=True)
    assert load(store(account), SETTINGS) == account
    crashed = load(store(dataclasses.replace(account, is_clean=False)), SETTINGS)
    assert crashed.debt_Wh == pytest.approx(12.5 + 80 * 10 / 3600)
    assert crashed.today_Wh == pytest.approx(30.25 + 80 * 10 / 3600)


@given(st.binary(max_size=80))
def test_a_damaged_file_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own, or ours
        load(data, SETTINGS)


@pytest.mark.parametrize("text", ["{}", "[]", '{"version": 1, "debt_Wh": -1, "today_Wh": 0, "day": 1, "is_clean": 1}'])
def test_impossible_accounts(text: str) -> None:
    with pytest.raises(ValueError, match="no energy account"):
        load(text.encode(), SETTINGS)


@given(
    st.lists(
        st.tuples(st.floats(-5000, 5000), st.floats(0, 300), st.booleans(), st.floats(-1, 5)), min_size=1, max_size=50
    )
)
def test_debt_is_never_below_nothing_and_never_above_what_was_used(
    steps: list[tuple[float, float, bool, float]],
) -> None:
    account, used_Wh = Account(), 0.0
    for pack_W, compute_W, is_working, elapsed_s in steps:
        account = after(account, facts(pack_W, compute_W), elapsed_s, is_working, SETTINGS)
        used_Wh += (compute_W + 20.0) / 3600 * min(max(elapsed_s, 0.0), 1.0) * is_working
        assert -1e-9 <= account.debt_Wh <= used_Wh + 1e-9
        assert account.today_Wh == pytest.approx(used_Wh)


def test_a_spent_budget_closes_until_it_is_repaid() -> None:
    policy = Policy(timing=Timing(dwell_s=0.1, drain_s=0.1), energy=SETTINGS)
    engine = Engine(policy, START, account=Account(debt_Wh=89.9))
    driving_out = {**PARKED, s.PACK_POWER: -200.0, s.IS_CHARGING: False, s.COMPUTE_POWER: 280.0}
    assert run(engine, driving_out, START, 1000).state is State.OPEN
    now_ns = START + 1000 * MS
    decision = run(engine, driving_out, now_ns, 130_000, step_ms=100)
    assert decision.reason_names == ("energy_budget_spent",)
    assert 99.9 < engine.account.debt_Wh < 100.1
    now_ns += 130_000 * MS
    charging = {**PARKED, s.PACK_POWER: 7200.0}
    assert run(engine, charging, now_ns, 4_000, step_ms=100).state is State.CLOSED  # 8 Wh: not yet enough
    assert run(engine, charging, now_ns + 4_000 * MS, 2_000, step_ms=100).state is State.OPEN


def test_spent_has_nothing_left() -> None:
    left = energy.facts_of(energy.spent(SETTINGS), SETTINGS, START)
    assert {fact.value for fact in left.values()} == {0.0}
