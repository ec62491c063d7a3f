"""A canary that is as good is not withdrawn, one that is worse is, and the verdict may be asked after every job."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.store.canary import ALPHA, CANARY, FEWEST, STABLE, Limits, Sums, Trial, judge


def a_trial(share_permille: int = 500, **limits: float) -> Trial:
    return Trial(name="nav", stable="1.0", canary="1.1", share_permille=share_permille, limits=Limits(**limits))


def live(
    trial: Trial,
    rng: np.random.Generator,
    jobs: int,
    *,
    success: tuple[float, float] = (0.9, 0.9),
    seconds: tuple[float, float] = (0.3, 0.3),
    joules: tuple[float, float] = (2.0, 2.0),
) -> tuple[str, int]:
    """Lives through jobs and asks after each; returns the first verdict that is not running, and after how many."""
    for number in range(jobs):
        side = trial.side_of(f"{rng.integers(2**60)}")
        at = int(side == CANARY)
        actions = int(rng.integers(1, 20))
        trial.tell(
            side,
            is_done=bool(rng.random() < success[at]),
            actions=actions,
            seconds=float(actions * seconds[at] * rng.lognormal(0, 0.4)),
            joules=float(actions * joules[at] * rng.lognormal(0, 0.4)),
        )
        verdict = judge(trial)
        if verdict.state != "running":
            return verdict.state, number + 1
    return "running", jobs


def test_sides_keep_to_their_share() -> None:
    trial = a_trial(100)
    sides = [trial.side_of(f"job-{number}") for number in range(20_000)]
    assert sides.count(CANARY) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert sides == [trial.side_of(f"job-{number}") for number in range(20_000)], "the same at every try"
    trial.ended = "stopped"
    assert {trial.version_of(f"job-{number}") for number in range(1000)} == {"1.0"}


def test_as_good_is_hardly_ever_withdrawn() -> None:
    rng = np.random.default_rng(1)
    strict = {"success_drop": 0.0, "seconds_ratio": 1.0, "joules_ratio": 1.0}  # any difference at all would be worse
    ends = [live(a_trial(**strict), rng, 600)[0] for _ in range(200)]
    assert ends.count("worse") <= 200 * 3 * ALPHA + 3 * math.sqrt(200 * 3 * ALPHA), "three measures, one ALPHA each"


@pytest.mark.parametrize(
    ("what", "sides", "within"),
    [("success", (0.95, 0.6), 400), ("seconds", (0.3, 0.5), 400), ("joules", (2.0, 3.0), 600)],
)
def test_worse_is_withdrawn(what: str, sides: tuple[float, float], within: int) -> None:
    rng = np.random.default_rng(2)
    ends = [live(a_trial(), rng, within, **{what: sides})[0] for _ in range(20)]  # type: ignore[arg-type]
    assert ends.count("worse") >= 19


def test_the_same_and_much_of_it_is_good() -> None:
    rng = np.random.default_rng(3)
    state, jobs = live(a_trial(success_drop=0.05), rng, 20_000, success=(0.97, 0.97))
    assert state == "good"
    assert jobs > 2 * FEWEST


def test_a_better_one_is_good_sooner() -> None:
    rng = np.random.default_rng(4)
    state, jobs = live(a_trial(), rng, 5000, success=(0.8, 0.99), seconds=(0.3, 0.2), joules=(2.0, 1.0))
    assert (state, jobs < 2000) == ("good", True)


def test_nothing_is_said_of_a_few_jobs() -> None:
    trial = a_trial()
    for side, is_done in ((STABLE, True), (CANARY, False)):
        for _ in range(FEWEST - 1):
            trial.tell(side, is_done=is_done, actions=1, seconds=1, joules=1)
    verdict = judge(trial)
    assert (verdict.state, verdict.measures) == ("running", ())
    assert "1 more jobs are needed" in verdict.why
    for side, is_done in ((STABLE, True), (CANARY, False)):
        trial.tell(side, is_done=is_done, actions=1, seconds=1, joules=1)
    assert judge(trial).state == "worse"
    assert judge(trial).why.startswith("jobs done: 4.5 % against 95.5 %")


def test_all_done_on_both_sides_is_no_certainty() -> None:
    trial = a_trial()
    for side in (STABLE, CANARY):
        for _ in range(FEWEST):
            trial.tell(side, is_done=True, actions=1, seconds=1.0, joules=1.0)
    (measure,) = [each for each in judge(trial).measures if each.name == "jobs done"]
    assert measure.low < -0.1 < 0.1 < measure.high


def test_sums_are_mean_and_variance() -> None:
    values = np.random.default_rng(5).normal(1e6, 1.0, 1000)
    sums = Sums()
    for value in values:
        sums.add(float(value))
    assert sums.mean == pytest.approx(values.mean())
    assert sums.variance == pytest.approx(values.var(ddof=1), rel=1e-6)
