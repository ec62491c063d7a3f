"""Dates and times of day in whatever form they stand: is what is shown before or after what is asked for?

"12/01/2016", "1 December 2016", "December 1, 2016", "2016-12-01" ─► (2016, 12, 1)      "4:30 PM" ─► 990 minutes
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from runtime.agent.quantities import number_in
from runtime.agent.words import MONTHS

DIMS = 7
_LONGEST = 32  # characters of a text that says a moment and little else
_SLASHED = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b")
_ISO = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_NAMED = re.compile(
    rf"(?:(\d{{1,2}})(?:st|nd|rd|th)?\s+)?\b({_MONTH})\b\.?(?:\s+(\d{{1,2}})(?:st|nd|rd|th)?\b)?,?\s*(\d{{4}})?\b"
)
_CLOCK = re.compile(r"\b(\d{1,2})(?::(\d{2}))?\s*([ap])\.?m\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What an instruction asks for: a day (0: none) of a month, counted from year 0, and the first and last minute."""

    month: int | None = None
    day: int = 0
    minutes: tuple[int, ...] = ()


@lru_cache(maxsize=64)
def wanted_of(instruction: str) -> Wanted:
    """Returns the first date and the times of an instruction."""
    month, day = date_in(instruction) or (None, 0)
    return Wanted(month, day, tuple(minutes_in(instruction)))


def date_in(text: str) -> tuple[int, int] | None:
    """Returns (months since year 0, day or 0) of the first date with a year in a text; None without one."""
    if not any(sign.isdigit() for sign in text):
        return None
    found = _SLASHED.search(text)
    if found:
        month, day, year = map(int, found.groups())
        return _month(year, month, day)
    found = _ISO.search(text)
    if found:
        year, month, day = map(int, found.groups())
        return _month(year, month, day)
    for found in _NAMED.finditer(text):
        if found.group(4):
            return _month(int(found.group(4)), MONTHS[found.group(2)], int(found.group(1) or found.group(3) or 0))
    return None


def _month(year: int, month: int, day: int) -> tuple[int, int] | None:
    return (12 * year + month - 1, day) if 1 <= month <= 12 and day <= 31 else None


def minutes_in(text: str) -> list[int]:
    """Returns the times of day in a text, as minutes since midnight."""
    return [
        (int(hour) % 12 + 12 * (half.lower() == "p")) * 60 + int(minute or 0)
        for hour, minute, half in _CLOCK.findall(text)
        if int(hour) <= 12
    ]


@lru_cache(maxsize=4096)
def compared(text: str, wanted: Wanted) -> tuple[float, ...]:
    """Returns DIMS numbers: whether a text says a month, is it before or after, how far; whether it is the day;
    whether it says a time, is it before the first one asked for, after the last one."""
    if not text or len(text) > _LONGEST or (wanted.month is None and not wanted.minutes):
        return (0.0,) * DIMS
    month = has_month = far = day = 0.0
    if wanted.month is not None:
        shown = date_in(text)
        if shown is not None:
            apart = shown[0] - wanted.month
            has_month, month, far = 1.0, float((apart > 0) - (apart < 0)), min(1.0, math.log1p(abs(apart)) / 4)
        day = float(bool(wanted.day) and number_in(text) == wanted.day)
    has_time = first = last = 0.0
    if wanted.minutes:
        times = minutes_in(text)
        if times:
            start, end = min(wanted.minutes), max(wanted.minutes)
            has_time = 1.0
            first, last = float((times[0] > start) - (times[0] < start)), float((times[0] > end) - (times[0] < end))
    return has_month, month, far, day, has_time, first, last
