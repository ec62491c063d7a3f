"""What is said of an agent is counted right: intervals, people's times, and what does not count."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.evaluation.player import Episode
from runtime.evaluation.scores import keystroke_model_s, summary, task_row, wilson
from runtime.evaluation.watch import Action


def episode(success: bool = True, elapsed_s: float = 1.0, raw: float | None = None, cut: bool = False) -> Episode:
    raw = raw if raw is not None else (1.0 if success else -1.0)
    return Episode("a-task", "s-0", "Do it.", "job", raw, success, elapsed_s, interrupted=cut)


def acted(*presses: tuple[str, ...]) -> Episode:
    done = episode()
    done.actions = [Action("job", n, "", 0, 0, 1, of_one, {"model_us": 1000}) for n, of_one in enumerate(presses)]
    return done


def test_the_interval_is_wilsons() -> None:
    # E. B. Wilson's interval for 9 of 10, as statsmodels' proportion_confint(9, 10, method="wilson") gives it.
    assert wilson(9, 10) == pytest.approx((0.59585, 0.98212), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_rate_and_stays_within_0_and_1(successes: int, failures: int) -> None:
    of = successes + failures
    low, high = wilson(successes, of)
    assert 0.0 <= low <= high <= 1.0
    if of:
        assert low - 1e-9 <= successes / of <= high + 1e-9


def test_a_person_clicks_types_and_homes() -> None:
    assert keystroke_model_s(acted(("button 1",))) == pytest.approx(1.35 + 1.3)
    assert keystroke_model_s(acted(("button 1", "button 1"))) == pytest.approx(1.35 + 1.3), "a double click is one"
    assert keystroke_model_s(acted(("button 1",), ("key",) * 4)) == pytest.approx(1.35 + 1.3 + 4 * 0.2 + 0.8)


def test_a_failure_is_endless_and_an_interruption_does_not_count() -> None:
    row = task_row("a-task", "train", [episode(), episode(cut=True), episode(False)], {"a-task": 3.0})
    assert (row["episodes"], row["successes"], row["interrupted"]) == (2, 1, 1)
    assert row["episode_s_p50"] is None, "half of the episodes failed: the median has no end"
    assert row["human_multiple"] == 0.0


def test_a_distance_counts_in_its_own_columns() -> None:
    row = task_row("circle-center", "train", [episode(True, raw=0.9), episode(False, raw=0.3)], {})
    assert (row["successes"], row["raw_1"], row["raw_above_0"]) == (1, 0, 2)


def test_where_nobody_was_recorded_the_model_is_named() -> None:
    won = acted(("button 1",))
    won.elapsed_s = 0.5
    row = task_row("a-task", "train", [won], {})
    assert row["human_source"] == "keystroke model"
    assert row["human_multiple"] == pytest.approx(2.65 / 0.5)
    assert task_row("a-task", "train", [won], {"a-task": 1.0})["human_source"] == "measured"


def test_the_sum_is_over_tasks_with_a_measured_person() -> None:
    episodes = {"a": [episode(elapsed_s=0.1)], "b": [episode(elapsed_s=0.1)], "c": [episode(False)]}
    report = summary({"a": "train", "b": "train", "c": "unseen"}, episodes, {"a": 2.0})
    assert report["human_multiple"] == pytest.approx(20.0)
    assert report["success_rate"] == pytest.approx(2 / 3)
    assert report["tasks_at_90"] == 2
    assert [row["split"] for row in report["tasks"]] == ["train", "train", "unseen"]
    assert not math.isnan(report["mean_task_success"])
