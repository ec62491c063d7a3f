"""Widgets of whole layouts at once are those of a loop over shapes and texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.agent.blocks import Layout, Shape, TextBlock
from runtime.agent.geometry import Box, holding
from runtime.agent.widgets import find_widgets

WHITE = (255, 255, 255)
SIDES = st.integers(1, 60)
BOXES = st.builds(Box, st.integers(0, 90), st.integers(0, 90), SIDES, SIDES)


@given(st.lists(BOXES, max_size=8), st.lists(st.tuples(st.integers(-5, 160), st.integers(-5, 160)), max_size=8))
def test_holding_is_a_table_of_holds(boxes: list[Box], points: list[tuple[int, int]]) -> None:
    made = holding(boxes, points)
    assert made.shape == (len(boxes), len(points))
    assert made.tolist() == [[box.holds(*point) for point in points] for box in boxes]


@given(st.lists(st.tuples(BOXES, st.sampled_from(["box", "ring", "figure"])), max_size=9), st.lists(BOXES, max_size=9))
def test_texts_and_panels_are_those_of_a_loop(shapes: list[tuple[Box, str]], texts: list[Box]) -> None:
    layout = Layout(
        150,
        150,
        tuple(TextBlock(box, (0, 0, 0), WHITE) for box in texts),
        tuple(Shape(box, kind, WHITE) for box, kind in shapes),
    )
    widgets = find_widgets(layout)
    outlines = [box for box, kind in shapes if kind in ("box", "ring") and 2 * box.area < 150 * 150]
    assert sorted(widget.box for widget in widgets) == sorted(outlines)
    for widget in widgets:
        assert [text.box for text in widget.texts] == [box for box in texts if widget.box.holds(*box.centre)]
        large = any(
            widget.box.contains(box, 1) and box.area < widget.box.area and box.h >= 12 and box.w > 14
            for box in outlines
        )
        if large and max(widget.box.w, widget.box.h) >= 28:
            assert widget.kind in ("panel", "circle")
