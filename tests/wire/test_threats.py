"""THREATS.md names tests that exist, and says so where there is none."""

from __future__ import annotations

import re
from pathlib import Path

import runtime.wire

ROOT = Path(__file__).parents[2]
THREATS = Path(runtime.wire.__path__[0]) / "THREATS.md"
ROWS = [line for line in THREATS.read_text().splitlines() if line.startswith("| ") and "attack |" not in line]


def test_every_threat_names_a_test_or_says_why_there_is_none() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        attack, defence, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert attack
        assert defence
        assert tests.startswith(("`tests/", "*no test", "the bound is proved")), attack


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", THREATS.read_text())
    assert len(named) > 30
    for file, test in named:
        assert re.search(rf"^(async def|def|class) {test}\b|^{test} = ", (ROOT / file).read_text(), re.MULTILINE), test
