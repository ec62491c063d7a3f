"""The car's earlier parkings, and how long this one may still last, told from them. Pure.

    in Park ──► began_min            out of Park ──► one Parking more (begin, length), the oldest beyond 200 forgotten

    rest = the length that `parked_share_pct` of the comparable parkings still had before them
    comparable: longer than this one is already, and begun at this time of the day ± 2 h where there are enough of those

Times are local minutes since 1970 (signals DAY and MINUTE_OF_DAY), so that a parking goes on over a restart or a sleep
of the machine. No clock: nothing is learned and nothing is known.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

from firmware_bridge import signals
from firmware_bridge.fusion import Facts
from firmware_bridge.policy_settings import Ahead
from firmware_bridge.readings import Quality

VERSION = 1
REMEMBERED = 200
# Shorter ones are stops in traffic and manoeuvres; no job is planned in them.
LEAST_MIN = 2
# Parkings that begin so near to each other in the day are alike: home in the evening, work in the morning.
ALIKE_MIN = 120
# Unseen for longer, the car may have driven meanwhile: then this parking's length is not learned from.
UNSEEN_MIN = 60 * 24
DAY_MIN = 1440


@dataclass(frozen=True, slots=True)
class Parking:
    begin_min: int
    length_min: int


@dataclass(frozen=True, slots=True)
class Parkings:
    """`past` is oldest first; `began_min` when the present one began (None: not parked), `seen_min` the last look."""

    past: tuple[Parking, ...] = ()
    began_min: int | None = None
    seen_min: int = 0


NONE = Parkings()


def after(parkings: Parkings, facts: Facts) -> Parkings:
    """Returns the memory after a look at `facts`; it changes once a minute at most, but for gear changes."""
    gear, now_min = _good(facts, signals.GEAR), _now_min(facts)
    if gear is None or now_min is None:
        return parkings
    began_min = parkings.began_min
    if began_min is not None and not 0 <= now_min - parkings.seen_min <= UNSEEN_MIN:
        parkings = replace(parkings, began_min=None)
        began_min = None
    if gear == signals.GEAR_PARK:
        if began_min is not None and now_min == parkings.seen_min:
            return parkings
        return replace(parkings, began_min=now_min if began_min is None else began_min, seen_min=now_min)
    if began_min is None:
        return parkings
    length_min = now_min - began_min
    past = parkings.past
    if length_min >= LEAST_MIN:
        past = (*past, Parking(began_min, length_min))[-REMEMBERED:]
    return Parkings(past, None, now_min)


def rest_s(parkings: Parkings, ahead: Ahead) -> float:
    """Returns how long this parking may still last, s; infinite where too little is known of it."""
    if parkings.began_min is None or ahead.parked_share_pct <= 0:
        return math.inf
    elapsed_min = parkings.seen_min - parkings.began_min
    longer = [each for each in parkings.past if each.length_min > elapsed_min]
    alike = [each for each in longer if _apart_min(each.begin_min, parkings.began_min) <= ALIKE_MIN]
    comparable = alike if len(alike) >= ahead.parkings_least else longer
    if len(comparable) < ahead.parkings_least:
        return math.inf
    rests = sorted((each.length_min - elapsed_min for each in comparable), reverse=True)
    # The shortest rest that at least the wanted share of them reached.
    return 60.0 * rests[max(0, math.ceil(len(rests) * ahead.parked_share_pct / 100) - 1)]


def store(parkings: Parkings) -> bytes:
    """Returns the memory's file."""
    past = [[each.begin_min, each.length_min] for each in parkings.past]
    tree = {"version": VERSION, "past": past, "began_min": parkings.began_min, "seen_min": parkings.seen_min}
    return json.dumps(tree).encode() + b"\n"


def load(data: bytes) -> Parkings:
    """Returns the memory of a file. Raises ValueError for a damaged one; nothing is then remembered."""
    try:
        tree = json.loads(data)
        past = tuple(Parking(begin_min, length_min) for begin_min, length_min in tree["past"])
        began_min, seen_min = tree["began_min"], tree["seen_min"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no memory of parkings: {error!r}") from error
    numbers = [seen_min, 0 if began_min is None else began_min]
    numbers += [number for each in past for number in (each.begin_min, each.length_min)]
    if tree.get("version") != VERSION or not all(type(number) is int and 0 <= number < 1e9 for number in numbers):
        raise ValueError(f"no memory of parkings of version {VERSION}")
    return Parkings(past[-REMEMBERED:], began_min, seen_min)


def _apart_min(one_min: int, other_min: int) -> int:
    apart = (one_min - other_min) % DAY_MIN
    return min(apart, DAY_MIN - apart)


def _now_min(facts: Facts) -> int | None:
    day, minute = _good(facts, signals.DAY), _good(facts, signals.MINUTE_OF_DAY)
    return None if day is None or minute is None else int(day) * DAY_MIN + int(minute)


def _good(facts: Facts, name: str) -> float | None:
    fact = facts.get(name)
    if fact is None or fact.quality is not Quality.GOOD or not isinstance(fact.value, int | float):
        return None
    return float(fact.value)
