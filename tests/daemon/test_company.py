"""What decisions of several sessions are taken to cost together: the agent's own part each, the models' runs once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from runtime.cli.doctor import doctor
from runtime.daemon.company import Company
from runtime.residency.together import Gain, Gains
from tests.daemon.test_batch import install_null

FOUR = Gain("m", (1, 2, 4), (10.0, 12.0, 16.0), True)
NOTHING = Gain("n", (1, 2, 4), (10.0, 20.0, 40.0), True)


def ms(company: Company, count: int) -> float:
    return company.cost_ns("a/m", count) / 1e6


def test_nothing_is_taken_to_gain_before_it_is_known() -> None:
    company = Company(8, lambda key: 30.0)
    assert company.most("a/m") == 1
    assert ms(company, 4) == 120
    company.set("a/m", {"model": FOUR})
    assert company.most("a/m") == 4
    assert ms(company, 4) == 120, "how much of a decision the model is has not been seen"


def test_only_the_models_part_is_shared() -> None:
    company = Company(8, lambda key: 30.0)
    company.set("a/m", {"model": FOUR})
    company.note("a/m", 30_000_000, {"model": 20_000_000})
    assert ms(company, 1) == pytest.approx(30)
    assert ms(company, 4) == pytest.approx(20 * 1.6 + 4 * 10)
    assert ms(company, 6) == pytest.approx(20 * (1.6 + 1.2) + 6 * 10), "four at once, then two"


def test_of_several_models_each_has_its_own_gain() -> None:
    company = Company(2, lambda key: 30.0)
    company.set("a/m", {"model": FOUR, "other": NOTHING})
    company.note("a/m", 30_000_000, {"model": 10_000_000, "other": 10_000_000})
    assert company.most("a/m") == 2
    assert ms(company, 2) == pytest.approx(10 * 1.2 + 10 * 2 + 2 * 10)
    company.set("a/m", {"other": NOTHING})
    assert company.most("a/m") == 1


def test_the_doctor_measures_what_is_installed_and_says_what_is_gained(tmp_path: Path) -> None:
    install_null(tmp_path, latency_us=1000, together=4)
    flags = ["--json", "--set", f"daemon.state_folder={tmp_path / 'state'}"]

    def said(*more: str) -> str:
        found = CliRunner().invoke(doctor, [*flags, *more]).stdout
        return " ".join(one["found"] for one in msgspec.json.decode(found) if one["part"] == "together")

    assert said().startswith("not measured")
    assert "scorer@1 model is made 4 at once: each of several together costs, of one alone: 2: " in said("--calibrate")
    (gain,) = Gains(tmp_path / "state" / "cache" / "together.json").all()
    assert gain.is_same
    assert gain.best(8) == 4
    assert "never computed at once" in said("--set", "worker.together=1")
