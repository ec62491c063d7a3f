"""One reading of one vehicle signal, as every source delivers it: a value that may be unknown, never a default."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Union

Value = Union[bool, float, str, None]  # noqa: UP007 - an alias that is evaluated, also by Python 3.10


class Quality(enum.Enum):
    """How far a value may be believed. Only GOOD opens anything; for all others the value must not be used."""

    GOOD = "good"
    STALE = "stale"  # older than the signal's age limit
    INVALID = "invalid"  # out of range, of another type or unit, bad checksum, from the future, an impossible jump
    ABSENT = "absent"  # never delivered, or the source says that it does not know
    CONTRADICTORY = "contradictory"  # two sources that are both good say different things


@dataclass(frozen=True, slots=True)
class Reading:
    """`value` of the VSS signal `name` at `source_time_ns` (CLOCK_BOOTTIME): bool, float, text, or None for unknown.

    `unit` is the unit that the source means; it must be that of the signal's row (firmware_bridge/signals.py), or the
    reading is invalid. A source marks what it knows to be bad by `quality`; age and range are judged later.
    """

    name: str
    value: Value
    unit: str
    source_time_ns: int
    quality: Quality = Quality.GOOD
