"""Jobs on windows: by hand where it can be counted, and the laws that hold in any day."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.fleet.simulate.jobs import Handover, Outcome, run_jobs

EXACT = Handover(handover_s=0.5, resume_s=1.0, silent=0.0)


def run(
    windows: list[tuple[float, float]], jobs: list[tuple[float, float]], change: Handover = EXACT, until: float = 1000
) -> Outcome:
    start, end = (np.array(part, float) for part in zip(*windows, strict=True))
    arrival, work = (np.array(part, float) for part in zip(*jobs, strict=True))
    return run_jobs(start, end, arrival, work, step_s=1.0, until_s=until, change=change, rng=np.random.default_rng(1))


def test_a_job_that_nothing_disturbs() -> None:
    out = run([(0, 100)], [(3.25, 10)])
    assert out.first_start.tolist() == [3.25]
    assert out.done_at.tolist() == [13.25]
    assert (out.yields.tolist(), out.busy_s.tolist()) == ([0], [10.0])


def test_a_job_that_is_cut_off_goes_on_elsewhere() -> None:
    out = run([(0, 10), (5, 100)], [(4, 10)])
    assert out.done_at.tolist() == [10 + 0.5 + (10 - 6) + 1.0], "hand-over, what was left, and what resuming costs"
    assert out.yields.tolist() == [1]
    assert out.busy_s.tolist() == [6.0, 5.0]


def test_a_silent_end_waits_for_the_lease() -> None:
    out = run([(0, 10), (5, 100)], [(4, 10)], Handover(resume_s=0.0, silent=1.0, lease_s=12.0))
    assert out.done_at.tolist() == [10 + 12.0 + 4.0]


def test_one_car_does_jobs_one_after_the_other_oldest_first() -> None:
    out = run([(0, 100)], [(1, 10), (2, 10), (3, 10)])
    assert out.first_start.tolist() == [1, 11, 21]
    assert out.queued.max() == 2


def test_what_was_cut_off_goes_before_what_is_new() -> None:
    out = run([(0, 10), (30, 100)], [(5, 10), (6, 10)])
    assert out.first_start.tolist() == [5, 36]
    assert out.done_at.tolist() == [36, 46]


def test_the_day_ends_before_the_job() -> None:
    out = run([(0, 100)], [(1, 500)], until=90)
    assert np.isnan(out.done_at[0])
    assert out.running[-1] == 1


def test_the_car_that_waited_longest_is_taken() -> None:
    out = run([(0, 100), (1, 100)], [(5, 1), (20, 1)])
    assert out.busy_s.tolist() == [1, 1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), load=st.floats(0.05, 3.0), step_s=st.sampled_from([1.0, 5.0, 30.0]))
def test_what_holds_in_any_day(seed: int, load: float, step_s: float) -> None:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.random(60) * 900)
    end = start + rng.exponential(200, 60) + 1
    count = max(1, int(load * (np.minimum(end, 1000) - start).sum() / 30))
    arrival, work = np.sort(rng.random(count) * 1000), rng.exponential(30, count) + 0.1
    out = run_jobs(start, end, arrival, work, step_s=step_s, until_s=1000.0, change=EXACT, rng=rng)
    is_done = ~np.isnan(out.done_at)
    took = out.done_at[is_done] - arrival[is_done]
    assert (took >= work[is_done] - 1e-6).all(), "no job is faster than its work"
    costs = work + out.yields * EXACT.resume_s
    assert (took >= costs[is_done] + out.yields[is_done] * EXACT.handover_s - 1e-6).all()
    assert (out.busy_s <= end - start + 1e-6).all(), "no car works outside its window, or on two jobs"
    assert out.ends.sum() == is_done.sum()
    assert out.cut.sum() == out.yields.sum()
    assert out.starts.sum() == out.ends.sum() + out.cut.sum() + out.running[-1]
    never = np.isnan(out.first_start).sum()
    assert out.running[-1] + out.queued[-1] + is_done.sum() + (arrival >= 1000).sum() == count
    assert never <= out.queued[-1]
    done_s = costs[is_done].sum()
    assert out.busy_s.sum() >= done_s - 1e-6 * count, "work done is time that cars were busy"
