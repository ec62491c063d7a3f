"""`idlehands why`: the true, current reasons, or those of any past moment from the bridge's journal.

The gate word has the last word: a status file whose bridge no longer keeps the lease is not believed.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.errors import JournalError
from firmware_bridge.journal import SNAPSHOT_NS, read_journal
from kernels.gate.word import GateReader, GateWordError, State, boottime_ns

# A status is believed for three of its own periods and so much more.
SLACK_NS = 500_000_000


def now(settings: BridgeSettings, *, now_ns: int | None = None) -> dict[str, Any]:
    """Returns {"state", "is_open", "gate_epoch", "since_s", "reasons": [...], "signals": {...}, "bridge": text, ...}.

    Where no bridge runs, the state is "closed" and the reasons say so; reasons are those of report.reason().
    """
    now_ns = boottime_ns() if now_ns is None else now_ns
    try:
        word = GateReader(settings.gate_path).read()
    except GateWordError as error:
        return _no_bridge(f"no bridge has run since the boot: {error.message}", 0)
    try:
        status = json.loads(settings.status_path.read_bytes())
        age_ns = now_ns - int(status["written_ns"])
        fresh_ns = int(status["every_ms"] * 3e6) + SLACK_NS
    except (OSError, ValueError, KeyError, TypeError):
        return _no_bridge("the bridge is not running (it left no status)", word.gate_epoch)
    has_lapsed = word.state is State.OPEN and not word.is_open(now_ns)
    if has_lapsed or not 0 <= age_ns <= fresh_ns:
        return _no_bridge(f"the bridge was stopped or killed {max(0, age_ns) / 1e9:.1f} s ago", word.gate_epoch)
    status["is_open"] = word.is_open(now_ns) and word.gate_epoch == status["gate_epoch"]
    status["bridge"] = "running"
    return dict(status)


def as_of(journal: Path, wall_s: float) -> dict[str, Any]:
    """Returns the journal's record that was in force at `wall_s` (seconds since 1970), shaped as `now` gives it.

    Raises JournalError when the journal is absent or begins later.
    """
    found: dict[str, Any] | None = None
    first: float | None = None
    for record in read_journal(journal):
        first = record["wall_s"] if first is None else first
        if record["wall_s"] <= wall_s:
            found = record
    if found is None:
        began = "is empty" if first is None else f"begins at {_local(first)}"
        raise JournalError(f"the journal {journal} {began}", next_step=f"ask for a later moment than {_local(wall_s)}")
    age_s = wall_s - found["wall_s"]
    if found.get("state") == "stopped" or age_s > 2 * SNAPSHOT_NS / 1e9:
        answer = _no_bridge(
            f"no bridge ran then; its last record is of {_local(found['wall_s'])}", found.get("gate_epoch", 0)
        )
    else:
        answer = {**found, "is_open": found.get("state") == "open", "bridge": "running"}
        answer["reasons"] = [{**each, "since_s": each["since_s"] + age_s} for each in found.get("reasons", [])]
    return {**answer, "asked_wall_s": wall_s, "record_wall_s": found["wall_s"]}


def text(answer: dict[str, Any]) -> str:
    """Returns an answer of `now` or `as_of` as lines for a person."""
    lines = [f"at {_local(answer['record_wall_s'])}"] if "record_wall_s" in answer else []
    lines.append(f"gate: {answer['state']} (epoch {answer['gate_epoch']})")
    for each in answer["reasons"]:
        mark = "!" if each["urgent"] else "-"
        lines.append(f"{mark} {each['text']}; {each['opens']}  [{each['reason']}, since {span(each['since_s'])}]")
    if not answer["reasons"]:
        lines.append("nothing speaks against work")
    ahead = answer.get("forecast")
    if ahead and answer["state"] == "open":
        lines.append(f"a job may take {span(ahead['length_s'])} (bounded by {ahead['limited_by']}); longer ones wait")
    for error in answer.get("errors", []):
        lines.append(f"trouble: {error}")
    for source in answer.get("sources", []):
        if source["state"] in ("broken", "ended"):
            lines.append(
                f"source {source['url']} {source['state']}" + (f": {source['error']}" if source["error"] else "")
            )
    return "\n".join(lines)


def _no_bridge(why: str, epoch: int) -> dict[str, Any]:
    reason = {
        "reason": "starting",
        "urgent": False,
        "signal": "",
        "value": None,
        "unit": "",
        "limit": None,
        "opens_at": None,
        "since_s": 0.0,
        "text": why,
        "opens": "start it: `idlehands bridge`",
    }
    return {"state": "closed", "is_open": False, "gate_epoch": epoch, "bridge": why, "reasons": [reason], "signals": {}}


def _local(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).astimezone().isoformat(sep=" ", timespec="seconds")


def span(seconds: float) -> str:
    """Returns a length of time as a person reads it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
