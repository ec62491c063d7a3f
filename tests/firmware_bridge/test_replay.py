"""Replays: the demonstration's trace and a CAN log give the same course each time, with nothing forbidden in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge import replay
from firmware_bridge import signals as s
from firmware_bridge.engine import Engine
from firmware_bridge.errors import SourceError
from firmware_bridge.policy_settings import Policy, Timing
from firmware_bridge.readings import Quality, Reading
from firmware_bridge.settings import load
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.trace_file import Moment, header_line, moment_line
from tests.firmware_bridge.parked import PARKED, QUICK, SECOND, START
from tests.firmware_bridge.sources.tesla_frames import second
from tests.firmware_bridge.sources.test_can_log import candump

ROOT = Path(__file__).parents[2]


def test_the_demonstration(tmp_path: Path) -> None:
    policy = Policy(timing=Timing(dwell_s=0.4, drain_s=0.1))
    answer = replay.replay(ROOT / "runtime/demo/drive.jsonl", policy)
    states = [each["state"] for each in answer["transitions"]]
    assert states == ["warming", "open", "draining", "closed", "warming", "open"]
    assert answer["openings"] == 2
    assert answer["violations"] == []
    assert answer == replay.replay(ROOT / "runtime/demo/drive.jsonl", policy)
    draining = answer["transitions"][2]
    assert (draining["t_s"], draining["reasons"]) == (3.5, ["the driver's door is open, expected shut"])
    assert sum(answer["seconds"].values()) == pytest.approx(answer["duration_s"])
    assert "draining" in replay.text(answer)


def test_a_can_log(tmp_path: Path) -> None:
    (tmp_path / "bus.log").write_text(candump([*second(0), *second(2, 1000)]))
    answer = replay.replay(tmp_path / "bus.log", load(ROOT / "runtime/demo/policy.toml", Policy), car="tesla_model3")
    assert answer["readings"] > 200
    assert answer["openings"] == 0  # nobody consented
    with pytest.raises(SourceError, match="there is no CAN log"):
        replay.replay(tmp_path / "none.log", QUICK, car="tesla_model3")


def test_gaps_are_ticked_through(tmp_path: Path) -> None:
    """A recording that pauses: the gate closes in the pause, not at the next reading."""
    lines = [header_line("", None)]
    lines += [moment_line(Moment(ms * 1_000_000, PARKED)) for ms in (*range(0, 1000, 20), 3000)]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(lines))
    answer = replay.replay(path, QUICK)
    closed = next(each for each in answer["transitions"] if each["state"] == "draining")
    assert 1.17 < closed["t_s"] < 1.21
    assert answer["violations"] == []


def test_the_watch_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = replay.Watch()
    for name, value in PARKED.items():
        watch.hear(Reading(name, value, SIGNALS[name].unit, START))
    assert watch.forbidden(START) == []
    assert len(watch.forbidden(START + 6 * SECOND)) == 8
    watch.hear(Reading(s.SPEED, 9.0, "km/h", START))
    watch.hear(Reading(s.GEAR, 127.0, "", START))
    watch.hear(Reading(s.CONSENT, None, "", START))
    watch.hear(Reading(s.DRIVER_SEAT, False, "", START, Quality.INVALID))
    assert len(watch.forbidden(START)) == 4
    monkeypatch.setattr(Engine, "_judge", _blind)
    answer = replay.replay(ROOT / "runtime/demo/drive.jsonl", QUICK)
    assert answer["violations"]


def _blind(engine: Engine, now_ns: int) -> object:
    from firmware_bridge.policy import Memory, Verdict

    return Verdict((), now_ns, Memory(is_first=False))
