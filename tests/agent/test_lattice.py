"""Places in rows and columns of equal things, and counterparts."""

from __future__ import annotations

import numpy as np

from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.lattice import lattice_of

WHITE = (255, 255, 255)


def square(x: int, y: int, kind: str = "tick", side: int = 10) -> Element:
    return Element(kind, Box(x, y, side, side), "", 0.0, WHITE, WHITE)


def test_each_of_a_grid_knows_its_column_row_number_and_steps_from_the_middle() -> None:
    grid = [square(20 * column, 30 * row) for row in range(3) for column in range(5)]
    made = lattice_of([square(200, 5, "button", 44), *grid])
    assert made.group[0] == -1
    assert made.number[0] == 0
    assert made.number[1:].tolist() == list(range(1, 16))
    assert made.column[1:6].tolist() == [0, 1, 2, 3, 4]
    assert made.across[1:6].tolist() == [-2, -1, 0, 1, 2]
    assert made.up[[1, 6, 11]].tolist() == [1, 0, -1]
    assert set(made.columns[1:]) == {5}
    assert set(made.rows[1:]) == {3}


def test_steps_are_kept_where_the_middle_column_is_hidden() -> None:
    made = lattice_of([square(20 * column, 30 * row) for row in (0, 1) for column in (0, 1, 3, 4)])
    assert made.across[:4].tolist() == [-2, -1, 1, 2]


def test_a_grid_has_its_counterpart_in_another_of_its_shape() -> None:
    boxes = [square(20 * column, 20 * row) for row in range(3) for column in range(2)]
    picture = [square(100 + 12 * column, 12 * row, "shape", 8) for row in range(3) for column in range(2)]
    made = lattice_of([*boxes, *picture])
    assert made.counterpart.tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]


def test_grids_of_other_shapes_and_single_things_have_none() -> None:
    made = lattice_of(
        [square(0, 0), square(20, 0), square(0, 40, "shape"), square(0, 60, "shape"), square(9, 9, "field")]
    )
    assert (made.counterpart == -1).all()
    assert lattice_of([]).group.shape == (0,)
    assert np.isfinite(lattice_of([square(0, 0), square(1, 1)]).across).all()


def test_grids_in_frames_of_their_own_are_two_however_alike_they_are() -> None:
    frames = [
        Element("panel", Box(0, 0, 60, 60), "", 0.0, WHITE, WHITE),
        Element("panel", Box(90, 0, 60, 60), "", 0.0, WHITE, WHITE),
    ]
    inner = [
        Element("tick", Box(left + 20 * column, 20 * row, 10, 10), "", 0.0, WHITE, WHITE, parent)
        for parent, left in enumerate((5, 95))
        for row in range(2)
        for column in range(2)
    ]
    made = lattice_of([*frames, *inner])
    assert made.counterpart[2:].tolist() == [6, 7, 8, 9, 2, 3, 4, 5]


def test_the_items_of_a_list_are_numbered_though_they_are_of_any_length() -> None:
    lines = [Element("line", Box(10, 14 * row, 20 + 9 * row, 9), "x", 0.9, WHITE, WHITE) for row in range(4)]
    assert lattice_of(lines).number.tolist() == [1, 2, 3, 4]
