"""The meter: what the bridge's status says is summed over a run, and what nobody said is known as not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge import signals
from kernels.gate.word import boottime_ns
from runtime.daemon.meter import Draw, Meter, Metered, draw_of

PARKED = {signals.IS_CHARGING: False, signals.POWER_STATE: "LOCK", signals.PACK_POWER: -300.0}


def say(folder: Path, good: dict[str, Any], *, age_ns: int = 0, quality: str = "good") -> None:
    facts = {name: {"value": value, "seen": value, "quality": quality, "unit": ""} for name, value in good.items()}
    status = {"written_ns": boottime_ns() - age_ns, "signals": facts, "version": 1}
    (folder / "bridge.json").write_text(json.dumps(status))


def run(meter: Meter, seconds: float, job: str = "a", jobs: tuple[str, ...] = ("a",)) -> Metered:
    for step in range(int(seconds * 4) + 1):
        meter.sample(step / 4, jobs)
    return meter.take(job, seconds)


def test_rails_awake_and_battery(tmp_path: Path) -> None:
    say(tmp_path, {**PARKED, signals.COMPUTE_POWER: 40.0})
    found = run(Meter(tmp_path / "gate"), 10)
    assert found.joules(10) == pytest.approx(400)
    assert (found.awake_share(), found.battery_share()) == (1.0, 1.0)
    assert found.joules(10.5) == pytest.approx(420), "the little that was not sampled is like the rest"
    assert found.joules(20) is None, "half a run is no measurement"


def test_a_charging_car_is_up_anyway(tmp_path: Path) -> None:
    say(tmp_path, {**PARKED, signals.IS_CHARGING: True, signals.PACK_POWER: 7000.0})
    found = run(Meter(tmp_path / "gate"), 4)
    assert (found.joules(4), found.awake_share(), found.battery_share()) == (None, 0.0, 0.0)


def test_runs_at_the_same_time_share(tmp_path: Path) -> None:
    say(tmp_path, {**PARKED, signals.COMPUTE_POWER: 40.0})
    meter = Meter(tmp_path / "gate")
    first = run(meter, 10, jobs=("a", "b"))
    assert first.joules(10) == pytest.approx(200)
    assert first.awake_share() == pytest.approx(0.5)
    assert meter.take("b", 10).joules(10) == pytest.approx(200)


def test_what_changes_in_between_counts_for_its_time(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "gate")
    say(tmp_path, {**PARKED, signals.COMPUTE_POWER: 20.0})
    meter.sample(0.0, ["a"])
    say(tmp_path, {**PARKED, signals.COMPUTE_POWER: 60.0, signals.IS_CHARGING: True})
    meter.sample(1.0, ["a"])
    found = meter.take("a", 2.0)
    assert found.rails_joules == pytest.approx(80)
    assert found.awake_share() == pytest.approx(0.5)


@pytest.mark.parametrize("how", ["absent", "old", "garbage", "stale"])
def test_without_a_word_of_the_bridge_all_counts_against_the_work(tmp_path: Path, how: str) -> None:
    good = {signals.IS_CHARGING: True, signals.PACK_POWER: 7000.0, signals.COMPUTE_POWER: 40.0}
    if how == "old":
        say(tmp_path, good, age_ns=10**10)
    elif how == "garbage":
        (tmp_path / "bridge.json").write_bytes(b"\xff{")
    elif how == "stale":
        say(tmp_path, good, quality="stale")
    found = run(Meter(tmp_path / "gate"), 3)
    assert (found.joules(3), found.awake_share(), found.battery_share()) == (None, 1.0, 1.0)


def test_a_gap_is_not_known(tmp_path: Path) -> None:
    say(tmp_path, {**PARKED, signals.COMPUTE_POWER: 40.0})
    meter = Meter(tmp_path / "gate")
    meter.sample(0.0, ["a"])
    meter.sample(1.0, ["a"])
    meter.sample(60.0, ["a"])
    found = meter.take("a", 61.0)
    assert found.seconds == 2.0
    assert found.joules(61) is None
    assert meter.take("a", 62.0) == Metered(), "and forgotten"


@pytest.mark.parametrize(
    ("good", "draw"),
    [
        ({}, Draw(None, True, True)),
        ({signals.POWER_STATE: "ON"}, Draw(None, False, True)),
        ({signals.POWER_STATE: "OFF"}, Draw(None, True, True)),
        ({signals.BUS_ASLEEP: True}, Draw(None, False, True)),
        ({signals.IS_CHARGING: True, signals.PACK_POWER: -5.0}, Draw(None, False, True)),
        ({signals.PACK_POWER: 5.0, signals.COMPUTE_POWER: 7}, Draw(7.0, True, False)),
    ],
)
def test_what_follows_from_signals(good: dict[str, Any], draw: Draw) -> None:
    assert draw_of(good) == draw
