"""The trace format: JSON lines, a header and then moments in time order.

    {"idlehands_trace": 1, "note": "a drive and a parking", "repeat_ms": 50}
    {"t_ms": 0, "readings": {"Vehicle.Speed": 42.0, "Vehicle.IsMoving": true}}
    {"t_ms": 900, "silent": ["Vehicle.Speed"]}                                  its readings stop here
    {"t_ms": 950, "readings": {"Vehicle.Speed": null}}                          the source says: unknown
    {"t_ms": 990, "readings": {"Vehicle.Speed": 7}, "quality": "invalid"}       the source knows that it is bad
    {"t_ms": 1000, "cue": "driver_returns"}                                     time stands still until it is given

With `repeat_ms` every signal is repeated at that period until it changes or falls silent, as a bus does it: what is
written by hand needs its changes only. Without it (a recording) each reading stands once. At a cue, and after the end
with `end=hold`, the last readings go on being repeated. Units are those of the signals' table.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware_bridge.errors import TraceError
from firmware_bridge.readings import Quality, Value
from firmware_bridge.signals import SIGNALS

VERSION = 1
# At a cue of a trace that has no repeat_ms of its own.
DEFAULT_REPEAT_MS = 50.0
_KEYS = {"t_ms", "readings", "quality", "silent", "cue"}


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a trace."""

    time_ns: int
    readings: dict[str, Value] = field(default_factory=dict)
    quality: Quality = Quality.GOOD
    silent: tuple[str, ...] = ()
    cue: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace; times are from its own beginning. `repeat_ns` 0: a recording."""

    path: str
    note: str
    repeat_ns: int
    moments: tuple[Moment, ...]


def read_trace(path: str | Path) -> Trace:
    """Reads and checks a whole trace. Raises TraceError with file and line."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")  # splitlines() would also split inside a text
    except FileNotFoundError as error:
        raise TraceError(f"there is no trace {path}", next_step="name another file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"the trace {path} cannot be read: {error}") from error
    if not lines[0]:
        raise TraceError(f"the trace {path} is empty, expected a header {header_line()}")
    note, repeat_ns = _header(_json(lines[0], f"{path}:1"), f"{path}:1")
    moments: list[Moment] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        moment = _moment(_json(line, f"{path}:{number}"), f"{path}:{number}")
        if moments and moment.time_ns < moments[-1].time_ns:
            was, got = moments[-1].time_ns / 1e6, moment.time_ns / 1e6
            raise TraceError(f"{path}:{number}: times must not fall, got {got:g} ms after {was:g} ms")
        moments.append(moment)
    return Trace(str(path), note, repeat_ns, tuple(moments))


def header_line(note: str = "", repeat_ms: float | None = None) -> str:
    """Returns the first line of a trace."""
    header: dict[str, Any] = {"idlehands_trace": VERSION, "note": note}
    if repeat_ms is not None:
        header["repeat_ms"] = repeat_ms
    return json.dumps(header, ensure_ascii=False)


def moment_line(moment: Moment) -> str:
    """Returns one line of a trace: what `read_trace` reads as `moment`, times to the microsecond."""
    line: dict[str, Any] = {"t_ms": round(moment.time_ns / 1e6, 3)}
    if moment.readings:
        line["readings"] = moment.readings
    if moment.quality is not Quality.GOOD:
        line["quality"] = moment.quality.value
    if moment.silent:
        line["silent"] = list(moment.silent)
    if moment.cue:
        line["cue"] = moment.cue
    return json.dumps(line, ensure_ascii=False)


def _json(line: str, where: str) -> dict[str, Any]:
    try:
        tree = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TraceError(f"{where} is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise TraceError(f"{where} must be a JSON object, got {line[:60]!r}")
    return tree


def _header(tree: dict[str, Any], where: str) -> tuple[str, int]:
    if "idlehands_trace" not in tree:
        raise TraceError(f"{where} is no header, expected {header_line()}")
    if tree["idlehands_trace"] != VERSION:
        raise TraceError(f"{where}: trace version {tree['idlehands_trace']!r}, this build reads {VERSION}")
    if unknown := set(tree) - {"idlehands_trace", "note", "repeat_ms"}:
        raise TraceError(f"{where}: unknown keys {sorted(unknown)}, expected note and repeat_ms")
    repeat_ms = _number(tree.get("repeat_ms", 0), f"{where}: repeat_ms")
    if repeat_ms and not 1 <= repeat_ms <= 10_000:
        raise TraceError(f"{where}: repeat_ms must be from 1 to 10000, got {repeat_ms:g}")
    return str(tree.get("note", "")), int(repeat_ms * 1e6)


def _moment(tree: dict[str, Any], where: str) -> Moment:
    if unknown := set(tree) - _KEYS:
        raise TraceError(f"{where}: unknown keys {sorted(unknown)}, expected {sorted(_KEYS)}")
    if "t_ms" not in tree:
        raise TraceError(f"{where}: t_ms is missing")
    time_ms = _number(tree["t_ms"], f"{where}: t_ms")
    if not 0 <= time_ms <= 1e12:
        raise TraceError(f"{where}: t_ms must be from 0 to 1e12, got {time_ms:g}")
    readings, silent, cue = tree.get("readings", {}), tree.get("silent", []), tree.get("cue", "")
    if not isinstance(readings, dict) or not isinstance(silent, list) or not isinstance(cue, str):
        raise TraceError(f"{where}: readings must be an object, silent a list, cue a text")
    for name in [*readings, *silent]:
        if not isinstance(name, str) or name not in SIGNALS or SIGNALS[name].is_derived:
            raise TraceError(f"{where}: no signal of the table is called {name!r}")
    for name, value in readings.items():
        if not isinstance(value, bool | int | float | str | None):
            raise TraceError(f"{where}: {name} must be a flag, a number, a text or null, got {value!r}")
    try:
        quality = Quality(tree.get("quality", "good"))
    except ValueError as error:
        expected = ", ".join(quality.value for quality in Quality)
        raise TraceError(f"{where}: quality must be one of {expected}, got {tree['quality']!r}") from error
    return Moment(round(time_ms * 1e6), readings, quality, tuple(silent), cue)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TraceError(f"{where} must be a number, got {value!r}")
    return float(value)
