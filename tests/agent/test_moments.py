"""Dates and times in several forms, and how what is shown stands to what is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agent.moments import DIMS, compared, date_in, minutes_in, wanted_of
from runtime.agent.words import MONTHS


@pytest.mark.parametrize(
    "text",
    [
        "12/01/2016",
        "2016-12-01",
        "December 1, 2016",
        "1 December 2016",
        "Dec 1st 2016",
        "book it for 12/1/2016, please",
    ],
)
def test_a_date_is_the_same_in_every_form(text: str) -> None:
    assert date_in(text) == (12 * 2016 + 11, 1)


@pytest.mark.parametrize("text", ["May", "the 5th", "17/45/2016", "version 2016", "", "12:30"])
def test_what_has_no_month_and_year_is_no_date(text: str) -> None:
    assert date_in(text) is None


def test_times_are_minutes() -> None:
    assert minutes_in("between 12AM and 4:30 PM, at 12pm") == [0, 990, 720]
    assert minutes_in("13 pm, 4 items") == []


@given(st.integers(1, 12), st.integers(1, 28), st.integers(1990, 2030), st.integers(1, 12), st.integers(1990, 2030))
def test_a_month_is_before_or_after_the_one_that_is_wanted(
    month: int, day: int, year: int, other: int, then: int
) -> None:
    wanted = wanted_of(f"Choose {month}/{day}/{year} now")
    name = next(name for name, number in MONTHS.items() if number == other)
    says, order, far, is_day, *_ = compared(f"{name} {then}", wanted)
    apart = 12 * (then - year) + other - month
    assert (says, order) == (1, (apart > 0) - (apart < 0))
    assert (far == 0) == (apart == 0)
    assert is_day == 0
    assert compared(str(day), wanted)[3] == 1
    assert compared(str(day + 1), wanted)[3] == 0


def test_a_time_is_told_from_both_that_are_wanted() -> None:
    wanted = wanted_of("an hour between 11AM and 1PM")
    assert compared("10am", wanted)[4:] == (1, -1, -1)
    assert compared("12pm", wanted)[4:] == (1, 1, -1)
    assert compared("1pm", wanted)[4:] == (1, 1, 0)


def test_where_nothing_is_wanted_nothing_is_compared() -> None:
    assert compared("March 2016", wanted_of("Press Submit")) == (0.0,) * DIMS
