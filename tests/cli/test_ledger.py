"""`idlehands ledger` over a ledger on disk: verify, statement and export, as a person types them."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from kernels.errors import IdlehandsError
from runtime.cli.ledger import ledger
from runtime.ledger.ledger import Ledger
from runtime.ledger.receipt import Receipt, countersign, decode_receipt, verify_receipt
from runtime.ledger.signing import public_hex
from tests.ledger.car import FLEET_KEY, KEY, OTHER_KEY, a_run

AT = datetime(2031, 5, 17, 12)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose ledger has three runs in May 2031, the first of them counter-signed."""
    made = Ledger(tmp_path / "ledger", KEY, clock=lambda: int(AT.timestamp() * 1e9))
    for number in range(1, 4):
        entry = made.append(a_run(number, seconds=1800.0, joules=36_000.0, awake_joules=500_000.0))
        if number == 1:
            made.keep(countersign(Receipt(entry=entry), FLEET_KEY, 1))
    made.close()
    return tmp_path


def call(state: Path, *arguments: str, settings: tuple[str, ...] = (), code: int = 0) -> str:
    flags = [part for item in (f"daemon.state_folder={state}", *settings) for part in ("--set", item)]
    result = CliRunner().invoke(ledger, [*flags, *arguments], catch_exceptions=False, standalone_mode=True)
    assert result.exit_code == code, result.output
    return result.output


def test_verify_names_who_signed(state: Path) -> None:
    text = call(state, "verify")
    assert "3 entries, 1 of them counter-signed" in text
    assert public_hex(KEY) in text
    found = json.loads(call(state, "verify", "--json", "--car", public_hex(KEY)))
    assert (found["is_whole"], found["countersigned"]) == (True, 1)
    assert "expected a receipt of car" in call(state, "verify", "--car", public_hex(OTHER_KEY), code=1)


def test_the_statement_of_a_month(state: Path, tmp_path: Path) -> None:
    pay = ("prices.per_hour=0.2",)
    found = json.loads(call(state, "statement", "--month", "2031-05", "--json", settings=pay))
    assert found["total"]["hours"] == 1.5
    assert found["total"]["earned"] == pytest.approx(0.3)
    assert found["total"]["net"] < 0.3
    assert list(found["by_day"]) == ["2031-05-17"]
    assert found["countersigned"]["runs"] == 1
    assert json.loads(call(state, "statement", "--month", "2031-04", "--json"))["total"]["runs"] == 0
    picture, page = tmp_path / "may.png", tmp_path / "may.html"
    text = call(state, "statement", "--month", "2031-05", "--plot", str(picture), "--html", str(page))
    assert "Statement 2031-05-01 to 2031-05-31" in text
    assert "-0.20 EUR" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Statement 2031-05-01" in page.read_text()
    assert "2031-12-31" in call(state, "statement", "--month", "2031-12")
    since = json.loads(call(state, "statement", "--since", "2031-05-17", "--until", "2031-05-18", "--json"))
    assert since["total"]["runs"] == 3


def test_receipts_go_out_and_verify(state: Path) -> None:
    lines = call(state, "export").splitlines()
    for line in lines:
        verify_receipt(decode_receipt(line.encode()), car=public_hex(KEY))
    assert len(lines) == 3
    assert len(call(state, "export", "--waiting").splitlines()) == 2
    rows = list(csv.DictReader(call(state, "export", "--format", "csv").splitlines()))
    assert [row["is_countersigned"] for row in rows] == ["True", "False", "False"]
    assert rows[0]["job"] == "job-1"
    assert call(state, "export", "--until", "2031-05-01") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("statement", "--month", "may"), "'may' is no month"),
        (("statement", "--month", "2031-05", "--since", "2031-05-01"), "contradict"),
        (("export", "--since", "yesterday"), "is no time"),
    ],
)
def test_bad_input(state: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(IdlehandsError, match=said):
        call(state, *arguments)
