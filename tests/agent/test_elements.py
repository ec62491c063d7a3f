"""Which blocks of a screen are read."""

from __future__ import annotations

import pytest

from runtime.agent.blocks import BlockFinder
from runtime.agent.elements import ElementFinder, readable
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
