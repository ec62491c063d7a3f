"""The report's arithmetic: who counts, what a median over failures is, what the worst yield was."""

from __future__ import annotations

import pytest

from runtime.demo.report import Recording, Yield, percentiles, summary, task_rows
from runtime.evaluation.player import Episode
from runtime.evaluation.watch import Action


def episode(task: str, success: bool, elapsed_s: float, **more: object) -> Episode:
    times = {f"{part}_us": 1000 for part in ("capture", "transfer", "model", "inject", "settle", "total")}
    return Episode(
        task=task,
        seed="0",
        instruction="",
        job=f"{task}-{elapsed_s}",
        raw_reward=1.0 if success else -1.0,
        success=success,
        elapsed_s=elapsed_s,
        actions=[Action("job", 1, "click", 1, 2, 1, ("button 1",), times)],
        **more,  # type: ignore[arg-type]
    )


def test_percentiles_are_nearest_ranks() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50, "p90": 90, "p99": 99}
    assert percentiles([7.0]) == {"p50": 7.0, "p90": 7.0, "p99": 7.0}
    assert percentiles([]) == {"p50": None, "p90": None, "p99": None}


def test_an_interrupted_episode_counts_only_as_interrupted() -> None:
    recording = Recording("a", [episode("t", True, 0.1), episode("t", False, 9.0, interrupted=True)])
    (row,) = task_rows(recording)
    assert (row["episodes"], row["successes"], row["interrupted"]) == (1, 1, 1)


def test_the_resumed_episode_is_told_apart() -> None:
    recording = Recording("a", [episode("t", True, 0.1), episode("t", True, 8.0, resumed=True)], raised_timer_s=60.0)
    report = summary(recording, {"t": 5.0})
    assert report["resumed"] is True
    assert report["resume"] == {"task": "t", "success": True, "actions": 1, "page_timer_raised_to_s": 60.0}
    assert report["human_multiple"] == pytest.approx(50.0), "the pause is not the agent's time"


def test_a_failure_is_infinitely_slow() -> None:
    half = [episode("t", True, 0.1), episode("t", False, 0.1), episode("t", False, 0.1)]
    assert summary(Recording("a", half), {"t": 5.0})["human_multiple"] == 0.0


def test_lost_jobs_are_those_submitted_and_never_over() -> None:
    assert summary(Recording("a", jobs_submitted=3, jobs_over=2), {})["lost_jobs"] == 1


def test_a_yield_is_as_good_as_its_worst() -> None:
    recording = Recording("a", yields=[Yield(kernels_ms=1.0, keys_ms=3.0), Yield(kernels_ms=2.0)])
    assert summary(recording, {})["yield_ms"] == {"kernels": 2.0, "keys": 3.0, "job": None, "memory": None}
