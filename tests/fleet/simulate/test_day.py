"""A whole simulated day, small: the same for the same seed, and its numbers hang together."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from kernels.errors import IdlehandsError
from runtime.cli.fleet import fleet
from runtime.fleet.simulate.day import Report, Scenario, Work, cells_of, simulate
from runtime.fleet.simulate.plots import plot
from runtime.fleet.simulate.sizing import SAVES_OF_EVERY_ACTION, Rates, Server, load_of

SMALL = Scenario(cars=20_000, step_s=20.0)


@pytest.fixture(scope="module")
def day() -> Report:
    return simulate(SMALL, processes=1)


def test_the_same_seed_is_the_same_day(day: Report) -> None:
    again = simulate(dataclasses.replace(SMALL), processes=2)
    assert again == day
    assert simulate(dataclasses.replace(SMALL, seed=2), processes=1) != day


def test_the_numbers_hang_together(day: Report) -> None:
    assert day.cars == 20_000
    assert sum(day.open_cars) / 24 / day.cars == pytest.approx(day.open_share, rel=1e-3)
    assert day.utilisation == pytest.approx(SMALL.work.load, abs=0.03)
    assert sum(day.running) / sum(day.open_cars) == pytest.approx(day.utilisation, rel=0.02)
    assert day.followed_jobs == day.jobs, "every cell is in the sample of so small a fleet"
    assert day.took_s["p50"] == pytest.approx(SMALL.work.median_s, rel=0.05)
    assert 0 < day.yields_per_job < 0.2
    assert day.yielded_share <= day.yields_per_job
    computing_J = day.joules_per_job["computing"]
    assert computing_J == pytest.approx(SMALL.work.mean_s * SMALL.rules.compute_W, rel=0.05)
    assert day.done_share > 0.98


def test_more_work_than_cars_waits(day: Report) -> None:
    busy = simulate(dataclasses.replace(SMALL, work=Work(load=1.5)), processes=1)
    assert max(busy.queued) > 100 > max(day.queued)
    assert busy.done_share < 0.8
    assert busy.late_s["p50"] > 600 > day.late_s["p50"]


def test_office_hours_are_by_one_clock() -> None:
    office = simulate(dataclasses.replace(SMALL, work=Work(load=0.1, arrival="office")), processes=1)
    assert sum(office.running[9:17]) > 5 * sum(office.running[0:6])


def test_cells_make_up_the_fleet() -> None:
    cells = cells_of(Scenario())
    assert sum(cell.cars for cell in cells) == 4_000_000
    assert len({cell.seed for cell in cells}) == len(cells)
    assert [cell.follows for cell in cells] == sorted((cell.follows for cell in cells), reverse=True)


def test_a_fleet_of_a_given_number_of_jobs() -> None:
    report = simulate(dataclasses.replace(SMALL, work=Work(jobs=30_000)), processes=1)
    assert report.jobs == pytest.approx(30_000, rel=0.05)


def test_what_servers_are_for() -> None:
    rates = Rates(cars=1e6, running=0, submits=0, claims=0, finishes=0, releases=0)
    assert (load_of(rates, Server()).limit, load_of(rates, Server()).servers) == ("connections", 20)
    busy = load_of(dataclasses.replace(rates, running=1e6), Server())
    assert busy.limit == "writes"
    assert busy.writes_per_s == pytest.approx(1e6 * (3 / 10 + 1 / 10)), "a lease and a checkpoint of ten seconds"
    every_action = load_of(dataclasses.replace(rates, running=1e6, saves_per_job_s=SAVES_OF_EVERY_ACTION), Server())
    assert every_action.writes_per_s == pytest.approx(1e6 * (3 / 10 + 3.0))
    assert load_of(dataclasses.replace(rates, cars=10), Server()).servers == 3, "never fewer than the replicas"


def test_picture_and_command(day: Report, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert plot(day).startswith(b"\x89PNG")
    picture = tmp_path / "day.png"
    arguments = ["simulate", "--cars", "4000", "--processes", "1", "--load", "0.2", "--plot", str(picture)]
    result = CliRunner().invoke(fleet, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["cars"] == 4000
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = CliRunner().invoke(fleet, arguments, catch_exceptions=False).output
    assert "changes of car" in table
    with pytest.raises(IdlehandsError, match="cannot be written"):
        CliRunner().invoke(fleet, [*arguments[:-1], str(tmp_path / "absent" / "x.png")], catch_exceptions=False)
