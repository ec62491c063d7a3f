"""`idlehands fleet …` as a person uses it, against a real server with identities."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.cli.fleet import fleet
from runtime.cli.fleet_jobs import NoFleet, with_fleet
from runtime.cli.fleet_up import EnrolWhat
from runtime.fleet.client import Submitter
from runtime.fleet.errors import ServerRefused
from runtime.fleet.standings import Standings, UnknownCar
from runtime.fleet.trust import failed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def flags(tmp_path: Path) -> Iterator[list[str]]:
    command = [sys.executable, "-m", "runtime.cli.main", "fleet", "up", "--folder", str(tmp_path / "fleet")]
    arguments = ["--port", "0", "--enroll", "me:submitter", "--json"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT) as up:
        assert up.stdout is not None
        told = ""
        while not told.endswith("}\n}\n"):
            told += up.stdout.readline()
        server = json.loads(told)
        settings = {
            "fleet.server": server["server"],
            "fleet.credentials": server["enrolled"]["me"],
            "fleet.name": "me",
            "daemon.state_folder": tmp_path / "state",
        }
        yield [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        up.terminate()
        assert up.wait(20) == 0


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(fleet, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_jobs_from_a_terminal(flags: list[str], tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('desktop = "unix:/d"\ntasks = ["one", "two"]\nidempotency_key = "k"\n[needs]\nregion = "eu"\n')
    sent = json.loads(run("submit", str(file), "--json", *flags))
    assert [(one["new"], one["known"]) for one in sent] == [(True, True)] * 2
    assert "submitted before" in run("submit", str(file), *flags)
    found = json.loads(run("status", "--json", *flags))
    assert found["counts"]["queued"] == 2
    assert [one["job"] for one in found["jobs"]] == [one["job"] for one in reversed(sent)]
    assert json.loads(run("cancel", sent[0]["job"], "--reason", "no", "--json", *flags))["state"] == "cancelled"
    told = [json.loads(line) for line in run("watch", sent[0]["job"], "--json", *flags, code=1).splitlines()]
    assert [one["kind"] for one in told] == ["submitted", "cancelled"]
    assert "cancelled" in run("status", sent[0]["job"], *flags)
    assert json.loads(run("top", "--count", "1", "--json", *flags))["states"] == {"queued": 1, "cancelled": 1}
    (row,) = json.loads(run("variants", "--json", *flags))
    assert (row["jobs"], row["over"], row["done"]) == (2, 1, 0)


def test_the_cars_standings_from_a_terminal(flags: list[str], tmp_path: Path) -> None:
    assert json.loads(run("trust", "list", "--json", *flags)) == []
    operator = [flag.replace("/fleet/me", "/fleet/operator").replace("name=me", "name=operator") for flag in flags]
    with pytest.raises(UnknownCar, match="car-9"):
        run("trust", "release", "car-9", *operator)

    async def lied(fleet: Submitter) -> None:
        await Standings(fleet.connection).change("car-1", lambda known, now_ns: failed(known, "it lied", now_ns))

    with_fleet(None, tuple(operator[1::2]), lied)
    (row,) = json.loads(run("trust", "list", "--json", *flags))
    assert (row["car"], row["standing"], row["quarantined"], row["failures"]) == ("car-1", "quarantined", "it lied", 1)
    assert "it lied" in run("trust", "list", *flags)
    with pytest.raises(ServerRefused):
        run("trust", "release", "car-1", *flags)  # a submitter may not
    assert json.loads(run("trust", "release", "car-1", "--json", *operator))["standing"] == "new"


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(NoFleet):
        run("status")
    with pytest.raises(EnrolWhat, match="got 'car-1'"):
        run("up", "--folder", str(tmp_path), "--enroll", "car-1", "--once")
    issued = json.loads(run("up", "--folder", str(tmp_path), "--enroll", "car-1:car", "--once", "--json"))
    assert (Path(issued["enrolled"]["car-1"]) / "user.creds").exists()
