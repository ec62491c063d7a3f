"""A look as numbers: fixed sizes, finite, and what it says of matches, memory and neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.agent.blocks import BlockFinder
from runtime.agent.deciding import TOKEN_STEP, GramTable, feeds_of, parted
from runtime.agent.deeds import Memory, keys_of
from runtime.agent.elements import ELEMENT_KINDS, MOST_ELEMENTS, Element, ElementFinder, readable
from runtime.agent.features import (
    BOX_DIMS,
    WORD_DIMS,
    Look,
    forget_instructions,
    look_of,
)
from runtime.agent.geometry import Box
from runtime.agent.grams import BUCKETS, padded, spelled_alike, spelling
from runtime.agent.instruction_words import MOST_WORDS, words_of
from runtime.agent.pairs import PAIRS, pairs_of
from runtime.agent.recognition import Reading
from tests.agent.screens import Canvas

INSTRUCTION = 'Click on the "Submit" button, then the red one.'
WHITE, RED = (255, 255, 255), (0, 0, 255)
ELEMENTS = [
    Element("line", Box(10, 10, 40, 10), "Name:", 0.9, (0, 0, 0), WHITE),
    Element("button", Box(60, 5, 60, 20), "Submit", 1.0, WHITE, WHITE),
    Element("shape", Box(130, 5, 20, 20), "", 0.0, RED, RED),
]
PIXELS: NDArray[np.uint8] = np.full((60, 200, 4), 255, dtype=np.uint8)


def look(memory: Memory | None = None, elements: list[Element] = ELEMENTS) -> Look:
    return look_of(PIXELS, elements, INSTRUCTION, memory or Memory(), keys_of(PIXELS, elements))


def test_words_keep_their_places_and_know_quotes() -> None:
    words = words_of(INSTRUCTION)
    assert all(INSTRUCTION[word.start : word.end] == word.text for word in words)
    assert [word.text for word in words if word.quoted] == ["Submit"]
    assert len(words_of("word " * 500)) == MOST_WORDS


@pytest.mark.parametrize("elements", [ELEMENTS, ELEMENTS[:1], []])
def test_sizes_are_fixed_and_numbers_finite(elements: list[Element]) -> None:
    made, words = look(elements=elements), words_of(INSTRUCTION)
    assert made.words.shape == (len(words), WORD_DIMS)
    assert made.boxes.shape == (len(elements), BOX_DIMS)
    assert made.alike.shape[:2] == (len(words), len(elements))
    pairs = pairs_of(made)
    assert pairs.shape[0] == PAIRS
    for values in (made.screen, made.words, made.deeds, made.boxes, made.alike, pairs):
        assert np.isfinite(values).all()
        assert np.abs(values).max(initial=0) < 50


def test_a_word_is_alike_to_what_carries_it_and_a_colour_to_what_has_it() -> None:
    made, words = look(), [word.text for word in words_of(INSTRUCTION)]
    submit, red = words.index("Submit"), words.index("red")
    assert made.alike[submit, :, 1].tolist() == [0, 1, 0]
    assert made.alike[submit, :, 0].argmax() == 1
    assert made.alike[red, 2, 4] > 0.5
    assert made.alike[red, 0, 4] == 0


def test_what_was_clicked_is_told_apart() -> None:
    memory = Memory()
    before = look(memory)
    memory.observe(*keys_of(PIXELS, ELEMENTS))
    memory.record("click", ELEMENTS[1].box.centre, (0, 0), "Submit")
    after = look(memory)
    changed = np.flatnonzero((before.boxes != after.boxes).any(axis=1))
    assert 1 in changed
    assert (pairs_of(after)[13] != 0).sum() == 2


def test_feeds_are_padded_to_few_sizes_and_parted_again() -> None:
    made = look()
    table = GramTable.of(np.random.default_rng(0).normal(size=(BUCKETS, 6)).astype(np.float32))
    feeds = feeds_of(made, table)
    count = 1 + len(made.words) + len(made.deeds) + len(made.boxes)
    assert feeds["tokens"].shape[1] % TOKEN_STEP == 0
    assert feeds["pairs"].shape[1:] == (PAIRS + 1, *feeds["tokens"].shape[1:2] * 2)
    assert (feeds["pairs"][0, PAIRS, 0] == (np.arange(feeds["tokens"].shape[1]) >= count)).all()
    rows = np.arange(feeds["tokens"].shape[1], dtype=np.float32)[None, :, None]
    _, boxes, words, _ = parted([rows, rows, rows, rows], made)
    assert boxes[0, :, 0].tolist() == [count - 3, count - 2, count - 1]
    assert words[0, 0, 0] == 1
    assert words.shape[1] == len(made.words)


def test_a_table_in_int8_is_near_the_floats() -> None:
    values = np.random.default_rng(0).normal(size=(BUCKETS, 8)).astype(np.float32)
    grams = padded(["Submit", "Submit order", ""])
    summed = GramTable.of(values).summed(grams)
    expected = np.where((grams > 0)[..., None], values[grams], 0).sum(axis=1)
    assert np.abs(summed - expected).max() < 0.15
    assert (summed[2] == 0).all()


def test_spelling_is_likeness() -> None:
    rows = spelling(["Submit", "submit", "Subm1t", "Cancel"])
    likeness = spelled_alike(rows, rows)
    assert likeness[0, 1] == pytest.approx(1, abs=1e-5)
    assert likeness[0, 1] >= likeness[0, 2] > likeness[0, 3]


def test_elements_of_a_form_have_words_parents_and_the_place_after_a_label() -> None:
    canvas = Canvas()
    canvas.text(20, 18, "Your name:")
    canvas.box(120, 60, 90, 30, fill=(225, 225, 225))
    canvas.text(140, 68, "Send it")
    frame = canvas.frame()
    layout = BlockFinder().find(frame)
    blocks = readable(layout)
    said = ["Your name:" if block.box.y < 40 else "Send it" for block in blocks]
    places = [tuple((n + 0.5) / len(text) for n in range(len(text))) for text in said]
    readings = [Reading(text, at, 1.0) for text, at in zip(said, places, strict=True)]
    elements = ElementFinder().find(frame.pixels, layout, blocks, readings)
    assert {one.kind for one in elements} <= set(ELEMENT_KINDS)
    words = [one for one in elements if one.kind == "word"]
    assert [one.text for one in words] == ["Your", "name:", "Send", "it"]
    assert all(elements[one.line].kind == "line" for one in words)
    button = next(one for one in elements if one.kind == "button")
    assert button.text == "Send it"
    assert elements[words[2].parent] == button
    gap = next(one for one in elements if one.kind == "patch")
    assert gap.box.x >= words[1].box.right


def test_elements_are_bounded() -> None:
    layout = BlockFinder().find(Canvas().frame())
    many = [Reading(" ".join("ab" for _ in range(40)), tuple(n / 119 for n in range(119)), 1.0)] * 30
    canvas = Canvas()
    for row in range(10):
        canvas.text(4, 4 + 22 * row, "a line of several words")
    frame = canvas.frame()
    layout = BlockFinder().find(frame)
    blocks = readable(layout)
    assert len(ElementFinder().find(frame.pixels, layout, blocks, many[: len(blocks)])) <= MOST_ELEMENTS


@given(
    st.lists(st.text("aAbB:1 ", max_size=9), max_size=9),
    st.text("aAbB:1 ", max_size=30),
)
def test_words_and_elements_are_compared_as_one_by_one(texts: list[str], instruction: str) -> None:
    """The whole table at once equals a loop over words and elements, to the bit."""
    elements = [Element("line", Box(0, 0, 9, 9), text, 1.0, WHITE, WHITE) for text in texts]
    words = [word.text for word in words_of(instruction)]
    made = look_of(PIXELS, elements, instruction, Memory(), keys_of(PIXELS, elements)).alike
    parts = [[word.text for word in words_of(text)] for text in texts]
    names = list(dict.fromkeys(text for part in parts for text in part))
    likeness = spelled_alike(spelling(words), spelling(names)) if words and names else np.zeros((0, 0))
    for row, word in enumerate(words):
        for column, part in enumerate(parts):
            same = any(word.lower() == text.lower() for text in part)
            wanted = [
                max((likeness[row, names.index(text)] for text in part), default=0),
                same,
                word in part,
                np.float32(same) / np.float32(max(1, len(part))),
            ]
            np.testing.assert_array_equal(made[row, column, :4], np.array(wanted, dtype=np.float32))


def test_spelling_of_many_is_that_of_each() -> None:
    words = ["Submit", "submit", "lO1", "a", "", "Submit"]
    for mine, each in zip(spelling(words), zip(*[spelling([word]) for word in words], strict=True), strict=True):
        np.testing.assert_array_equal(mine, np.concatenate(each))
    assert [len(part) for part in spelling([])] == [0, 0]


@given(st.lists(st.lists(st.text("aAbB:1 ", max_size=9), max_size=9), min_size=1, max_size=4), st.booleans())
def test_what_was_compared_before_changes_nothing(screens: list[list[str]], forgets: bool) -> None:
    instruction = "Ab 1 bab: 11 and aaB"
    for texts in screens:
        elements = [Element("line", Box(0, 0, 9, 9), text, 1.0, WHITE, WHITE) for text in texts]
        made = look_of(PIXELS, elements, instruction, Memory(), keys_of(PIXELS, elements)).alike
        forget_instructions()
        again = look_of(PIXELS, elements, instruction, Memory(), keys_of(PIXELS, elements)).alike
        np.testing.assert_array_equal(made, again)
        if not forgets:
            look_of(PIXELS, elements[::-1], instruction, Memory(), keys_of(PIXELS, elements[::-1]))


def test_numbers_are_compared_with_what_stands_on_the_screen() -> None:
    elements = [
        Element("line", Box(10, 10, 80, 10), "August 2016", 0.9, (0, 0, 0), WHITE),
        Element("line", Box(10, 30, 10, 10), "5", 0.9, (0, 0, 0), WHITE),
        Element("line", Box(40, 30, 10, 10), "-7", 0.9, (0, 0, 0), WHITE),
    ]
    made = look_of(PIXELS, elements, "Pick 08/05 or -7", Memory(), keys_of(PIXELS, elements))
    texts = [word.text for word in words_of("Pick 08/05 or -7")]
    eight, five, seven = (texts.index(text) for text in ("08", "05", "7"))
    assert made.alike[eight, :, 5].tolist() == [1, 0, 0]
    assert made.alike[five, :, 5].tolist() == [0, 1, 0]
    assert made.alike[seven, :, 5].tolist() == [0, 0, 1]
    assert made.alike[eight, 1, 6] < 0 < made.alike[seven, 1, 6]
    pairs, first = pairs_of(made), 1 + len(made.words) + len(made.deeds)
    assert pairs[18, 1 + five, first + 1] == pairs[18, first + 1, 1 + five] == 1


def test_the_least_of_a_unit_is_known() -> None:
    texts = ("$45", "$7", "3", "10", "2h 5m", "1h 59m")
    elements = [
        Element("line", Box(10, 10 * row, 40, 8), text, 0.9, (0, 0, 0), WHITE) for row, text in enumerate(texts)
    ]
    at = next(column for column in range(BOX_DIMS) if look(elements=elements).boxes[:, column].tolist() == IS_LEAST)
    cheaper = [*elements, Element("line", Box(10, 90, 40, 8), "$3", 0.9, (0, 0, 0), WHITE)]
    assert look(elements=cheaper).boxes[:, at].tolist() == [0, 0, 1, 0, 0, 1, 1]


IS_LEAST = [0, 1, 1, 0, 0, 1]
