"""Numbers in texts: the same however they are written, with their sign, with their unit."""

from __future__ import annotations

import pytest

from runtime.agent.instruction_words import words_of
from runtime.agent.quantities import exact_values, measure_of, number_said, signed_values, value_of


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("05", 5),
        ("5th", 5),
        ("May", 5),
        ("may", None),
        ("five", 5),
        ("Fifth", 5),
        ("Aug", 8),
        ("x5", None),
        ("last", -1),
    ],
)
def test_a_number_is_the_same_however_it_is_written(word: str, value: int | None) -> None:
    assert value_of(word) == value


def test_a_minus_belongs_to_a_number_unless_it_joins_two() -> None:
    assert signed_values(words_of("Turn to -7")) == [None, None, None, -7]
    assert [value for value in signed_values(words_of("08-05-2016")) if value] == [8, 5, 2016]


def test_decimals_belong_to_the_number_before_them() -> None:
    assert [value for value in exact_values(words_of("less than $57.90, or -3.5")) if value] == [57.9, 90, -3.5, 5]
    assert exact_values(words_of("Item 7. 12 left"))[1:4] == [7, None, 12]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$45.00", 45),
        ("price:$45.10", 45.1),
        ("Left: -3", -3),
        ("at 12:30", None),
        ("v2: beta", None),
        ("3 left", None),
    ],
)
def test_a_label_says_the_number_behind_its_colon(text: str, number: float | None) -> None:
    assert number_said(text) == number


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("$45", ("$", (45.0,))),
        ("2h 35m", ("0h0m", (2.0, 35.0))),
        ("Duration: 10h 27m", ("Duration:0h0m", (10.0, 27.0))),
        ("-7", ("", (-7.0,))),
        ("OK", None),
        (". - ", None),
    ],
)
def test_a_measure_has_a_unit_and_a_size(text: str, measure: object) -> None:
    assert measure_of(text) == measure
