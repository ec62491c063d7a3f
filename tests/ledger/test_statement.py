"""The owner's statement adds up, by hand-made sums, also when the work cost more than it earned."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from runtime.ledger.chain import Chain
from runtime.ledger.page import PageError, lines, page, plot, title, write
from runtime.ledger.receipt import Receipt, countersign
from runtime.ledger.statement import Prices, Statement, statement
from tests.ledger.car import FLEET_KEY, KEY, a_run

HOUR_NS, DAY_NS = 3_600_000_000_000, 86_400_000_000_000
UTC = timezone.utc
PRICES = Prices(
    currency="EUR",
    per_hour=0.5,
    per_action=0.001,
    per_compute_kWh=1.0,
    electricity_per_kWh=0.3,
    charging_efficiency_pct=80,
    battery_wear_per_kWh=0.1,
)
UNPAID = Prices(**{**PRICES.__dict__, "per_hour": 0.0, "per_action": 0.0, "per_compute_kWh": 0.0})


def receipts() -> list[Receipt]:
    """Three runs of an hour: two on the first day (one counter-signed, one on the charger), one late on the second."""
    chain = Chain(KEY)
    made = []
    for at_ns, changes in [
        (1 * HOUR_NS, {"joules": 360_000.0, "awake_joules": 720_000.0}),  # 0.1 and 0.2 kWh, all from the battery
        (2 * HOUR_NS, {"joules": 360_000.0, "battery_share": 0.0, "job": "job-1"}),
        (DAY_NS + 23 * HOUR_NS, {"cpu_s": 3600.0, "model": "<other>&"}),  # 2.5 Wh, estimated
    ]:
        entry = chain.entry(a_run(len(made) + 1, seconds=3600.0, **changes), at_ns)
        chain.take(entry)
        made.append(Receipt(entry=entry))
    made[0] = countersign(made[0], FLEET_KEY, 1)
    return made


def a_statement(prices: Prices = PRICES) -> Statement:
    return statement(receipts(), 0, 3 * DAY_NS, prices, UTC)


def test_what_it_comes_to() -> None:
    made = a_statement()
    used = made.total
    assert (made.jobs, used.runs, used.actions, used.hours) == (2, 3, 6, 3.0)
    assert used.compute_kWh == pytest.approx(0.2025)
    assert used.estimated_kWh == pytest.approx(0.0025)
    assert used.awake_kWh == pytest.approx(0.2)
    assert used.battery_kWh == pytest.approx(0.3025)
    assert used.wall_kWh == pytest.approx(0.4025 / 0.8)
    assert used.earned == pytest.approx(3 * 0.5 + 6 * 0.001 + 0.2025 * 1.0)
    assert used.electricity == pytest.approx(0.4025 / 0.8 * 0.3)
    assert used.wear == pytest.approx(0.03025)
    assert used.net == pytest.approx(used.earned - used.electricity - used.wear)
    assert (made.countersigned.runs, made.countersigned.hours) == (1, 1.0)
    assert {day: each.runs for day, each in made.by_day.items()} == {"1970-01-01": 2, "1970-01-02": 1}
    assert {name: each.runs for name, each in made.by_model.items()} == {"nav@1.0": 2, "<other>&": 1}
    for parts in (made.by_day, made.by_model):
        assert sum(each.net for each in parts.values()) == pytest.approx(used.net)


def test_a_day_is_the_owners() -> None:
    made = statement(receipts(), 0, 3 * DAY_NS, PRICES, timezone(timedelta(hours=2)))
    assert sorted(made.by_day) == ["1970-01-01", "1970-01-03"]


def test_the_period_has_its_beginning_and_not_its_end() -> None:
    assert statement(receipts(), HOUR_NS, 2 * HOUR_NS, PRICES).total.runs == 1
    assert statement([], 0, 1, PRICES).total.net == 0


def test_a_loss_is_told() -> None:
    told = dict(lines(a_statement(UNPAID)))
    assert "no pay is set" in told["earned"]
    assert told["net"] == "-0.18 EUR: the work cost more than it earned"
    assert "cost more" not in dict(lines(a_statement()))["net"]
    assert told["runs, of them counter-signed"] == "3, 1"


def test_picture_and_page() -> None:
    made = a_statement()
    picture = plot(made)
    assert picture.startswith(b"\x89PNG")
    assert picture != plot(a_statement(UNPAID)), "the picture is of these numbers"
    assert plot(statement([], 0, DAY_NS, PRICES)).startswith(b"\x89PNG"), "a month without work"
    text = page(made)
    assert "&lt;other&gt;&amp;" in text
    assert "<other>" not in text
    assert "data:image/png;base64," in text
    assert title(made) in text
    for _, value in lines(made):
        assert value in text


def test_a_file_that_cannot_be_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PageError, match="cannot be written"):
        write(tmp_path / "absent" / "x.png", b"")
