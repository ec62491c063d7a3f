"""The demo's day: the recorded drive, with its driver's return repeated for those that meet no job."""

from __future__ import annotations

import json
from pathlib import Path

RETURN_CUE = "driver_returns"
END_CUE = "end"


def write_trace(recorded: Path, target: Path, returns: int) -> None:
    """Writes `recorded` to `target` with the part between its two cues there `returns` times, each held by its own cue.

    The cues are RETURN_CUE + "_1" … in order, and END_CUE. Raises ValueError if the recording has no such part.
    """
    header, *lines = [json.loads(line) for line in recorded.read_text().splitlines() if line.strip()]
    cues = {line["cue"]: number for number, line in enumerate(lines) if "cue" in line}
    if RETURN_CUE not in cues or END_CUE not in cues:
        raise ValueError(f"{recorded} has the cues {sorted(cues)}, expected {RETURN_CUE} and {END_CUE}")
    first, last = cues[RETURN_CUE], cues[END_CUE]
    part = lines[first + 1 : last]
    length_ms = lines[last]["t_ms"] - lines[first]["t_ms"]
    written = [header, *lines[:first]]
    for number in range(returns):
        shift_ms = number * length_ms
        written.append({"t_ms": lines[first]["t_ms"] + shift_ms, "cue": f"{RETURN_CUE}_{number + 1}"})
        written += [{**line, "t_ms": line["t_ms"] + shift_ms} for line in part]
    written.append({"t_ms": lines[first]["t_ms"] + returns * length_ms, "cue": END_CUE})
    target.write_text("".join(json.dumps(line) + "\n" for line in written))
