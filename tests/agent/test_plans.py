"""From chances to one action: places, cells, copied, read and spelled text."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from runtime.agent.action_kinds import INDEX, KINDS
from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import words_of
from runtime.agent.plans import CELLS, CENTRE, SLOTS, SOURCES, Answer, answer_of, apart, cell_at, cell_point, plan_of
from runtime.wire.actions import Click, Drag, Type

INSTRUCTION = 'Enter "Ann Lee" and press Submit.'
WORDS = words_of(INSTRUCTION)
ALPHABET = "ab1"
WHITE = (255, 255, 255)
ELEMENTS = [
    Element("field", Box(10, 10, 100, 20), "", 0.0, WHITE, WHITE),
    Element("button", Box(10, 50, 70, 20), "Submit", 1.0, WHITE, WHITE),
    Element("computed", Box(10, 90, 30, 10), "7", 1.0, WHITE, WHITE),
]


GRID = [
    Element("button", Box(10 + 50 * column, 20 + 30 * row, 40, 20), "", 0.0, WHITE, WHITE)
    for row in range(3)
    for column in range(3)
]


def answer(
    kind: str,
    target: int = 0,
    end: int = 0,
    source: str = "instruction",
    text: int = 1,
    own: str = "",
    count: int = len(ELEMENTS),
) -> Answer:
    def one(count: int, place: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        made = np.full(count, 0.1 / count, dtype=np.float32)
        made[place] = 0.9
        return made

    cells = np.zeros((count, 2, CELLS), dtype=np.float32)
    cells[..., CENTRE] = 5
    letters = np.zeros((SLOTS, 4), dtype=np.float32)
    letters[:, 0] = 5
    for slot, sign in enumerate(own):
        letters[slot, ALPHABET.index(sign) + 1] = 9
    return Answer(
        kinds=one(len(KINDS), INDEX[kind]),
        sources=one(len(SOURCES), SOURCES.index(source)),
        target=one(count, target),
        end=one(count, end),
        source=one(count, text),
        cells=cells,
        starts=one(len(WORDS), 2),
        ends=one(len(WORDS), 3),
        letters=letters,
    )


def test_it_points_at_the_middle_of_the_likeliest() -> None:
    plan = plan_of(answer("click", 1), ELEMENTS, WORDS, INSTRUCTION, ALPHABET)
    assert plan.action == Click(45, 60)
    assert (plan.target, plan.label) == (1, "Submit")
    assert 0.7 < plan.confidence < 1


def test_it_never_points_at_what_is_only_computed() -> None:
    plan = plan_of(answer("click", 2), ELEMENTS, WORDS, INSTRUCTION, ALPHABET)
    assert plan.target != 2


@pytest.mark.parametrize(
    ("kind", "last", "point"),
    [
        ("triple-click", (45, 60), (52, 60)),  # either side is as far
        ("triple-click", (42, 60), (52, 60)),
        ("double-click", (48, 60), (38, 60)),
        ("triple-click", (60, 60), (45, 60)),  # a toolkit does not count on from there
        ("triple-click", None, (45, 60)),
        ("click", (45, 60), (45, 60)),
    ],
)
def test_clicks_that_count_begin_beside_the_last_one(
    kind: str, last: tuple[int, int] | None, point: tuple[int, int]
) -> None:
    plan = apart(plan_of(answer(kind, 1), ELEMENTS, WORDS, INSTRUCTION, ALPHABET), ELEMENTS, last)
    assert isinstance(plan.action, Click)
    assert plan.point in (point, (2 * 45 - point[0], 60) if last == (45, 60) else point)
    assert (plan.action.x, plan.action.y) == plan.point
    assert plan.action.count == {"click": 1, "double-click": 2, "triple-click": 3}[kind]


def test_where_there_is_no_room_a_click_stays() -> None:
    narrow = [dataclasses.replace(one, box=Box(one.box.x, one.box.y, 9, one.box.h)) for one in ELEMENTS]
    plan = plan_of(answer("triple-click", 1), narrow, WORDS, INSTRUCTION, ALPHABET)
    assert apart(plan, narrow, plan.point) == plan


def test_a_drag_has_an_end() -> None:
    plan = plan_of(answer("drag", 0, 1), ELEMENTS, WORDS, INSTRUCTION, ALPHABET)
    assert isinstance(plan.action, Drag)
    assert plan.action.path[0] == (60, 20)
    assert plan.action.path[-1] == (45, 60)


@pytest.mark.parametrize(
    ("start", "end", "turn", "last"),
    [
        (5, 6, (20, 60), (20, 95)),  # to the left, then down, past the middle of where it goes
        (6, 2, (140, 90), (140, 25)),  # to the right, then up
        (0, 2, (140, 30), (140, 30)),
        (1, 7, (80, 30), (80, 95)),
    ],
)
def test_a_thing_in_a_grid_goes_along_its_row_and_then_its_column(
    start: int, end: int, turn: tuple[int, int], last: tuple[int, int]
) -> None:
    plan = plan_of(answer("drag", start, end, count=len(GRID)), GRID, WORDS, INSTRUCTION, ALPHABET)
    assert isinstance(plan.action, Drag)
    assert plan.action.path[0] == GRID[start].box.centre
    assert plan.action.path[-1] == plan.end == last
    assert turn in plan.action.path
    for (x, y), (to_x, to_y) in itertools.pairwise(plan.action.path):
        assert x == to_x or y == to_y


@pytest.mark.parametrize(
    ("source", "own", "text"),
    [
        ("instruction", "", "Ann Lee"),
        ("screen", "", "Submit"),
        ("letters", "1", "1"),
        ("instruction", "ab", "abAnn Lee"),
        ("keys", "", "annlee"),
    ],
)
def test_text_is_copied_read_or_spelled(source: str, own: str, text: str) -> None:
    plan = plan_of(answer("type", source=source, own=own), ELEMENTS, WORDS, INSTRUCTION, ALPHABET)
    assert plan.action == Type(text)


def test_what_is_quoted_is_typed_as_a_whole() -> None:
    cut = answer("type")
    cut = dataclasses.replace(cut, ends=cut.starts)  # the likeliest last word is Ann, too
    assert plan_of(cut, ELEMENTS, WORDS, INSTRUCTION, ALPHABET).action == Type("Ann Lee")


def test_what_was_computed_may_be_typed() -> None:
    plan = plan_of(answer("type", source="screen", text=2), ELEMENTS, WORDS, INSTRUCTION, ALPHABET)
    assert plan.action == Type("7")


def test_without_anything_to_point_at_another_kind_is_taken() -> None:
    empty = dataclasses.replace(answer("click"), target=np.zeros(0, np.float32), source=np.zeros(0, np.float32))
    plan = plan_of(empty, [], WORDS, INSTRUCTION, ALPHABET)
    assert plan.kind not in ("click", "drag", "move")
    assert plan_of(empty, [], WORDS, INSTRUCTION, ALPHABET, np.zeros(len(KINDS), np.float32)).confidence < 0.5


def test_chances_of_outputs_sum_to_one() -> None:
    dice = np.random.default_rng(1)
    shapes = ((1, 1, len(KINDS) + len(SOURCES)), (1, 3, 3 + 2 * CELLS), (1, len(WORDS), 2), (1, SLOTS, 4))
    made = answer_of([dice.normal(size=shape).astype(np.float32) for shape in shapes], 1.7)
    for chances in (made.kinds, made.sources, made.target, made.end, made.source, made.starts, made.ends):
        assert chances.sum() == pytest.approx(1, abs=1e-5)


def test_a_cell_holds_its_point() -> None:
    dice = np.random.default_rng(7)
    for x, y, w, h in dice.integers((0, 0, 14, 14), (90, 90, 300, 300), (200, 4)).tolist():
        box, cell = Box(x, y, w, h), int(dice.integers(CELLS))
        point = cell_point(box, cell)
        assert box.holds(*point)
        assert cell_at(box, *point) == cell
