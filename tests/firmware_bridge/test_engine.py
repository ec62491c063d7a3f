"""The engine as a whole: what is published for any course of readings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import policy
from firmware_bridge import signals as s
from firmware_bridge.policy import rules_of
from firmware_bridge.proof import oracle
from firmware_bridge.readings import Quality, Value
from kernels.gate.word import REASONS, State
from tests.firmware_bridge.parked import MS, PARKED, QUICK, SECOND, opened, run, tell

USED = sorted(rule for rule in {rule.signal for rule in rules_of(QUICK)} if not s.SIGNALS[rule].is_derived)
FAST = [s.GEAR, s.SPEED]


def test_opens_for_a_parked_car_and_grants_the_limits() -> None:
    engine, now_ns = opened()
    decision = engine.evaluate(now_ns)
    assert decision.reasons == ()
    assert decision.lease_until_ns == now_ns + 200 * MS
    assert (decision.duty_permille, decision.max_threads, decision.power_budget_mW) == (1000, 1, 0)


@pytest.mark.parametrize("signal", USED)
def test_a_silent_signal_closes_at_its_age_limit(signal: str) -> None:
    engine, now_ns = opened()
    others = {name: value for name, value in PARKED.items() if name != signal}
    limit_ms = int(s.SIGNALS[signal].age_limit_s * 1000)
    step_ms = 20 if limit_ms <= 5000 else 100
    decision = run(engine, others, now_ns, limit_ms - step_ms, step_ms=step_ms)
    assert decision.state is State.OPEN
    decision = run(engine, others, now_ns + limit_ms * MS, 2 * step_ms, step_ms=step_ms)
    assert decision.state is State.DRAINING
    assert "signal_stale" in decision.reason_names


def _closing_readings() -> list[tuple[str, Value]]:
    found = []
    for need in oracle.NEEDS:
        if not s.SIGNALS[need.signal].is_derived and need.signal in USED:
            far = [each for low, high in need.within for each in (low - 30.0, high + 30.0) if abs(each) < 1000]
            found += [(need.signal, each) for each in (*need.others, *far)]
    return found


@pytest.mark.parametrize(("signal", "value"), _closing_readings())
def test_one_reading_closes_at_once(signal: str, value: Value) -> None:
    """No dwell, filter or hysteresis delays a closing: the very next evaluation after the reading is not open."""
    engine, now_ns = opened()
    tell(engine, {signal: value}, now_ns + 1)
    decision = engine.evaluate(now_ns + 1)
    assert decision.state is State.DRAINING
    assert decision.lease_until_ns == 0


def test_the_lease_follows_gear_and_speed() -> None:
    engine, now_ns = opened()
    tell(engine, {s.GEAR: 126.0}, now_ns + 100 * MS)
    assert engine.evaluate(now_ns + 100 * MS).lease_until_ns == now_ns + 200 * MS
    tell(engine, {s.SPEED: 0.0}, now_ns + 120 * MS)
    assert engine.evaluate(now_ns + 120 * MS).lease_until_ns == now_ns + 300 * MS


def test_a_source_that_ends_closes_at_once() -> None:
    engine, now_ns = opened()
    engine.forget("car")
    decision = engine.evaluate(now_ns + MS)
    assert decision.state is State.DRAINING
    assert decision.reason_names == ("signal_absent",)


def test_the_12v_average_closes_late_and_the_cut_at_once() -> None:
    engine, now_ns = opened()
    sagging = {**PARKED, s.VOLTAGE_12V: 11.5}
    assert run(engine, sagging, now_ns, 20_000, step_ms=100).state is State.OPEN  # a load of seconds is forgiven
    now_ns += 20_000 * MS
    assert run(engine, sagging, now_ns, 90_000, step_ms=100).reason_names == ("low_12v",)
    engine, now_ns = opened()
    tell(engine, {s.VOLTAGE_12V: 10.7}, now_ns)
    assert engine.evaluate(now_ns).reason_names == ("low_12v",)


def test_faults_and_stops_are_named() -> None:
    engine, now_ns = opened()
    decision = engine.evaluate(now_ns, fault="no disk")
    assert (decision.state, decision.reason_names) == (State.FAULTED, ("fault",))
    assert decision.reasons[0].says == "no disk"
    engine, now_ns = opened()
    assert engine.evaluate(now_ns - 1).reason_names == ("fault",)
    engine, now_ns = opened()
    decision = engine.was_stopped(now_ns + SECOND)
    assert (decision.state, decision.reason_names) == (State.WARMING, ("bridge_was_stopped", "dwell"))


_changes = st.one_of(
    st.tuples(st.just("value"), st.sampled_from(USED), st.one_of(st.none(), st.booleans(), st.floats(-300, 300))),
    st.tuples(st.just("quality"), st.sampled_from(USED), st.sampled_from([Quality.INVALID, Quality.ABSENT])),
    st.tuples(st.just("silent"), st.sampled_from(USED), st.none()),
    st.tuples(st.just("well"), st.sampled_from(USED), st.none()),
    st.tuples(st.just("gap"), st.sampled_from(USED), st.integers(1, 1000)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_changes, st.integers(1, 40)), max_size=25))
def test_never_open_unless_all_is_known_and_well(course: list[tuple[tuple[str, str, Value | Quality], int]]) -> None:
    """The oracle knows only what was last said of each signal and when; it shares no code with the policy."""
    engine, now_ns = opened()
    values: dict[str, Value] = dict(PARKED)
    doubted: set[str] = set()
    said_ns = dict.fromkeys(values, now_ns)
    epochs = 0
    for (kind, name, argument), ticks in course:
        if kind == "value":
            values[name] = argument  # type: ignore[assignment]
        elif kind == "quality":
            doubted.add(name)
        elif kind == "silent":
            values.pop(name, None)
        elif kind == "well":
            values[name] = PARKED[name]
            doubted.discard(name)
        else:
            now_ns += int(argument) * MS  # type: ignore[arg-type]
        for _ in range(ticks):
            now_ns += 20 * MS
            for each, value in values.items():
                tell(engine, {each: value}, now_ns, quality=Quality.INVALID if each in doubted else Quality.GOOD)
                said_ns[each] = now_ns
            decision = engine.evaluate(now_ns)
            fresh = policy.evaluate(engine.facts, engine._rules, QUICK, engine._memory, now_ns)
            assert {each.key for each in fresh.reasons} == {each.key for each in engine._verdict.reasons}  # type: ignore[union-attr]
            assert (decision.state is State.OPEN) == (decision.reasons == ())
            assert set(decision.reason_names) <= set(REASONS)
            if decision.state is State.OPEN:
                epochs += 1
                assert values.get(s.GEAR, 126.0) == 126.0
                assert abs(values.get(s.SPEED, 0.0)) <= 0.5  # type: ignore[arg-type]
                assert values.get(s.CONSENT, True) is True
                assert values.get(s.POWER_STATE, "LOCK") in ("LOCK", "OFF")
                assert not doubted & set(values)
                assert now_ns < decision.lease_until_ns <= now_ns + 200 * MS
                for each in USED:
                    assert now_ns - said_ns[each] <= s.SIGNALS[each].age_limit_s * SECOND
                    assert values.get(each, PARKED[each]) is not None
