"""`idlehands top`: one look without a bridge and without a daemon, and one with all that it can show."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from rich.console import Console

from kernels.gate.word import State, boottime_ns
from kernels.gate.writer import GateWriter
from runtime.cli.top import shown, top

SEEN: dict[str, Any] = {
    "gate": {
        "state": "open",
        "is_open": True,
        "since_s": 61.0,
        "gate_epoch": 7,
        "bridge": "running",
        "reasons": [],
        "lease_ms": 180.0,
    },
    "governor": {"duty_permille": 500, "max_threads": 2, "power_budget_mW": 15000},
    "forecast": {"length_s": 300.0, "limited_by": "parked"},
    "energy": {"debt_Wh": 12.5, "today_Wh": 100.0},
    "signals": {"Vehicle.IdleHands.Compute.Temperature": {"value": 61.5, "unit": "°C"}},
    "daemon": {"queued": 3, "held_back": 2, "running": ["a"], "finished": 4, "actions": 99, "models": []},
    "jobs": [
        {
            "job": "0123456789abcdef",
            "state": "claimed",
            "agent": "text_reader",
            "actions": 5,
            "desktop": "tls://d:1",
            "answer": "",
            "reason": "",
            "instruction": "Click [OK].",
        }
    ],
}


def text_of(seen: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(shown(seen))
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_everything_stands_on_the_screen() -> None:
    said = text_of(SEEN)
    for part in ("open for 61.0 s, epoch 7, lease 180 ms", "duty 50 %, 2 threads, 15 W", "5 min, bounded by parked"):
        assert part in said
    for part in ("12.5 Wh", "computer 61.5 °C", "3 wait, 2 held back by the forecast, 1 run", "Click [OK]."):
        assert part in said


def test_one_look_without_anybody_there(tmp_path: Path) -> None:
    flags = ["--set", f"daemon.runtime_folder={tmp_path}"]
    answer = json.loads(CliRunner().invoke(top, [*flags, "--json"]).stdout)
    assert answer["gate"]["state"] == "closed"
    assert (answer["daemon"], answer["governor"], answer["jobs"]) == (None, None, [])
    assert "does not answer" in CliRunner().invoke(top, [*flags, "--once"]).stdout


def test_the_governor_is_what_the_gate_word_says(tmp_path: Path) -> None:
    with GateWriter(tmp_path / "gate") as writer:
        writer.publish(State.OPEN, (), boottime_ns() + 100_000_000, duty_permille=250, max_threads=3)
        answer = json.loads(CliRunner().invoke(top, ["--set", f"daemon.runtime_folder={tmp_path}", "--json"]).stdout)
    assert answer["governor"] == {"duty_permille": 250, "max_threads": 3, "power_budget_mW": 0}
