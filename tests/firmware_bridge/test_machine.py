"""The machine: OPEN only out of a whole, watched dwell; every way out of OPEN is immediate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import machine
from firmware_bridge.machine import Gate, step
from firmware_bridge.policy import Because, Memory, Verdict
from firmware_bridge.policy_settings import Timing
from kernels.gate.word import State
from tests.firmware_bridge.parked import MS, SECOND, START

TIMING = Timing(dwell_s=0.5, drain_s=0.2, fault_hold_s=1.0, lease_ms=200)


def well(now_ns: int, age_ms: int = 0) -> Verdict:
    return Verdict((), now_ns - age_ms * MS, Memory())


def bad(now_ns: int) -> Verdict:
    return Verdict((Because("door_open", "", "", True, "", None, None, now_ns),), now_ns, Memory())


def walk(gate: Gate, until_ns: int, verdict=well, step_ms: int = 20) -> Gate:
    for now_ns in range(gate.stepped_ns + step_ms * MS, until_ns + 1, step_ms * MS):
        gate = step(gate, verdict(now_ns), TIMING, now_ns)
    return gate


def open_gate() -> Gate:
    gate = walk(machine.start(START), START + 540 * MS)
    assert gate.state is State.OPEN
    return gate


def test_opens_after_exactly_the_dwell() -> None:
    gate = step(machine.start(START), well(START), TIMING, START)
    assert gate.state is State.WARMING
    assert machine.opens_ns(gate, TIMING) == START + 500 * MS
    gate = walk(gate, START + 480 * MS)
    assert gate.state is State.WARMING
    gate = step(gate, well(START + 500 * MS - 1), TIMING, START + 500 * MS - 1)
    assert gate.state is State.WARMING
    gate = step(gate, well(START + 500 * MS), TIMING, START + 500 * MS)
    assert gate.state is State.OPEN
    assert gate.lease_until_ns == START + 700 * MS


@pytest.mark.parametrize("state", list(State))
def test_anything_closes_at_once(state: State) -> None:
    now_ns = START + 20 * MS
    gate = step(Gate(state, START, START), bad(now_ns), TIMING, now_ns)
    assert gate.state is not State.OPEN
    assert gate.lease_until_ns == 0


def test_open_drains_then_warms_or_closes() -> None:
    gate = open_gate()
    left_ns = gate.stepped_ns + 20 * MS
    gate = step(gate, bad(left_ns), TIMING, left_ns)
    assert gate.state is State.DRAINING
    assert machine.opens_ns(gate, TIMING) == left_ns + 700 * MS
    draining = walk(gate, left_ns + 180 * MS)
    assert draining.state is State.DRAINING
    assert walk(draining, left_ns + 200 * MS).state is State.WARMING
    assert walk(draining, left_ns + 200 * MS, bad).state is State.CLOSED
    assert walk(gate, left_ns + 680 * MS).state is State.WARMING
    assert walk(gate, left_ns + 700 * MS).state is State.OPEN


def test_one_bad_moment_begins_the_dwell_anew() -> None:
    gate = walk(machine.start(START), START + 480 * MS)
    gate = step(gate, bad(START + 490 * MS), TIMING, START + 490 * MS)
    assert gate.state is State.CLOSED
    gate = walk(gate, START + 990 * MS)
    assert gate.state is State.WARMING
    assert walk(gate, START + 1030 * MS).state is State.OPEN


def test_time_that_nobody_watched_is_no_dwell() -> None:
    gate = walk(machine.start(START), START + 100 * MS)
    gate = step(gate, well(START + 10 * SECOND), TIMING, START + 10 * SECOND)
    assert gate.state is State.WARMING
    assert gate.was_stopped
    assert walk(gate, START + 10 * SECOND + 480 * MS).state is State.WARMING
    assert walk(gate, START + 10 * SECOND + 500 * MS).state is State.OPEN


def test_a_gap_of_exactly_the_lease_is_none() -> None:
    gate = walk(machine.start(START), START + 100 * MS)
    assert not step(gate, well(START + 300 * MS), TIMING, START + 300 * MS).was_stopped
    assert step(gate, well(START + 300 * MS + 1), TIMING, START + 300 * MS + 1).was_stopped


def test_a_stopped_bridge_warms_again() -> None:
    gate = open_gate()
    now_ns = gate.stepped_ns + 201 * MS
    gate = step(gate, well(now_ns), TIMING, now_ns)
    assert (gate.state, gate.was_stopped, gate.since_ns) == (State.WARMING, True, now_ns)


def test_old_evidence_keeps_nothing_open() -> None:
    gate = open_gate()
    now_ns = gate.stepped_ns + 20 * MS
    assert step(gate, well(now_ns, age_ms=199), TIMING, now_ns).state is State.OPEN
    assert step(gate, well(now_ns, age_ms=200), TIMING, now_ns).state is State.DRAINING
    assert step(gate, Verdict((), 0, Memory()), TIMING, now_ns).state is State.DRAINING


def test_faults_hold() -> None:
    gate = open_gate()
    now_ns = gate.stepped_ns + 20 * MS
    gate = step(gate, well(now_ns), TIMING, now_ns, is_faulted=True)
    assert gate.state is State.FAULTED
    assert machine.opens_ns(gate, TIMING) is None
    assert walk(gate, now_ns + 980 * MS).state is State.FAULTED
    assert walk(gate, now_ns + 1000 * MS).state is State.CLOSED
    gate = step(gate, well(now_ns + 500 * MS), TIMING, now_ns + 500 * MS, is_faulted=True)
    assert gate.since_ns == now_ns + 500 * MS  # the hold begins with the last fault


def test_backwards_time_is_a_fault() -> None:
    gate = open_gate()
    assert step(gate, well(gate.stepped_ns - 1), TIMING, gate.stepped_ns - 1).state is State.FAULTED
    assert step(gate, well(gate.stepped_ns), TIMING, gate.stepped_ns).state is State.OPEN


_steps = st.lists(
    st.tuples(
        st.integers(-5, 260),  # ms since the last step
        st.sampled_from(["well", "bad", "old", "fault"]),
    ),
    max_size=120,
)


@given(_steps)
def test_open_needs_a_watched_dwell_before_it(steps: list[tuple[int, str]]) -> None:
    """An oracle of its own: the last moment at which anything was wrong is at least a dwell ago."""
    gate = machine.start(START)
    now_ns = START
    wrong_ns: int | None = None
    was_watched = False
    for elapsed_ms, kind in steps:
        previous_ns, now_ns = now_ns, now_ns + elapsed_ms * MS
        verdict = {"bad": bad(now_ns), "old": well(now_ns, age_ms=200)}.get(kind, well(now_ns))
        gate = step(gate, verdict, TIMING, now_ns, is_faulted=kind == "fault")
        was_watched = was_watched and 0 <= now_ns - previous_ns <= 200 * MS
        if kind != "well" or not was_watched:
            wrong_ns, was_watched = now_ns, True
        if gate.state is State.OPEN:
            assert kind == "well"
            assert wrong_ns is not None
            assert now_ns - wrong_ns >= 500 * MS
            assert now_ns < gate.lease_until_ns <= now_ns + 200 * MS
