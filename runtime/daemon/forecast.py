"""The bridge's forecast as an admission rule: how long a job may be that starts now, and what bounds it.

    bridge.json beside the gate word ──► ForecastReader.read() ──► Capabilities(longest_s=…) of every claim

The gate word alone says whether work may run. The forecast only spares a job a start that the car would soon cut off,
so where it is unknown (no status file, or an old one) it bounds nothing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from kernels.gate.word import boottime_ns

# firmware_bridge/forecast.py names them.
BOUNDS = ("nothing", "parked", "debt", "day_budget", "charge", "heat", "hours")
STATUS_NAME = "bridge.json"
# A status is believed for three of its own periods and so much more, as `why` believes it.
SLACK_NS = 500_000_000
REREAD_NS = 100_000_000


class Forecast(msgspec.Struct, frozen=True):
    """`length_s` of a job that may start now, and `limited_by`: parked, debt, day_budget, charge, heat, hours or
    nothing."""

    length_s: float
    limited_by: str

    def admits(self, max_s: float) -> bool:
        """Returns whether a job whose run lasts at most `max_s` may start."""
        return max_s <= self.length_s


class _Energy(msgspec.Struct, frozen=True):
    debt_Wh: float
    today_Wh: float


class BridgeStatus(msgspec.Struct, frozen=True):
    """What the daemon reads of the bridge's status; the rest of the file is for people (`idlehands why`)."""

    written_ns: int
    every_ms: float
    forecast: Forecast
    energy: _Energy
    duty_permille: int
    max_threads: int
    power_budget_mW: int


_DECODER = msgspec.json.Decoder(BridgeStatus)


class ForecastReader:
    """Reads the status that the bridge of this gate word leaves; a file is read again after 100 ms at the earliest."""

    def __init__(self, gate_word: Path) -> None:
        self._path = gate_word.with_name(STATUS_NAME)
        self._read_ns = -REREAD_NS
        self._found: BridgeStatus | None = None

    def status(self, now_ns: int | None = None) -> BridgeStatus | None:
        """Returns the present status, None where there is none, an old one, or one that cannot be read."""
        now_ns = boottime_ns() if now_ns is None else now_ns
        if self._found is None or now_ns - self._read_ns >= REREAD_NS:
            self._read_ns = now_ns
            try:
                self._found = _DECODER.decode(self._path.read_bytes())
            except (OSError, msgspec.DecodeError):
                self._found = None
        found = self._found
        if found is None or not 0 <= now_ns - found.written_ns <= found.every_ms * 3e6 + SLACK_NS:
            return None
        return found

    def read(self, now_ns: int | None = None) -> Forecast | None:
        """Returns the present forecast, None where it is unknown: then nothing but the gate word bounds a job."""
        found = self.status(now_ns)
        return None if found is None else found.forecast
