"""Facts of elements: parity, order, corners as numbers, places in running text, ticks and their names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.agent.deeds import Memory, keys_of
from runtime.agent.elements import Element
from runtime.agent.facts import FACTS, running_of
from runtime.agent.features import BOX_DIMS, Look, look_of
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import words_of
from runtime.agent.names import name_of

WHITE = (255, 255, 255)
PIXELS: NDArray[np.uint8] = np.full((200, 240, 4), 255, dtype=np.uint8)


def line(text: str, x: int, y: int, kind: str = "line", **more: int) -> Element:
    return Element(kind, Box(x, y, 6 * len(text) + 4, 10), text, 0.9, (0, 0, 0), WHITE, **more)


def look(elements: list[Element], instruction: str, memory: Memory | None = None) -> Look:
    return look_of(PIXELS, elements, instruction, memory or Memory(), keys_of(PIXELS, elements))


def facts(elements: list[Element], instruction: str, memory: Memory | None = None) -> NDArray[np.float32]:
    return look(elements, instruction, memory).boxes[:, BOX_DIMS - FACTS :]


def test_what_stands_beside_an_odd_number_is_told_from_what_stands_beside_an_even_one() -> None:
    rows = [line("Odd", 10, 10, "button"), line("-4", 60, 10), line("Odd", 10, 40, "button"), line("7", 60, 40)]
    made = facts(rows, "Mark the numbers")
    assert made[1, :2].tolist() == [0, 1]
    assert made[0, 39:41].tolist() == [0, 1]
    assert made[2, 39:41].tolist() == [1, 0]


def test_the_number_beside_is_compared_to_the_one_that_is_asked_for() -> None:
    for shown, order in (("-2", -1), ("5", 0), ("11", 1)):
        made = facts([line(shown, 10, 10, "field"), line("^", 90, 10, "button")], "Select 5 and submit")
        assert made[1, 41:43].tolist() == [order, 1]
    assert facts([line("^", 90, 10, "button")], "Select 5")[0, 41:43].tolist() == [0, 0]


def test_a_price_with_decimals_is_compared_too() -> None:
    for shown, order in (("$31.20", -1), ("$31.30", 0), ("$31.40", 1)):
        made = facts([line(f"Price: {shown}", 10, 10), line("Buy", 40, 40, "button")], "Buy it for less than $31.30.")
        assert made[1, 41:43].tolist() == [order, 0.5]


def test_the_least_and_the_greatest_of_a_unit_are_known() -> None:
    shown = ["Takes 3h 40m", "$128", "Takes 28h 34m", "$96", "Takes 3h 5m", "$1,258", "7%"]
    made = facts([line(text, 10, 20 * row) for row, text in enumerate(shown)], "Take the cheapest")
    assert made[:, 43].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert made[:, 44].tolist() == [0, 0, 1, 0, 0, 1, 0]


def test_what_is_pressed_is_known_by_the_measure_that_stands_over_it() -> None:
    shown = ["Takes 3h 40m", "Book for $12", "Takes 28h 4m", "Book for $96", "Takes 3h 5m", "Book for $58"]
    made = facts([line(text, 10, 20 * row) for row, text in enumerate(shown)], "Take the shortest")
    assert made[1::2, 45:47].tolist() == [[0, 0], [0, 1], [1, 0]]
    assert made[2, 45:47].tolist() == [1, 0], "over it stands the least price"


def test_the_nearest_whole_number_is_told_wherever_it_stands() -> None:
    made = facts([line("7", 60, 10), line("Submit", 40, 60, "button"), line("12", 60, 160)], "An odd number")
    assert made[1, 47:49].tolist() == [1, 0]
    assert facts([line("Submit", 40, 60, "button")], "An odd number")[0, 47:49].tolist() == [0, 0]


def test_a_number_out_of_order_says_which_way_it_has_to_go() -> None:
    made = facts([line(text, 10, 20 * row) for row, text in enumerate(("17", "-97", "41", "26"))], "Sort them")
    assert np.sign(made[:, 2]).tolist() == [1, -1, 1, -1]
    assert facts([line("1", 10, 0), line("2", 10, 20)], "Sort them")[:, 3].tolist() == [1, 1]


def test_as_many_as_a_figure_has_corners() -> None:
    pixels = PIXELS.copy()
    for row in range(40):
        pixels[60 + row, 100 - row // 2 : 101 + row // 2] = 0
    elements = [Element("figure", Box(80, 60, 41, 40), "", 0.0, WHITE, WHITE), line("3", 10, 150), line("4", 40, 150)]
    made = look_of(pixels, elements, "How many sides?", Memory(), keys_of(pixels, elements))
    assert made.boxes[:, BOX_DIMS - FACTS + 38].tolist() == [0, 1, 0]


def test_words_of_running_text_are_counted_over_its_lines_and_labels_are_not() -> None:
    elements = [
        line("Diam eu.", 10, 10),
        line("Diam", 10, 10, "word", line=0),
        line("eu.", 40, 10, "word", line=0),
        line("nullam", 10, 30),
        line("Submit now", 10, 60, "button"),
        line("Submit", 10, 60, "line", parent=4),
    ]
    assert running_of(elements).tolist() == [0, 1, 2, 3, 0, 0]
    words = [word.text for word in words_of("Type the 3rd word")]
    alike = look(elements, "Type the 3rd word").alike
    assert alike[words.index("3rd"), 3, 7] == 1
    assert alike[words.index("3rd"), :3, 7].tolist() == [0, 0, 0]


def test_a_tick_is_called_by_the_line_right_of_it_and_words_know_what_was_done() -> None:
    elements = [Element("tick", Box(10, 10, 12, 12), "", 0.0, WHITE, WHITE), line("z9pY", 26, 11), line("Jl", 26, 40)]
    assert name_of(0, elements) == "z9pY"
    memory = Memory()
    memory.observe(*keys_of(PIXELS, elements))
    memory.record("click", (16, 16), (0, 0), name_of(0, elements))
    words = [word.text for word in words_of("Select z9pY, Jl")]
    made = look(elements, "Select z9pY, Jl", memory).words
    assert made[words.index("z9pY"), 22] > 0
    assert made[words.index("Jl"), 22] == 0
    assert made[words.index("z9pY"), 23] == 1
