"""What fields are called."""

from __future__ import annotations

import pytest

from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.names import name_of

GREY = (128, 128, 128)


def line(text: str, x: int, y: int, parent: int = -1) -> Element:
    return Element("line", Box(x, y, 40, 9), text, 1.0, GREY, GREY, parent)


def field(x: int, y: int, text: str = "") -> Element:
    return Element("field", Box(x, y, 80, 20), text, 1.0, GREY, GREY)


@pytest.mark.parametrize(
    ("elements", "called"),
    [
        ([field(100, 50), line("Year", 20, 55), line("Genre", 100, 38)], "Year"),  # left comes before above
        ([field(20, 50), line("Year", 20, 39), line("Genre", 20, 78)], "Year"),  # above is nearer
        ([field(20, 50), line("Year", 20, 36), line("Genre", 20, 71)], "Genre"),  # below is nearer
        ([field(20, 50), line("far", 20, 10), line("right", 110, 55), line("far", 20, 100)], ""),
        ([field(100, 50), Element("button", Box(40, 50, 50, 20), "Go", 1.0, GREY, GREY), line("Go", 45, 55, 1)], ""),
        ([field(100, 50, "1997"), line("Year", 20, 55)], "1997"),
    ],
)
def test_a_field_is_called_by_what_stands_left_of_it_or_nearest_above_or_below(
    elements: list[Element], called: str
) -> None:
    assert name_of(0, elements) == called
