"""docs/FLEET.md says what the formulas say."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.fleet.simulate.sizing import SAVES_OF_EVERY_ACTION, STEPS, Server, at_peak, load_of, table

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "FLEET.md").read_text()


@pytest.mark.parametrize("row", table())
def test_the_table_is_the_formulas(row: str) -> None:
    assert row in TEXT, "the rows are runtime.fleet.simulate.sizing.table()"


@pytest.mark.parametrize("name", STEPS)
def test_the_steps_are_the_tables(name: str) -> None:
    assert f"| {name} | {STEPS[name].messages} | {STEPS[name].writes} |" in TEXT


def test_the_arithmetic_is_right() -> None:
    rates = at_peak(4e6)
    assert rates.running / 0.331 == pytest.approx(2_520_000, rel=0.01)
    assert rates.running * SAVES_OF_EVERY_ACTION == pytest.approx(2_520_000, rel=0.01)
    assert rates.running * rates.saves_per_job_s == pytest.approx(84_000)
    assert rates.running * 2 == 1_680_000
    assert rates.running * 3 / rates.lease_s == 252_000
    load = load_of(rates, Server())
    other = load.writes_per_s - 84_000 - 252_000
    assert other == pytest.approx(12_000, rel=0.02)
    assert f"{load.servers:,} servers" in TEXT
    assert rates.jobs_kept == pytest.approx(147e6, rel=0.01)
    assert rates.jobs_kept * 1.02 * 700 / 1e9 == pytest.approx(105, rel=0.01)
    assert load.stored_bytes * 7 / 1e12 == pytest.approx(6.2, rel=0.01)
    assert load.stored_bytes * 7 / 64 / 1e9 == pytest.approx(96, rel=0.01)
