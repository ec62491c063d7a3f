"""Fusion: doubt wins, age counts, two sources must agree, and a jump is not believed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.fusion import SETTLE_NS, Fusion
from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.signals import SIGNALS
from tests.firmware_bridge.parked import MS, SECOND, START


def one(name: str, value: Value, *, unit: str | None = None, at_ns: int = START, quality: Quality = Quality.GOOD):
    fusion = Fusion()
    unit = SIGNALS[name].unit if unit is None else unit
    fusion.accept("a", Reading(name, value, unit, at_ns, quality), START)
    return fusion.facts(START)[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (s.SPEED, math.nan),
        (s.SPEED, math.inf),
        (s.SPEED, 401.0),
        (s.SPEED, True),
        (s.SPEED, "0"),
        (s.CHARGE, -0.1),
        (s.CHARGE, 100.1),
        (s.CONSENT, 1),
        (s.CONSENT, "true"),
        (s.POWER_STATE, "UNDEFINED"),
        (s.POWER_STATE, 0),
        (s.COMPUTE_TEMPERATURE, -256.0),
    ],
)
def test_nonsense_is_invalid(name: str, value: Value) -> None:
    fact = one(name, value)
    assert fact.quality is Quality.INVALID
    assert fact.value is None


def test_none_is_absent_and_another_unit_invalid() -> None:
    assert one(s.SPEED, None).quality is Quality.ABSENT
    assert one(s.SPEED, 0.0, unit="m/s").quality is Quality.INVALID


def test_future_is_invalid() -> None:
    assert one(s.SPEED, 0.0, at_ns=START + 15 * MS).quality is Quality.GOOD
    assert one(s.SPEED, 0.0, at_ns=START + 15 * MS).time_ns == START  # a lease never runs from the future
    assert one(s.SPEED, 0.0, at_ns=START + 25 * MS).quality is Quality.INVALID


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.INVALID, Quality.ABSENT])
def test_the_source_s_own_doubt_is_kept(quality: Quality) -> None:
    fact = one(s.SPEED, 0.0, quality=quality)
    assert fact.value is None
    assert fact.quality is quality


@pytest.mark.parametrize("name", sorted(name for name, row in SIGNALS.items() if not row.is_derived))
def test_every_signal_gets_stale_just_after_its_age_limit(name: str) -> None:
    row = SIGNALS[name]
    value: Value = False if row.kind is bool else "OFF" if row.kind is str else max(row.low, 10.0)
    fusion = Fusion()
    fusion.accept("a", Reading(name, value, row.unit, START, Quality.GOOD), START)
    limit_ns = int(row.age_limit_s * SECOND)
    assert fusion.facts(START + limit_ns)[name].quality is Quality.GOOD
    late = fusion.facts(START + limit_ns + 1)[name]
    assert (late.quality, late.value, late.seen) == (Quality.STALE, None, value)


def two(first: Reading, second: Reading, now_ns: int = START):
    fusion = Fusion()
    fusion.accept("a", first, now_ns)
    fusion.accept("b", second, now_ns)
    return fusion.facts(now_ns)[first.name]


def speed(value: Value, at_ns: int = START, quality: Quality = Quality.GOOD) -> Reading:
    return Reading(s.SPEED, value, "km/h", at_ns, quality)


def test_two_sources() -> None:
    assert two(speed(0.0), speed(0.9)).quality is Quality.GOOD
    assert two(speed(0.0), speed(1.1)).quality is Quality.CONTRADICTORY
    assert two(speed(0.0), speed(0.0, quality=Quality.INVALID)).quality is Quality.INVALID
    assert two(speed(0.0), speed(None)).quality is Quality.GOOD
    assert two(speed(0.0), speed(50.0, START - SECOND)).quality is Quality.GOOD  # the other one is silent since long
    assert two(speed(3.0, START - 50 * MS), speed(2.5)).value == 2.5  # the newer one
    assert two(Reading(s.CONSENT, True, "", START), Reading(s.CONSENT, False, "", START)).quality is (
        Quality.CONTRADICTORY
    )


def test_backwards_time_is_invalid_until_it_grows_again() -> None:
    fusion = Fusion()
    fusion.accept("a", speed(0.0, START), START)
    fusion.accept("a", speed(0.0, START - MS), START)
    assert fusion.facts(START)[s.SPEED].quality is Quality.INVALID
    fusion.accept("a", speed(0.0, START + MS), START + MS)
    assert fusion.facts(START + MS)[s.SPEED].quality is Quality.GOOD


def test_a_changed_scale_is_not_believed_until_it_is_steady() -> None:
    fusion = Fusion()

    def charge(value: float, at_ns: int) -> Quality:
        fusion.accept("a", Reading(s.CHARGE, value, "%", at_ns), at_ns)
        return fusion.facts(at_ns)[s.CHARGE].quality

    assert charge(40.0, START) is Quality.GOOD
    assert charge(80.0, START + SECOND) is Quality.INVALID
    assert charge(80.0, START + SECOND + SETTLE_NS - 1) is Quality.INVALID
    assert charge(80.0, START + SECOND + SETTLE_NS) is Quality.GOOD
    assert charge(79.5, START + 2 * SECOND + SETTLE_NS) is Quality.GOOD


def test_accept_says_what_is_new() -> None:
    fusion = Fusion()
    assert fusion.accept("a", speed(0.0, START), START)
    assert not fusion.accept("a", speed(0.0, START + MS), START + MS)
    assert fusion.accept("a", speed(0.1, START + 2 * MS), START + 2 * MS)
    assert fusion.accept("a", speed(0.1, START + 3 * MS, Quality.INVALID), START + 3 * MS)
    assert not fusion.accept("a", Reading("Vehicle.Unheard", 1.0, "", START), START)
    assert not fusion.accept("a", Reading(s.FILTERED_12V, 13.0, "V", START), START)
    assert set(fusion.facts(START)) == {s.SPEED}


def test_forget_leaves_nothing_behind() -> None:
    fusion = Fusion()
    fusion.accept("a", speed(0.0), START)
    fusion.forget("a")
    assert fusion.facts(START)[s.SPEED].quality is Quality.ABSENT


_values = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-300, 300), st.sampled_from(["OFF", "ON", "?"]))
_readings = st.builds(
    Reading,
    st.sampled_from([s.SPEED, s.GEAR, s.POWER_STATE, s.CONSENT, s.CHARGE]),
    _values,
    st.sampled_from(["", "%", "km/h"]),
    st.integers(START - 2 * SECOND, START + SECOND),
    st.sampled_from(list(Quality)),
)


@given(st.lists(st.tuples(st.sampled_from("ab"), _readings), max_size=30))
def test_a_good_fact_is_always_a_fresh_value_in_range(told: list[tuple[str, Reading]]) -> None:
    fusion = Fusion()
    for source, reading in told:
        fusion.accept(source, reading, START)
    for name, fact in fusion.facts(START).items():
        assert (fact.value is not None) == (fact.quality is Quality.GOOD)
        if fact.quality is Quality.GOOD:
            assert SIGNALS[name].accepts(fact.value)
            assert 0 <= START - fact.time_ns <= SIGNALS[name].age_limit_s * SECOND
            assert any(r.name == name and r.value == fact.value and r.quality is Quality.GOOD for _, r in told)
