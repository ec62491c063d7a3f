"""What follows from a screen: sums, also in pieces, and how many equal things there are."""

from __future__ import annotations

import pytest

from runtime.agent.computed import counts_of, sums_of
from runtime.agent.geometry import Box


def row(*texts: str, gap: int = 9, top: int = 10) -> list[tuple[Box, str]]:
    """Large signs side by side; strokes are low."""
    made, x = list[tuple[Box, str]](), 20
    for text in texts:
        is_stroke = text in ("—", "-")
        made.append((Box(x, top + 9 if is_stroke else top, 12 * len(text), 3 if is_stroke else 20), text))
        x += 12 * len(text) + gap
    return made


@pytest.mark.parametrize(
    ("texts", "result"),
    [(("8 + 3",), "11"), (("9", "—", "4", "—"), "5"), (("1", "+", "5"), "6"), (("-3", "×", "4"), "-12")],
)
def test_a_sum_may_be_in_pieces(texts: tuple[str, ...], result: str) -> None:
    assert [text for _, text in sums_of(row(*texts))] == [result]


def test_its_place_is_that_of_all_its_pieces() -> None:
    pieces = row("9", "—", "4")
    assert sums_of(pieces)[0][0] == pieces[0][0].union(pieces[2][0])


def test_numbers_far_apart_or_below_each_other_are_no_sum() -> None:
    assert sums_of(row("9", "-4", gap=60)) == []
    assert sums_of([*row("9"), *row("-4", top=60)]) == []
    assert sums_of(row("Total", "9", "Items")) == []


def test_equal_things_are_counted() -> None:
    blocks = [Box(10 + 14 * step, 30, 13, 13) for step in range(5)]
    things = [*(("tick", box) for box in blocks), ("tick", Box(90, 80, 30, 30)), ("circle", Box(10, 80, 13, 13))]
    assert counts_of(things, [Box(10, 100, 50, 9)]) == [(Box(10, 30, 69, 13), 5)]


def test_boxes_with_labels_are_there_to_be_ticked() -> None:
    boxes = [Box(10, 30 * step, 13, 13) for step in range(3)]
    assert counts_of([("tick", box) for box in boxes], [Box(28, 62, 40, 9)]) == []
