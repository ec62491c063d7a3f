"""The governor: never above the limit on the model, more work than on/off control, and closed when it is blind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import governor
from firmware_bridge import signals as s
from firmware_bridge.engine import Engine
from firmware_bridge.governor import Governor, after, grant
from firmware_bridge.policy_settings import Heat, Limits, Policy, Timing
from firmware_bridge.thermal_model import AMBIENTS_C, BOARDS, compare, governed, on_off, run
from tests.firmware_bridge.parked import MS, PARKED, SECOND, START
from tests.firmware_bridge.parked import run as run_engine

HEAT = Heat(compute_max_C=85.0, target_below_C=3.0)


def settle(temperature_C: float, seconds: int, state: Governor | None = None) -> Governor:
    state = state or Governor()
    begin_ns = state.time_ns or START
    for second in range(1, seconds + 1):
        state = after(state, temperature_C, begin_ns + second * SECOND, HEAT)
    return state


def test_cool_gives_all_and_hot_gives_nothing() -> None:
    assert grant(settle(50.0, 3), HEAT, Limits()).duty_permille == 1000
    assert grant(settle(85.0, 1), HEAT, Limits()).duty_permille == 0
    cooled = settle(50.0, 3)
    assert after(cooled, 85.0, cooled.time_ns + SECOND, HEAT).level == 0.0


def test_a_start_above_the_target_begins_at_nothing() -> None:
    assert settle(83.0, 1).level == 0.0
    assert settle(81.9, 1).level == 1.0


def test_a_rise_is_seen_before_the_target_is_reached() -> None:
    state = settle(70.0, 3)
    for second in range(1, 8):
        state = after(state, 70.0 + 1.5 * second, START + (3 + second) * SECOND, HEAT)
    assert state.temperature_C is not None
    assert state.temperature_C < 82.0
    assert state.level < 1.0


def test_blind_is_nothing_and_old_readings_change_nothing() -> None:
    state = settle(50.0, 3)
    assert after(state, None, START + 9 * SECOND, HEAT).level == 0.0
    assert after(state, 99.0, state.time_ns, HEAT) == state


def test_a_level_too_small_for_a_window_is_none() -> None:
    assert grant(Governor(level=0.049), HEAT, Limits()).duty_permille == 0
    assert grant(Governor(level=0.05), HEAT, Limits()).duty_permille == 50


def test_power_control_sets_the_budget() -> None:
    heat = Heat(control="power")
    limits = Limits(power_budget_mW=60_000, power_floor_mW=14_000)
    assert grant(Governor(level=1.0), heat, limits) == governor.Grant(1000, 60_000)
    assert grant(Governor(level=0.5), heat, limits) == governor.Grant(1000, 37_000)
    assert grant(Governor(level=0.0), heat, limits) == governor.Grant(0, 1)  # 0 would be: not limited


@given(st.lists(st.tuples(st.one_of(st.none(), st.floats(-50, 130)), st.integers(-1000, 5000)), max_size=60))
def test_what_is_granted_is_always_in_range(course: list[tuple[float | None, int]]) -> None:
    state, now_ns = Governor(), START
    for temperature_C, elapsed_ms in course:
        now_ns += elapsed_ms * MS
        state = after(state, temperature_C, now_ns, HEAT)
        assert 0.0 <= state.level <= 1.0
        assert 0 <= grant(state, HEAT, Limits(duty_max_permille=800)).duty_permille <= 800
        is_new = state.time_ns == now_ns
        if temperature_C is not None and temperature_C >= HEAT.compute_max_C and is_new:
            assert state.level == 0.0


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
@pytest.mark.parametrize("ambient_C", AMBIENTS_C)
def test_the_limit_is_approached_and_not_crossed(board, ambient_C: float) -> None:
    result = run(board, ambient_C, 1.5, governed(80.0), is_power=False)
    assert result.peak_C <= 81.0
    assert result.peak_C >= 79.0


def test_more_work_than_on_off_at_the_same_peak() -> None:
    rows = compare(hours=1.0)
    assert len(rows) == len(BOARDS) * len(AMBIENTS_C)
    for row in rows:
        assert row["gain_duty"] >= 1.03, row  # type: ignore[operator]
        assert row["gain_power"] >= 1.15, row  # type: ignore[operator]
        assert row["peak_C"]["duty"] <= row["peak_C"]["on_off"]  # type: ignore[index]


def test_on_off_has_hysteresis() -> None:
    control = on_off(75.0, 80.0)
    assert [control(0.0, temperature) for temperature in (70, 79.9, 80, 79, 75.1, 75, 79)] == [1, 1, 0, 0, 0, 1, 1]


def test_the_engine_grants_less_when_it_gets_warm() -> None:
    engine = Engine(Policy(timing=Timing(dwell_s=0.1)), START)
    assert run_engine(engine, PARKED, START, 400).duty_permille == 1000
    warm = {**PARKED, s.COMPUTE_TEMPERATURE: 84.0}
    decision = run_engine(engine, warm, START + 400 * MS, 20_000, step_ms=100)
    assert decision.reasons == ()
    assert decision.duty_permille < 900
