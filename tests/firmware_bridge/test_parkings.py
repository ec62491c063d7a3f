"""What earlier parkings say about this one."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import parkings
from firmware_bridge import signals as s
from firmware_bridge.fusion import Fact
from firmware_bridge.parkings import NONE, Parking, Parkings, after, load, rest_s, store
from firmware_bridge.policy_settings import Ahead
from firmware_bridge.readings import Quality

MONDAY = 20_000 * 1440
EIGHT_PM, NINE_AM = 20 * 60, 9 * 60


def look(known: Parkings, minute: int, gear: float = 126.0, quality: Quality = Quality.GOOD) -> Parkings:
    values = {s.GEAR: gear, s.DAY: float(minute // 1440), s.MINUTE_OF_DAY: float(minute % 1440)}
    return after(known, {name: Fact(name, value, quality, 1, value) for name, value in values.items()})


def week() -> Parkings:
    """Five nights of ten hours, five working days of eight."""
    known = NONE
    for day in range(5):
        for begin, length in ((NINE_AM, 480), (EIGHT_PM, 600)):
            known = look(known, MONDAY + day * 1440 + begin)
            known = look(known, MONDAY + day * 1440 + begin + length, gear=127.0)
    return known


def test_a_parking_is_from_park_to_drive() -> None:
    assert week().past[0] == Parking(MONDAY + NINE_AM, 480)
    assert len(week().past) == 10
    assert week().began_min is None


def test_this_time_of_the_day_is_what_counts() -> None:
    begun = MONDAY + 7 * 1440
    evening = look(week(), begun + EIGHT_PM)
    assert rest_s(evening, Ahead()) == 600 * 60
    assert rest_s(look(evening, begun + EIGHT_PM + 500), Ahead()) == 100 * 60
    assert rest_s(look(week(), begun + NINE_AM), Ahead()) == 480 * 60


def test_the_share_is_of_parkings_that_lasted() -> None:
    known = Parkings(tuple(Parking(MONDAY, length) for length in (10, 20, 30, 40)), MONDAY, MONDAY)
    rests = {share: rest_s(known, Ahead(share, 4)) / 60 for share in (75, 50, 25, 99)}
    assert rests == {75: 20, 50: 30, 25: 40, 99: 10}
    assert rest_s(known, Ahead(0, 4)) == math.inf


def test_too_few_say_nothing() -> None:
    known = Parkings(tuple(Parking(MONDAY, 60) for _ in range(4)), MONDAY, MONDAY)
    assert rest_s(known, Ahead()) == math.inf
    evening = look(week(), MONDAY + 9 * 1440 + EIGHT_PM)
    assert rest_s(look(evening, MONDAY + 9 * 1440 + EIGHT_PM + 700), Ahead()) == math.inf, "none was so long"
    assert rest_s(week(), Ahead()) == math.inf, "it drives"


def test_without_a_clock_or_a_gear_nothing_is_learned() -> None:
    assert look(NONE, MONDAY, quality=Quality.STALE) == NONE
    assert after(NONE, {}) == NONE


def test_what_nobody_saw_is_not_learned_from() -> None:
    known = look(look(NONE, MONDAY), MONDAY + 3 * 1440)
    assert known.began_min == MONDAY + 3 * 1440
    assert look(look(NONE, MONDAY), MONDAY - 5).began_min == MONDAY - 5  # a clock that was set back


def test_a_stop_at_a_light_is_no_parking() -> None:
    assert look(look(NONE, MONDAY), MONDAY + 1, gear=127.0).past == ()


def test_only_so_many_are_remembered() -> None:
    known = NONE
    for number in range(parkings.REMEMBERED + 3):
        known = look(look(known, MONDAY + 20 * number), MONDAY + 20 * number + 10, gear=127.0)
    assert len(known.past) == parkings.REMEMBERED
    assert known.past[0].begin_min == MONDAY + 60


@given(st.binary(max_size=200))
def test_a_damaged_file_is_an_error_of_one_kind(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        load(data)


def test_the_file_says_what_was_known() -> None:
    begun = look(week(), MONDAY + 7 * 1440)
    assert load(store(begun)) == begun
    for bad in (
        b'{"version":1,"past":[[1,-2]],"began_min":null,"seen_min":0}',
        b'{"version":2}',
        b"[]",
        b'{"version":1}',
    ):
        with pytest.raises(ValueError, match="no memory of parkings"):
            load(bad)
