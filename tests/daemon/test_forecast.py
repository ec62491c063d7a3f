"""The reader of the bridge's forecast: what is old, absent or damaged bounds nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_bridge import bridge_settings
from firmware_bridge import forecast as forecast_module
from firmware_bridge.energy import Account
from firmware_bridge.fusion import Fact
from firmware_bridge.governor import Governor
from firmware_bridge.policy_settings import Policy
from runtime.daemon.forecast import BOUNDS, Forecast, ForecastReader
from tests.firmware_bridge.test_bridge import DEMO_POLICY

SECOND = 1_000_000_000
STATUS = {
    "written_ns": 100 * SECOND,
    "every_ms": 250.0,
    "forecast": {"length_s": 30.0, "limited_by": "debt"},
    "energy": {"debt_Wh": 1.0, "today_Wh": 2.0},
    "duty_permille": 700,
    "max_threads": 2,
    "power_budget_mW": 0,
    "more": ["for people"],
}


def test_it_is_the_bridges_file(tmp_path: Path) -> None:
    settings = bridge_settings.BridgeSettings(runtime_dir=str(tmp_path), policy_file=str(DEMO_POLICY))
    assert ForecastReader(settings.gate_path)._path == settings.status_path


def test_a_fresh_status_is_believed_and_an_old_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "bridge.json").write_text(json.dumps(STATUS))
    reader = ForecastReader(tmp_path / "gate")
    assert reader.read(101 * SECOND) == Forecast(30.0, "debt")
    assert reader.read(102 * SECOND) is None
    assert reader.read(99 * SECOND) is None, "written in the future: by another boot"


def test_a_newer_status_is_read_after_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "bridge.json"
    path.write_text(json.dumps(STATUS))
    reader = ForecastReader(tmp_path / "gate")
    assert reader.read(100 * SECOND) == Forecast(30.0, "debt")
    path.write_text(json.dumps({**STATUS, "forecast": {"length_s": 5.0, "limited_by": "heat"}}))
    assert reader.read(100 * SECOND + 1000) == Forecast(30.0, "debt")
    assert reader.read(100 * SECOND + 200_000_000) == Forecast(5.0, "heat")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"written_ns": "x"}', json.dumps({**STATUS, "forecast": None}), "\xff"]
)
def test_damage_is_the_same_as_absence(tmp_path: Path, text: str) -> None:
    (tmp_path / "bridge.json").write_text(text, encoding="latin-1")
    assert ForecastReader(tmp_path / "gate").read(100 * SECOND) is None
    assert ForecastReader(tmp_path / "none" / "gate").read(100 * SECOND) is None


def test_the_bounds_are_the_bridges() -> None:
    facts: dict[str, Fact] = {}
    known = forecast_module.bounds_of(facts, Account(), Governor(), Policy())
    assert tuple(known) == BOUNDS


def test_a_job_fits_when_its_longest_run_does() -> None:
    assert Forecast(60.0, "debt").admits(60.0)
    assert not Forecast(60.0, "debt").admits(60.1)
