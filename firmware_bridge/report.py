"""What the bridge tells others: decisions as JSON-able dictionaries, and the sentences for them.

{"reason": "charge_below_reserve", "urgent": false, "signal": "Vehicle...StateOfCharge.Displayed",
 "value": 58.0, "unit": "%", "limit": 60.0, "opens_at": 63.0, "since_s": 12.4,
 "text": "state of charge is 58 %, your reserve is 60 %", "opens": "opens at 63 %"}
"""

from __future__ import annotations

from typing import Any

from firmware_bridge import signals
from firmware_bridge.engine import Decision
from firmware_bridge.fusion import Facts
from firmware_bridge.policy import Because
from firmware_bridge.readings import Quality, Value
from firmware_bridge.signals import SIGNALS
from kernels.gate.word import REASONS

_GEARS = {126.0: "Park", 127.0: "Drive", 0.0: "Neutral"}
# (false, true) in words, by the last parts of the name.
_FLAG_WORDS = {
    "IsOpen": ("shut", "open"),
    "IsOccupied": ("empty", "occupied"),
    "IsEngaged": ("released", "engaged"),
    "IsParkLockEngaged": ("released", "engaged"),
    "IsMoving": ("still", "moving"),
    "IsCharging": ("not charging", "charging"),
    "IsMetered": ("not metered", "metered"),
    "IsGiven": ("not given", "given"),
    "IsDetected": ("quiet", "raised"),
    "IsInProgress": ("not running", "running"),
    "IsActive": ("off", "on"),
    "IsPaused": ("off", "on"),
    "IsAsleep": ("awake", "asleep"),
}
_DOUBTS = {"signal_absent", "signal_stale", "signal_invalid"}


def reasons(decision: Decision) -> list[dict[str, Any]]:
    """Returns the decision's reasons, urgent ones first."""
    told = [reason(because, decision.time_ns) for because in decision.reasons]
    return sorted(told, key=lambda each: not each["urgent"])


def reason(because: Because, now_ns: int) -> dict[str, Any]:
    """Returns one reason with its sentences, as the module's head shows it."""
    return {
        "reason": because.reason,
        "urgent": REASONS[because.reason].urgent,
        "signal": because.signal,
        "value": because.value,
        "unit": because.unit,
        "limit": because.limit,
        "opens_at": because.opens_at,
        "since_s": round(max(0, now_ns - because.since_ns) / 1e9, 3),
        "text": _text(because),
        "opens": _opens(because),
    }


def facts(known: Facts, now_ns: int) -> dict[str, Any]:
    """Returns the signals: value (None unless good), what was last seen, unit, quality, age."""
    return {
        name: {
            "value": fact.value,
            "seen": fact.seen,
            "unit": SIGNALS[name].unit,
            "quality": fact.quality.value,
            "age_ms": round((now_ns - fact.time_ns) / 1e6, 1) if fact.time_ns else None,
        }
        for name, fact in sorted(known.items())
    }


def short_facts(known: Facts) -> dict[str, Value]:
    """Returns the good values, and for the others their quality in brackets: for the journal."""
    return {
        name: fact.value if fact.quality is Quality.GOOD else f"[{fact.quality.value}]"
        for name, fact in sorted(known.items())
    }


def _text(because: Because) -> str:
    if because.reason == "dwell":
        return f"{because.says}: the gate opens in {because.value:g} s" if because.value is not None else because.says
    if not because.signal:
        return because.says
    label = SIGNALS[because.signal].says
    if because.reason in _DOUBTS:
        last = f" (last seen: {words(because.signal, because.value)})" if because.value is not None else ""
        return f"{label}: {because.says}{last}"
    if because.reason == "signals_contradict":
        return f"{label}: {because.says}"
    shown = words(because.signal, because.value)
    if because.limit is not None:
        return f"{label} is {shown}, {because.says}"
    return f"{label} is {shown}, expected {because.says}"


def _opens(because: Because) -> str:
    if because.reason == "dwell":
        return "opens by itself"
    if because.opens_at is not None:
        return f"opens at {words(because.signal, because.opens_at)}"
    if because.reason in _DOUBTS:
        return "opens when a source delivers it again"
    if because.reason == "signals_contradict":
        return "opens when they agree"
    if because.reason == "fault":
        return f"opens {because.limit:g} s after the last fault" if because.limit is not None else ""
    if not because.signal:
        return "opens after a whole dwell"
    return f"opens with {because.says}"


def words(signal: str, value: Value) -> str:
    """Returns a value with its unit as a person reads it: "58 %", "Drive", "open"."""
    if value is None:
        return "unknown"
    if signal == signals.GEAR and isinstance(value, int | float):
        return _GEARS.get(value, "Reverse" if value < 0 else f"gear {value:g}")
    if isinstance(value, bool):
        return _FLAG_WORDS.get(signal.rpartition(".")[2], ("false", "true"))[value]
    if signal == signals.MINUTE_OF_DAY and isinstance(value, int | float):
        return f"{int(value) // 60:02d}:{int(value) % 60:02d}"
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{shown} {SIGNALS[signal].unit}".rstrip() if signal in SIGNALS else shown
