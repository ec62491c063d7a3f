"""Admission: what it promises holds in a simulation of every moment, and what it refuses it explains."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given, settings

from runtime.residency.admission import HEADROOM, Admission, AdmissionRefused, Demand, Device

DEVICE = Device(lanes=1, read_GBps=20.0, int8_GOPs=200.0)


def a_demand(cost_ms: float, period_ms: float = 331.0, deadline_ms: float = 300.0) -> Demand:
    return Demand(period_ms, deadline_ms, bytes_read=0, operations=0, measured_ms=cost_ms)


def test_the_cost_is_the_roof_that_is_hit_first() -> None:
    assert Demand(100, 100, bytes_read=40_000_000, operations=0).cost_ms(DEVICE) == pytest.approx(2.0)
    assert Demand(100, 100, bytes_read=0, operations=800_000_000).cost_ms(DEVICE) == pytest.approx(4.0)
    assert Demand(100, 100, bytes_read=40_000_000, operations=800_000_000).cost_ms(DEVICE) == pytest.approx(4.0)
    assert a_demand(7.5).cost_ms(DEVICE) == 7.5


def test_as_many_as_fit_and_one_more_is_refused_with_the_reason() -> None:
    admission = Admission(Device(lanes=2, read_GBps=20, int8_GOPs=200))
    lanes = [admission.admit(f"s{number}", a_demand(9.3)) for number in range(58)]
    with pytest.raises(
        AdmissionRefused, match=r"58 sessions are promised: within 300 ms .* 279\.0 ms, 270\.0 may be used"
    ):
        admission.admit("one more", a_demand(9.3))
    assert sorted(set(lanes)) == [0, 1]
    assert admission.sessions == len(lanes) == 58
    admission.leave("s3")
    admission.leave("nobody")
    admission.admit("again", a_demand(9.3))
    with pytest.raises(ValueError, match="admitted already"):
        admission.admit("again", a_demand(1))


def test_the_memory_is_shared_by_all_lanes() -> None:
    admission = Admission(Device(lanes=8, read_GBps=10, int8_GOPs=1000))
    heavy = Demand(100, 100, bytes_read=100_000_000, operations=0)
    for number in range(9):
        admission.admit(f"s{number}", heavy)
    with pytest.raises(
        AdmissionRefused, match=r"would read 10\.00 GB/s in all, 9\.00 of the measured 10\.00 may be used"
    ):
        admission.admit("more", heavy)


def test_a_long_run_is_refused_beside_a_short_deadline() -> None:
    admission = Admission(DEVICE)
    admission.admit("typist", a_demand(2, period_ms=100, deadline_ms=25))
    with pytest.raises(AdmissionRefused, match="within 25 ms"):
        admission.admit("thinker", a_demand(60, period_ms=1000, deadline_ms=1000))
    admission.admit("quick thinker", a_demand(15, period_ms=1000, deadline_ms=1000))


def test_a_lower_duty_breaks_promises_and_says_whose() -> None:
    admission = Admission(DEVICE)
    for number in range(20):
        admission.admit(f"s{number}", a_demand(10))
    gone = admission.broken(0.5)
    assert next(iter(gone)) == "s19"
    assert all("may be used" in reason for reason in gone.values())
    assert 0 < admission.sessions < 14
    with pytest.raises(AdmissionRefused):
        admission.admit("more", a_demand(10))
    assert admission.broken(1.0) == {}
    admission.admit("more", a_demand(10))


def test_fewer_lanes_move_what_fits_and_break_the_rest() -> None:
    admission = Admission(Device(lanes=2, read_GBps=20, int8_GOPs=200))
    lanes = {name: admission.admit(name, a_demand(cost)) for name, cost in (("a", 200), ("b", 60), ("c", 150))}
    assert (lanes["a"], lanes["b"]) == (0, 0)
    assert lanes["c"] == 1
    gone = admission.broken(1.0, lanes=1)
    assert list(gone) == ["c"]
    assert admission.sessions == 2
    admission.leave("a")
    assert admission.broken(1.0, lanes=2) == {}
    assert admission.admit("c", a_demand(150)) == 0
    assert admission.broken(1.0, lanes=1) == {}
    assert admission.lane_of("c") == 0


def test_lanes_that_have_the_model_go_first() -> None:
    admission = Admission(Device(lanes=2, read_GBps=20, int8_GOPs=200))
    admission.admit("a", a_demand(10))
    assert admission.admit("b", a_demand(10), prefer={1}) == 1
    with pytest.raises(AdmissionRefused):
        admission.admit("d", a_demand(289), prefer={1})


def test_what_a_session_turns_out_to_cost_counts_for_the_next() -> None:
    admission = Admission(DEVICE)
    admission.admit("a", a_demand(10))
    admission.update("a", a_demand(250))
    with pytest.raises(AdmissionRefused):
        admission.admit("b", a_demand(40))


def test_a_session_alone_is_taken_and_kept_whatever_it_needs() -> None:
    admission = Admission(DEVICE, takes_first=True)
    admission.admit("huge", a_demand(5000))
    with pytest.raises(AdmissionRefused):
        admission.admit("small", a_demand(1))
    assert admission.broken(0.1) == {}
    assert admission.sessions == 1


@pytest.mark.parametrize("values", [(0, 1, 0, 0), (1, 0, 0, 0), (1, 1, -1, 0), (float("nan"), 1, 0, 0)])
def test_demands_that_cannot_be(values: tuple[float, float, int, int]) -> None:
    with pytest.raises(ValueError, match="no session can ask"):
        Demand(*values)


def simulate(tasks: list[tuple[int, int, int]], offsets: list[int], duty_pct: int, until: int) -> bool:
    """Returns whether non-preemptive EDF meets all deadlines, in ticks; work is done in the first part of 100 ticks."""
    jobs = sorted(
        (offset + n * period, offset + n * period + deadline, cost)
        for (cost, period, deadline), offset in zip(tasks, offsets, strict=True)
        for n in range((until - offset) // period + 1)
    )
    ready: list[tuple[int, int]] = []
    now, index = 0, 0
    while index < len(jobs) or ready:
        while index < len(jobs) and jobs[index][0] <= now:
            ready.append((jobs[index][1], jobs[index][2]))
            index += 1
        if not ready:
            now = jobs[index][0]
            continue
        ready.sort()
        deadline, left = ready.pop(0)
        while left:
            left -= now % 100 < duty_pct
            now += 1
        if now > deadline:
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(
    tasks=st.lists(
        st.tuples(st.integers(1, 30), st.integers(40, 300), st.integers(20, 300)).filter(lambda t: t[0] < t[2]),
        min_size=1,
        max_size=6,
    ),
    offsets=st.lists(st.integers(0, 120), min_size=6, max_size=6),
    duty_pct=st.sampled_from([100, 100, 80, 50]),
)
def test_what_is_admitted_meets_every_deadline(
    tasks: list[tuple[int, int, int]], offsets: list[int], duty_pct: int
) -> None:
    admission = Admission(DEVICE, duty=duty_pct / 100)
    admitted = []
    for number, (cost, period, deadline) in enumerate(tasks):
        try:
            # The headroom is for a real machine; the simulation has none to give away.
            admission.admit(str(number), a_demand(cost * HEADROOM, period, deadline))
        except AdmissionRefused:
            continue
        admitted.append((cost, period, deadline))
    assume(admitted)
    assert simulate(admitted, offsets[: len(admitted)], duty_pct, 3000)
    assert simulate(admitted, [0] * len(admitted), duty_pct, 3000)
