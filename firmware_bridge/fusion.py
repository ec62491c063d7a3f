"""Fusion: the last readings of all sources become one fact a signal, with a quality that is judged here.

    source A: Speed 0.0 ─┐  range, type, unit, time, jump
    source B: Speed 0.1 ─┴► age ► agreement of the good ones ► Fact(value, quality, time)

Doubt wins: a source that now delivers nonsense makes the fact invalid even if another is good, and two good sources
that differ make it contradictory. A source that is silent, or says that it does not know, does not outvote a good one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.signals import SIGNALS, Signal

# A source's clock may be this far ahead of ours (rounding, an interpolated bus time); more is a clock that jumped.
AHEAD_LIMIT_NS = 20_000_000
# After an impossible jump a signal must be steady for so long before it is believed again.
SETTLE_NS = 10_000_000_000
_NEVER_NS = 2**63


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one signal. `value` is None unless `quality` is GOOD; `time_ns` is when it was last confirmed
    (0: never). For a fact that is not good, `seen` is the value that was last delivered, to be shown, never used."""

    name: str
    value: Value
    quality: Quality
    time_ns: int
    seen: Value = None


Facts = Mapping[str, Fact]


def absent(name: str) -> Fact:
    """Returns the fact of a signal that nothing is known of."""
    return Fact(name, None, Quality.ABSENT, 0)


class _Slot:
    """The last reading of one signal from one source."""

    __slots__ = ("quality", "suspect_until_ns", "time_ns", "value")

    def __init__(self) -> None:
        self.value: Value = None
        self.quality = Quality.ABSENT
        self.time_ns = 0
        self.suspect_until_ns = 0


class Fusion:
    """Keeps the readings and judges them at a time that is handed in.

    `generation` grows whenever the value or the quality of any fact changed: while it stands still, so does the policy.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._slots: dict[str, dict[str, _Slot]] = {}
        self._known: dict[str, Fact] = {}
        self._new: set[str] = set()  # signals with a reading since they were judged
        self._good_until_ns = _NEVER_NS  # the first moment at which a known fact may turn old
        self._judged_ns = 0

    def accept(self, source: str, reading: Reading, now_ns: int) -> bool:
        """Takes a reading of `source`; returns whether the signal's value or quality changed (evaluate at once).

        A name that the table of signals does not have is ignored, and so is one that is derived inside the bridge.
        """
        signal = SIGNALS.get(reading.name)
        if signal is None or signal.is_derived:
            return False
        slots = self._slots.get(reading.name)
        if slots is None:
            slots = self._slots[reading.name] = {}
        slot = slots.get(source)
        if slot is None:
            slot = slots[source] = _Slot()
        before = slot.value, slot.quality
        value, quality = reading.value, _judge(signal, reading, now_ns)
        if reading.source_time_ns < slot.time_ns and quality is Quality.GOOD:
            quality = Quality.INVALID  # time ran backwards: neither reading can be trusted
        if quality is Quality.GOOD and signal.max_per_s < math.inf:
            quality = _check_jump(signal, slot, reading)
        slot.value, slot.quality = value, quality
        slot.time_ns = min(reading.source_time_ns, now_ns)
        self._new.add(reading.name)
        return (value, quality) != before

    def facts(self, now_ns: int) -> Facts:
        """Returns what is known at `now_ns` of every signal that a source ever delivered; others are absent.

        The mapping is the fusion's own and changes with the next call.
        """
        is_all_to_judge = now_ns > self._good_until_ns or now_ns < self._judged_ns
        names = set(self._slots) if is_all_to_judge else self._new
        self._judged_ns = now_ns
        for name in names:
            before, after = self._known.get(name), _fuse(SIGNALS[name], self._slots[name], now_ns)
            self._known[name] = after
            if before is None or (before.value, before.quality) != (after.value, after.quality):
                self.generation += 1
        if names:
            self._new = set()
            self._good_until_ns = min((self._end_ns(name, now_ns) for name in self._slots), default=_NEVER_NS)
        return self._known

    def forget(self, source: str) -> None:
        """Drops what `source` delivered: it ended or broke, and its last readings are no evidence."""
        for name, slots in self._slots.items():
            if slots.pop(source, None) is not None:
                self._new.add(name)

    def _end_ns(self, name: str, now_ns: int) -> int:
        """Returns when the next reading of a signal turns old; those that are old already stay so."""
        limit_ns = SIGNALS[name].age_limit_ns
        end_ns = _NEVER_NS
        for slot in self._slots[name].values():
            slot_ns = slot.time_ns + limit_ns
            if now_ns <= slot_ns < end_ns:
                end_ns = slot_ns
        return end_ns


def _judge(signal: Signal, reading: Reading, now_ns: int) -> Quality:
    if reading.quality is not Quality.GOOD:
        return reading.quality
    if reading.value is None:
        return Quality.ABSENT
    if reading.unit != signal.unit or not signal.accepts(reading.value):
        return Quality.INVALID
    if reading.source_time_ns > now_ns + AHEAD_LIMIT_NS:
        return Quality.INVALID
    return Quality.GOOD


def _check_jump(signal: Signal, slot: _Slot, reading: Reading) -> Quality:
    old, new = slot.value, reading.value
    if isinstance(old, float | int) and isinstance(new, float | int) and slot.time_ns and signal.accepts(old):
        elapsed_s = (reading.source_time_ns - slot.time_ns) / 1e9
        if abs(new - old) > signal.max_per_s * elapsed_s + signal.tolerance:
            slot.suspect_until_ns = reading.source_time_ns + SETTLE_NS
    return Quality.INVALID if reading.source_time_ns < slot.suspect_until_ns else Quality.GOOD


def _fuse(signal: Signal, slots: Mapping[str, _Slot], now_ns: int) -> Fact:
    best: _Slot | None = None
    newest: _Slot | None = None
    worst = Quality.ABSENT
    low, high = math.inf, -math.inf
    others: set[Value] = set()
    limit_ns = signal.age_limit_ns
    for slot in slots.values():
        if newest is None or slot.time_ns > newest.time_ns:
            newest = slot
        is_old = now_ns - slot.time_ns > limit_ns
        if slot.quality is Quality.GOOD and not is_old:
            if best is None or slot.time_ns > best.time_ns:
                best = slot
            if signal.kind is float:
                low, high = min(low, slot.value), max(high, slot.value)  # type: ignore[type-var,assignment]
            else:
                others.add(slot.value)
        elif slot.quality in (Quality.INVALID, Quality.CONTRADICTORY) and not is_old:
            worst = Quality.INVALID
        elif worst is Quality.ABSENT and slot.quality is not Quality.ABSENT:
            worst = Quality.STALE
    seen = newest.value if newest else None
    time_ns = newest.time_ns if newest else 0
    if worst is Quality.INVALID or best is None:
        return Fact(signal.name, None, worst, time_ns, seen)
    if high - low > signal.tolerance or len(others) > 1:
        return Fact(signal.name, None, Quality.CONTRADICTORY, best.time_ns, seen)
    return Fact(signal.name, best.value, Quality.GOOD, best.time_ns, best.value)
