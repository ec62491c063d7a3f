"""Corners of figures, whichever way they are turned."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from runtime.agent.corners import ROUND, corners_of
from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.points import points_of

WHITE = (255, 255, 255)


def drawn(corners: int, turn: float, radius: int, hollow: bool = False) -> tuple[np.ndarray, Element]:
    """Returns a picture of a regular polygon (0 corners: a disc), and the element that it is."""
    size = 2 * radius + 20
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    inner = np.hypot(x, y) <= radius
    if corners:
        apothem = radius * math.cos(math.pi / corners)
        turns = [turn + 2 * math.pi * side / corners for side in range(corners)]
        far = np.max([x * math.cos(one) + y * math.sin(one) for one in turns], axis=0)
        inner = far <= apothem
        if hollow:
            inner &= far >= apothem - 2
    pixels = np.full((size, size, 4), 255, dtype=np.uint8)
    pixels[inner] = 30
    rows, columns = np.flatnonzero(inner.any(axis=1)), np.flatnonzero(inner.any(axis=0))
    box = Box(int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    return pixels, Element("figure", box, "", 0.0, WHITE, WHITE)


@pytest.mark.parametrize("corners", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("turn", [0.0, 0.2, 0.5, 1.1])
@pytest.mark.parametrize(("radius", "hollow"), [(25, True), (40, False)])
def test_a_polygon_has_its_corners_however_it_is_turned(corners: int, turn: float, radius: int, hollow: bool) -> None:
    pixels, figure = drawn(corners, turn, radius, hollow)
    assert corners_of(pixels, [figure]).tolist() == [corners]


@pytest.mark.parametrize("corners", [3, 4, 5, 6, 7])
def test_the_blunt_ends_of_a_thick_outline_are_one_corner_and_its_hole_has_as_many(corners: int) -> None:
    pixels = np.full((110, 110, 4), 255, dtype=np.uint8)
    turns = [0.3 + 2 * math.pi * side / corners for side in range(corners + 1)]
    places = [(55 + 36 * math.cos(turn), 55 + 36 * math.sin(turn)) for turn in turns]
    y, x = np.mgrid[:110, :110]
    for (from_x, from_y), (to_x, to_y) in itertools.pairwise(places):  # strokes of 3 pixels that end square
        length = math.dist((from_x, from_y), (to_x, to_y))
        along = ((x - from_x) * (to_x - from_x) + (y - from_y) * (to_y - from_y)) / length
        aside = ((x - from_x) * (to_y - from_y) - (y - from_y) * (to_x - from_x)) / length
        pixels[(along >= 0) & (along <= length) & (abs(aside) <= 1.5)] = 0
    rows, columns = np.nonzero(pixels[..., 0] == 0)
    outline = Box(int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    hole = Box(outline.x + 4, outline.y + 4, outline.w - 8, outline.h - 8)
    figures = [Element("figure", box, "", 0.0, WHITE, WHITE) for box in (outline, hole)]
    assert corners_of(pixels, figures).tolist() == [corners, corners]


@pytest.mark.parametrize("radius", [6, 12, 40])
def test_a_disc_is_round(radius: int) -> None:
    pixels, disc = drawn(0, 0, radius)
    assert corners_of(pixels, [disc]).tolist() == [ROUND]


def test_text_buttons_and_nothing_have_none() -> None:
    pixels, figure = drawn(4, 0, 20)
    text = Element("line", figure.box, "Submit", 0.9, WHITE, WHITE)
    button = Element("button", figure.box, "", 0.9, WHITE, WHITE)
    empty = Element("figure", Box(0, 0, 9, 9), "", 0.0, WHITE, WHITE)
    assert corners_of(pixels, [text, button, empty]).tolist() == [0, 0, 0]
    assert corners_of(pixels, [text, button]).tolist() == [0, 0]


def dots(*places: tuple[int, int], size: int = 9) -> tuple[np.ndarray, list[Box]]:
    pixels = np.full((200, 200, 4), 255, dtype=np.uint8)
    y, x = np.mgrid[:200, :200]
    boxes = []
    for across, down in places:
        pixels[np.hypot(x - across, y - down) <= size / 2] = 0
        boxes.append(Box(across - size // 2, down - size // 2, size, size))
    return pixels, boxes


def test_two_dots_have_a_middle_and_corners_square_to_the_line_between_them() -> None:
    pixels, boxes = dots((60, 60), (100, 140))
    made = points_of(pixels, boxes)
    assert [box.centre for kind, box, _ in made if kind == "midpoint"] == [(80, 100)]
    corners = [box.centre for kind, box, _ in made if kind == "corner"]
    assert len(corners) == 4
    for x, y in corners:
        assert min(abs((x - a) * 40 + (y - b) * 80) for a, b in ((60, 60), (100, 140))) <= 80, "a pixel off at most"


def test_three_dots_have_bisectors_and_a_single_one_has_places_beside_it() -> None:
    pixels, boxes = dots((50, 150), (50, 50), (150, 150))
    bisectors = [box.centre for kind, box, _ in points_of(pixels, boxes) if kind == "bisector"]
    far = max(math.dist((50, 150), (x, y)) for x, y in bisectors if abs((x - 50) - (150 - y)) <= 1)
    assert 45 <= far <= 100, "near a corner, a pixel is many degrees"
    pixels, boxes = dots((100, 100))
    alone = points_of(pixels, boxes)
    assert [box.centre[1] for kind, box, _ in alone if kind == "across"] == [100, 100]
    assert [box.centre[0] for kind, box, _ in alone if kind == "down"] == [100, 100]


def test_dots_at_the_ends_of_a_line_are_found_in_its_figure() -> None:
    pixels, _ = dots((60, 60), (100, 140))
    for step in range(0, 100):
        pixels[60 + step * 80 // 100, 60 + step * 40 // 100] = 0
    made = points_of(pixels, [Box(56, 56, 49, 89)])
    assert [box.centre for kind, box, _ in made if kind == "midpoint"] == [(80, 100)]


def test_many_dots_and_thick_figures_mean_nothing() -> None:
    pixels, boxes = dots((30, 30), (60, 30), (90, 30), (120, 30))
    assert points_of(pixels, boxes) == []
    pixels[100:160, 40:160] = 0
    assert points_of(pixels, [Box(40, 100, 120, 60)]) == []
    assert points_of(pixels, []) == []
