"""Runs the model in gate.pml: constants from the C header and the settings, spin's search, simulations as events."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtime.config.config import Worker

TICK_MS = 50
HERE = Path(__file__).parent
HEADER = HERE.parents[1] / "kernels/common/gate_word.h"
# What the model calls the states, by their names in the header.
STATES = {"CLOSED": "CLOSED", "WARMING": "WARMING", "IS_OPEN": "IS_OPEN", "DRAINING": "DRAINING"}
BUGS = ("NO_LEASE_CHECK", "NO_EPOCH_BUMP", "LATE_KILL")


@dataclass(frozen=True)
class Found:
    """What spin found: `violation` is the assertion that failed, "" if the whole state space holds."""

    states: int
    violation: str


def constants() -> dict[str, int]:
    """Returns the model's numbers, in ticks where they are times."""
    header = HEADER.read_text()

    def number(pattern: str) -> int:
        match = re.search(pattern, header)
        assert match is not None, f"{HEADER} has no {pattern}"
        return int(match[1])

    lease_ms = number(r"#define IH_GATE_LEASE_MAX_NS (\d+)LL") / 1e6
    ticks = {"LEASE": lease_ms / TICK_MS, "GRACE": Worker().grace_s * 1000 / TICK_MS}
    assert all(value == int(value) for value in ticks.values()), f"{ticks}: {TICK_MS} ms is no tick of these times"
    states = {f"{name}_STATE": number(rf"IH_GATE_{own} = (\d+)") for name, own in STATES.items()}
    return {name: int(value) for name, value in ticks.items()} | states


def write(folder: Path) -> None:
    """Writes the model with its constants into `folder`."""
    lines = [f"#define {name} {value}" for name, value in constants().items()]
    (folder / "gate.pml").write_text("\n".join([*lines, (HERE / "gate.pml").read_text()]))


def verify(folder: Path, *bugs: str) -> Found:
    """Searches the whole state space of the model with `bugs` seeded."""
    write(folder)
    _run(folder, "spin", *(f"-D{bug}" for bug in bugs), "-a", "gate.pml")
    _run(folder, "gcc", "-O1", "-DSAFETY", "-DMEMLIM=1024", "-o", "pan", "pan.c")
    said = _run(folder, "./pan", "-m500000")
    assert "max search depth too small" not in said, said
    states = re.search(r"(\d+) states, stored", said)
    errors = re.search(r"errors: (\d+)", said)
    assert states is not None, said
    assert errors is not None, said
    violated = re.search(r"assertion violated\s+(.*?) \(at depth", said)
    assert (violated is not None) == (errors[1] != "0"), said
    return Found(int(states[1]), violated[1] if violated else "")


def simulate(folder: Path, seed: int, steps: int) -> list[list[str]]:
    """Returns the events of one random run, as words."""
    write(folder)
    said = _run(folder, "spin", "-DSIMULATED", f"-n{seed}", f"-u{steps}", "gate.pml")
    return [line.split()[1:] for line in said.splitlines() if line.split()[:1] == ["EV"]]


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
