"""The check of the simulator: against a soak that is lived through run by run here, and against one that lies."""

from __future__ import annotations

import heapq
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.cli.fleet import fleet
from runtime.fleet.simulate.check import SoakUnreadable, _drawn, _yields, check, compare


def a_soak(cars: int = 60, jobs: int = 4000, rate: float = 200.0, seed: int = 1) -> dict[str, Any]:
    """Lives through a soak event by event, by its own rules: a run is cut off at an action that is drawn."""
    draw = random.Random(seed)
    free = [(0.0, car) for car in range(cars)]
    waiting = [(number / rate, number, 0) for number in range(jobs)]
    cut, done_at, took = 0, 0.0, []
    while waiting:
        ready, number, done = heapq.heappop(waiting)
        since, car = heapq.heappop(free)
        at = max(ready, since)
        stop_at = draw.randrange(2) if draw.random() < 0.2 else -1
        if stop_at >= done:
            at += 0.05 * (stop_at - done)
            cut += 1
            heapq.heappush(waiting, (at + 0.001, number, stop_at))
            heapq.heappush(free, (at + 0.5, car))
        else:
            at += 0.05 * (2 - done)
            done_at = max(done_at, at)
            took.append(at - number / rate)
            heapq.heappush(free, (at, car))
    return {
        "cars": cars,
        "jobs": jobs,
        "trouble_jobs_per_s": rate,
        "handed_back": cut,
        "leases_lost": 0,
        "handover_ms": {"p50": 1.0},
        "over_s": done_at,
        "took_s": {"p50": float(np.percentile(took, 50)), "p90": float(np.percentile(took, 90))},
    }


def test_the_simulator_is_near_a_soak() -> None:
    found = {each.name: each for each in compare(a_soak(), np.random.default_rng(2))}
    assert found["yields a job"].measured == pytest.approx(0.235, abs=0.02)
    assert found["yields a job"].is_near, found
    assert found["jobs a second"].is_near, found
    assert found["a job's time, p50 (s)"].is_near, found


def test_a_soak_that_lies_is_seen(tmp_path: Path) -> None:
    soak = a_soak()
    (tmp_path / "soak.json").write_text(json.dumps({**soak, "handed_back": 3 * soak["handed_back"]}))
    assert not check(tmp_path / "soak.json")[0].is_near
    result = CliRunner().invoke(fleet, ["simulate", "--check", str(tmp_path / "soak.json")])
    assert result.exit_code == 1
    assert "yields a job" in result.output
    (tmp_path / "soak.json").write_text(json.dumps(soak))
    assert CliRunner().invoke(fleet, ["simulate", "--check", str(tmp_path / "soak.json"), "--json"]).exit_code == 0


def test_every_number_can_fail_by_itself() -> None:
    soak = a_soak()
    assert all(each.is_near for each in compare(soak, np.random.default_rng(2)))
    took = soak["took_s"]
    lies: dict[str, dict[str, Any]] = {
        "yields a job": {"handed_back": 1.3 * soak["handed_back"]},
        "jobs a second": {"over_s": 1.3 * soak["over_s"]},
        "a job's time, p50 (s)": {"took_s": {**took, "p50": 1.3 * took["p50"]}},
        "a job's time, p90 (s)": {"took_s": {**took, "p90": 1.3 * took["p90"]}},
    }
    for name, lie in lies.items():
        far = [each.name for each in compare({**soak, **lie}, np.random.default_rng(2)) if not each.is_near]
        assert far == [name]


def test_times_are_drawn_as_they_were_spread() -> None:
    told = {"p50": 2.0, "p90": 3.0, "p99": 8.0, "max": 9.0}
    drawn = _drawn(told, 0.0, 100_000, np.random.default_rng(1))
    for name, share in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert float(np.percentile(drawn, share)) == pytest.approx(told[name], rel=0.05)
    assert (_drawn({}, 0.25, 3, np.random.default_rng(1)) == 0.25).all()


def test_a_soaks_own_rule_says_how_often_a_job_is_cut_off() -> None:
    soak = a_soak(cars=500, jobs=20_000)
    assert _yields(0.2) == pytest.approx(soak["handed_back"] / 20_000, abs=0.01)
    assert _yields(0.0) == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cars": 1}'])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SoakUnreadable, match="is no report"):
        check(tmp_path / "x.json")
    with pytest.raises(SoakUnreadable, match="cannot be read"):
        check(tmp_path / "absent.json")
