"""The duty of a thread: its share of each window, debts for what could not be paused, nothing saved."""

from __future__ import annotations

import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kernels.gate.word import GateToken
from runtime.backends.protocol import StepResult
from runtime.residency.pace import CLOSED_LOOK_NS, WINDOW_NS, Pacer, paced
from tests.backends.made import CountedGate


class Thread:
    """A thread's time: `work` takes CPU and wall, `rest` wall alone."""

    def __init__(self, duty_permille: int) -> None:
        self.duty_permille = duty_permille
        self.now_ns, self.used_ns = 7 * WINDOW_NS, 1_000_000
        self.pacer = Pacer(lambda: self.duty_permille, clock=lambda: self.now_ns, cpu_clock=lambda: self.used_ns)

    def work(self, ns: int) -> None:
        self.now_ns += ns
        self.used_ns += ns

    def rest(self, ns: int) -> None:
        self.now_ns += ns


def test_a_share_of_each_window_and_then_a_pause_to_its_end() -> None:
    thread = Thread(300)
    assert thread.pacer.wait_ns() == 0
    assert thread.pacer.until_ns() == thread.now_ns + 30_000_000
    thread.work(30_000_000)
    assert thread.pacer.wait_ns() == 70_000_000
    thread.rest(70_000_000)
    assert thread.pacer.wait_ns() == 0
    assert thread.pacer.credit_ns() == 30_000_000


def test_what_was_too_long_is_paid_later_and_what_is_left_is_not_saved() -> None:
    thread = Thread(300)
    thread.pacer.credit_ns()
    thread.work(95_000_000)
    waited = 0
    while wait_ns := thread.pacer.wait_ns():
        thread.rest(wait_ns)
        waited += wait_ns
    assert waited == 205_000_000, "the debt of 65 ms takes the next two windows, and 25 ms are left in the third"
    assert thread.pacer.credit_ns() == 25_000_000
    thread.rest(10 * WINDOW_NS)
    assert thread.pacer.credit_ns() == 30_000_000


def test_all_of_the_time_is_never_waited_for_and_leaves_no_debt() -> None:
    thread = Thread(1000)
    for _ in range(30):
        assert thread.pacer.wait_ns() == 0
        assert not thread.pacer.is_limited
        thread.work(37_000_000)
    thread.duty_permille = 200
    assert thread.pacer.is_limited
    assert thread.pacer.credit_ns() <= 20_000_000


def test_a_closed_gate_is_looked_at_often() -> None:
    thread = Thread(0)
    assert 0 < thread.pacer.wait_ns() <= CLOSED_LOOK_NS
    thread.duty_permille = 500
    thread.rest(WINDOW_NS)
    assert thread.pacer.wait_ns() == 0


@given(st.integers(10, 999), st.lists(st.integers(1, 60_000_000), min_size=1, max_size=200))
def test_the_duty_holds_over_any_stretch(duty_permille: int, pieces: list[int]) -> None:
    """Work in pieces that cannot be stopped: all but the last is paid for, up to a window's share."""
    thread = Thread(duty_permille)
    began_ns, used_ns = thread.now_ns, thread.used_ns
    for piece in pieces:
        while wait_ns := thread.pacer.wait_ns():
            thread.rest(wait_ns)
        thread.work(piece)
    windows = (thread.now_ns - began_ns) // WINDOW_NS + 1
    share_ns = WINDOW_NS * duty_permille // 1000
    assert thread.used_ns - used_ns - pieces[-1] <= windows * share_ns


@pytest.mark.parametrize("keeps_progress", [True, False])
def test_a_run_is_cut_at_its_share_if_it_can_be_and_else_pays_for_it_after(
    monkeypatch: pytest.MonkeyPatch, keeps_progress: bool
) -> None:
    thread = Thread(300)
    monkeypatch.setattr(time, "sleep", lambda seconds: thread.rest(round(seconds * 1e9)))
    left_ns, worked = 100_000_000, []

    class Window(CountedGate):
        until_ns = 0

        def until(self, until_ns: int) -> GateToken:
            made = Window(None)
            made.until_ns = until_ns
            return made.as_token()

    def step(token: GateToken | None) -> StepResult:
        nonlocal left_ns
        until_ns = getattr(token, "until_ns", 0)
        ns = min(left_ns, until_ns - thread.now_ns) if until_ns else left_ns
        worked.append(ns)
        thread.work(ns)
        left_ns -= ns
        return StepResult.PREEMPTED if left_ns else StepResult.DONE

    gate = Window(None).as_token()
    assert paced(step, gate, thread.pacer, keeps_progress=keeps_progress) is StepResult.DONE
    assert worked == ([30_000_000] * 3 + [10_000_000] if keeps_progress else [100_000_000])
    assert (thread.pacer.paused_ns > 0) is keeps_progress, "what was slept within the run is told"
    left_ns, worked[:] = 1_000_000, []
    assert paced(step, gate, thread.pacer, keeps_progress=keeps_progress) is StepResult.DONE
    assert thread.pacer.paused_ns > 0 or keeps_progress, "the next run pays"
