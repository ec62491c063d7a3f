"""Which blocks of a screen are read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runtime.agent.blocks import BlockFinder
from runtime.agent.elements import Element, ElementFinder, readable
from runtime.agent.geometry import Box
from runtime.agent.recognition import Reading
from tests.agent.screens import Canvas


@pytest.mark.parametrize(
    "strokes", [[(47, 37, 7, 1)], [(47, 35, 7, 1), (47, 39, 7, 1)], [(45, 34, 9, 2), (45, 39, 9, 2)]]
)
def test_level_strokes_that_stand_alone_on_a_key_are_a_sign(strokes: list[tuple[int, int, int, int]]) -> None:
    canvas = Canvas()
    canvas.box(20, 20, 60, 35, fill=(240, 240, 240))
    for x, y, w, h in strokes:
        canvas.box(x, y, w, h, line=(40, 40, 40))
    (sign,) = readable(BlockFinder().find(canvas.frame()))
    whole = Box(*strokes[0]).union(Box(*strokes[-1]))
    assert abs(sign.box.x - whole.x) <= 1
    assert abs(sign.box.right - whole.right) <= 1
    assert abs(sign.box.y - whole.y) <= 1
    assert abs(sign.box.bottom - whole.bottom) <= 1


def test_strokes_beside_letters_are_no_sign() -> None:
    canvas = Canvas()
    canvas.box(20, 20, 80, 45, fill=(240, 240, 240))
    canvas.text(30, 26, "Save")
    for y in (50, 54):
        canvas.box(30, y, 8, 1, line=(40, 40, 40))
    layout = BlockFinder().find(canvas.frame())
    assert len(layout.texts) == 3
    assert set(readable(layout)) <= set(layout.texts)


@pytest.mark.parametrize(
    ("size_px", "text", "certainty", "read"),
    [(36, "8w", 0.3, ""), (36, "8w", 0.9, "8w"), (36, "Settings", 0.3, "Settings"), (12, "8w", 0.3, "8w")],
)
def test_a_few_doubtful_signs_of_a_large_thing_are_no_text(
    size_px: int, text: str, certainty: float, read: str
) -> None:
    canvas = Canvas()
    canvas.text(20, 20, "Wagon", size_px)
    layout, pixels = BlockFinder().find(canvas.frame()), canvas.frame().pixels
    blocks = readable(layout)
    readings = [Reading(text, tuple((k + 0.5) / len(text) for k in range(len(text))), certainty) for _ in blocks]
    elements = ElementFinder().find(pixels, layout, blocks, readings)
    assert [one.text for one in elements if one.kind == "line"] == [read] * len(blocks)


def found(canvas: Canvas, text_of: Callable[[Box], str]) -> list[Element]:
    """The elements of a canvas on which each line says what `text_of` its box is."""
    layout, pixels = BlockFinder().find(canvas.frame()), canvas.frame().pixels
    blocks = readable(layout)
    texts = [text_of(block.box) for block in blocks]
    readings = [Reading(text, tuple((k + 0.5) / len(text) for k in range(len(text))), 0.95) for text in texts]
    return ElementFinder().find(pixels, layout, blocks, readings)


def dotted(canvas: Canvas, *places: tuple[int, int]) -> None:
    for x, y in places:
        canvas.rounded(x - 4, y - 4, 9, 9, 4, (0, 0, 0), (0, 0, 0))


def test_dots_in_the_figure_of_a_button_that_a_line_reaches_still_mean_something() -> None:
    canvas = Canvas()
    canvas.box(40, 150, 100, 32, line=(90, 90, 90), fill=(239, 239, 239))
    canvas.text(70, 160, "Submit")
    canvas.line((60, 60), (90, 149))
    dotted(canvas, (60, 60), (90, 146))
    made = found(canvas, lambda box: "Submit" if box.y > 152 else "•" if max(box.w, box.h) <= 12 else "")
    assert any(one.kind == "button" and one.text == "Submit" for one in made)
    assert {"midpoint", "corner"} <= {one.kind for one in made}


@pytest.mark.parametrize(("letters", "means"), [("", True), ("ab", True), ("abcd", False)])
def test_dots_among_letters_are_things_as_these_are(letters: str, means: bool) -> None:
    canvas = Canvas()
    dotted(canvas, (60, 60), (120, 100))
    for place, letter in enumerate(letters):
        canvas.text(40 + 40 * place, 180, letter)
    made = found(canvas, lambda box: letters[(box.x - 30) // 40] if box.y > 150 else "•")
    assert any(one.kind == "midpoint" for one in made) == means


@pytest.mark.parametrize(("beside", "counted"), [("+", ["3"]), ("red", [])])
def test_a_sign_beside_things_is_no_label_of_theirs(beside: str, counted: list[str]) -> None:
    canvas = Canvas()
    for place in range(3):
        canvas.box(20 + 16 * place, 60, 13, 13, line=(0, 0, 0), fill=(120, 170, 255))
    canvas.text(72, 60, beside)
    made = found(canvas, lambda box: beside)
    assert [one.text for one in made if one.kind == "computed"] == counted
