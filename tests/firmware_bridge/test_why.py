"""The sentences of `why`, and that a bridge that is gone is not believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_bridge import report, why
from firmware_bridge import signals as s
from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.errors import JournalError
from firmware_bridge.policy_settings import Charge, Policy, Timing
from firmware_bridge.readings import Value
from kernels.gate.word import REASONS, State, boottime_ns
from kernels.gate.writer import GateWriter
from tests.firmware_bridge.parked import MS, PARKED, QUICK, START, opened, run, tell
from tests.firmware_bridge.test_policy import facts, judge


def sentences(changes: dict[str, Value], policy: Policy | None = None) -> list[str]:
    told = [report.reason(because, START) for because in judge(changes, settings=policy).reasons]
    return [f"{each['text']}; {each['opens']}" for each in told]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({s.CHARGE: 58.0}, "state of charge is 58 %, your reserve is 60 %; opens at 63 %"),
        ({s.DRIVER_DOOR: True}, "the driver's door is open, expected shut; opens with shut"),
        ({s.SPEED: 12.0, s.IS_MOVING: True}, "the speed is 12 km/h, a standstill, 0.5 km/h; opens at 0.5 km/h"),
        ({s.CONSENT: False}, "the owner's consent is not given, expected your signed consent"),
        ({s.PACK_HOTTEST: 51.0}, "the hottest cell is 51 °C, the limit is 45 °C; opens at 40 °C"),
        ({s.POWER_STATE: "ON"}, "the power state is ON, expected OFF or LOCK; opens with OFF or LOCK"),
    ],
)
def test_sentences(changes: dict[str, Value], sentence: str) -> None:
    assert any(each.startswith(sentence) for each in sentences(changes, Policy(charge=Charge(reserve_pct=60.0))))


def test_gear_in_words() -> None:
    assert [report.words(s.GEAR, value) for value in (126.0, 127.0, 0.0, -1.0, 3.0, None)] == [
        "Park",
        "Drive",
        "Neutral",
        "Reverse",
        "gear 3",
        "unknown",
    ]


def test_doubt_shows_what_was_last_seen() -> None:
    engine, now_ns = opened()
    run(engine, {name: value for name, value in PARKED.items() if name != s.DRIVER_SEAT}, now_ns, 1200)
    decision = engine.evaluate(now_ns + 1200 * MS)
    text = report.reasons(decision)[0]["text"]
    assert text == "the driver's seat: older than 1 s (last seen: empty)"


def test_every_reason_has_sentences_and_is_json() -> None:
    engine, now_ns = opened(Policy(timing=Timing(dwell_s=5.0)))
    tell(engine, {s.GEAR: 127.0, s.SPEED: None, s.CHARGE: 150.0}, now_ns)
    for decision in (engine.evaluate(now_ns), engine.evaluate(now_ns, fault="x"), engine.was_stopped(now_ns)):
        for each in report.reasons(decision):
            assert each["text"]
            assert each["opens"]
            assert each["reason"] in REASONS
            assert json.loads(json.dumps(each)) == each


def test_urgent_reasons_come_first() -> None:
    engine, now_ns = opened()
    tell(engine, {s.VOLTAGE_12V: 9.0, s.PASSENGER_DOOR: True}, now_ns)
    assert [each["reason"] for each in report.reasons(engine.evaluate(now_ns))] == ["door_open", "low_12v"]


def test_dwell_counts_down() -> None:
    engine, now_ns = opened(QUICK)
    tell(engine, {s.DRIVER_DOOR: True}, now_ns)
    engine.evaluate(now_ns)
    decision = run(engine, PARKED, now_ns + 20 * MS, 280)
    assert decision.state is State.WARMING
    assert report.reasons(decision)[0]["text"] == "all is well, and must stay so: the gate opens in 0.4 s"


def test_facts_are_told_with_quality_and_age() -> None:
    told = report.facts(facts(), START + 5 * MS)
    assert told[s.SPEED] == {"value": 0.0, "seen": 0.0, "unit": "km/h", "quality": "good", "age_ms": 5.0}


def test_no_bridge_no_status_and_an_old_status(tmp_path: Path) -> None:
    settings = BridgeSettings(runtime_dir=str(tmp_path), state_dir=str(tmp_path))
    answer = why.now(settings)
    assert not answer["is_open"]
    assert "no bridge has run since the boot" in why.text(answer)
    with GateWriter(settings.gate_path):
        assert "is not running" in why.text(why.now(settings))
        for text in ("", "[]", "{}", '{"written_ns": "x"}', '{"written_ns": 1'):
            settings.status_path.write_text(text)
            assert "is not running" in why.now(settings)["bridge"]
        old = {
            "written_ns": boottime_ns() - 7_000 * MS,
            "every_ms": 250,
            "gate_epoch": 1,
            "state": "open",
            "reasons": [],
        }
        settings.status_path.write_text(json.dumps(old))
        assert "was stopped or killed 7.0 s ago" in why.text(why.now(settings))
        fresh = {**old, "written_ns": boottime_ns()}
        settings.status_path.write_text(json.dumps(fresh))
        assert not why.now(settings)["is_open"]  # the gate word has the last word


def test_as_of(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with pytest.raises(JournalError, match="no journal"):
        why.as_of(journal, 0.0)
    record = {"state": "closed", "gate_epoch": 3, "reasons": [{"since_s": 1.0, "reason": "moving"}], "signals": {}}
    lines = [{"wall_s": 100.0, **record}, {"wall_s": 150.0, **record, "state": "open", "reasons": []}]
    journal.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(JournalError, match="begins at"):
        why.as_of(journal, 99.0)
    at = why.as_of(journal, 105.0)
    assert (at["state"], at["reasons"][0]["since_s"], at["record_wall_s"]) == ("closed", 6.0, 100.0)
    assert why.as_of(journal, 150.0)["is_open"]
    assert "no bridge ran then" in why.as_of(journal, 271.0)["bridge"]
    assert why.text(why.as_of(journal, 151.0)).startswith("at ")
