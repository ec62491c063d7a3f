"""Generated days: no floor is crossed, and the judge would notice a gate that ignores its sensors."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

import pytest

from firmware_bridge import policy
from firmware_bridge.policy import Memory, Verdict
from firmware_bridge.proof import days
from firmware_bridge.proof.days import Life
from firmware_bridge.proof.plot import day_svg


def test_no_floor_is_crossed() -> None:
    found = days.run(25, seed=7)
    assert found["violations"] == []
    assert found["days"] == 25
    assert found["openings"] > 10
    assert found["open_h_per_day"] > 0.5
    # The days are worth something: most reasons come up in them.
    assert len(found["steps_closed_by"]) > 10


def test_seeds_are_fixed() -> None:
    assert days.run(2, seed=3) == days.run(2, seed=3) != days.run(2, seed=4)


def test_a_gate_that_ignores_its_sensors_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(facts: Any, rules: Any, settings: Any, memory: Memory, now_ns: int) -> Verdict:
        return Verdict((), now_ns, Memory(is_first=False))

    monkeypatch.setattr(policy, "evaluate", blind)
    found = days.run(3, seed=7)["violations"]
    assert any("it drives" in each for each in found)
    assert any("someone is inside" in each for each in found)


@pytest.mark.parametrize(("reason", "words"), [("energy_budget_spent", "owes"), ("outside_hours", "owner's hour")])
def test_a_policy_without_one_reason_is_caught(monkeypatch: pytest.MonkeyPatch, reason: str, words: str) -> None:
    real = policy.evaluate

    def without(*arguments: Any) -> Verdict:
        verdict = real(*arguments)
        kept = tuple(each for each in verdict.reasons if each.reason != reason)
        return dataclasses.replace(verdict, reasons=kept)

    monkeypatch.setattr(policy, "evaluate", without)
    assert any(words in each for each in days.run(12, seed=7)["violations"])


def test_the_picture_of_a_day() -> None:
    rows = list(Life(7).day(200))
    tree = ElementTree.fromstring(day_svg(rows, "day 200 <summer>"))
    assert len(tree.findall("{http://www.w3.org/2000/svg}polyline")) == 6
    assert rows[0]["minute"] == 0.0
    assert {row["state"] for row in rows} <= {"closed", "warming", "open", "draining", "faulted"}
