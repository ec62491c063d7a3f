"""The recipe of the trained agent: labels follow demonstrations, memory follows what was done, strings are split."""

from __future__ import annotations

import random

import numpy as np
import pytest

from models.screen_agent.labelled import bit, cells_for, label_of, of_episode, spans_of
from models.screen_agent.reading_texts import ALPHABET, held_out, text
from runtime.agent.action_kinds import INDEX, KINDS, circle_path
from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import words_of
from runtime.agent.plans import CELLS, CENTRE, SOURCES, cell_point
from runtime.agent.small_reader import SmallReader
from runtime.backends.protocol import Feeds, StepResult
from runtime.desktop.episodes import Episode, Shown, pack_frame
from runtime.store.manifest import TensorSpec
from runtime.wire.actions import Action, Click, Drag, Key, Scroll, Type

WHITE = (255, 255, 255)
INSTRUCTION = 'Enter "Ann" and press Submit.'
ELEMENTS = [
    Element("field", Box(10, 10, 100, 20), "", 0.0, WHITE, WHITE),
    Element("button", Box(10, 50, 70, 20), "Submit", 1.0, WHITE, WHITE),
    Element("panel", Box(0, 0, 200, 200), "", 0.0, WHITE, WHITE),
]


class SilentModel:
    """A recogniser that reads nothing: its first class always wins."""

    inputs = (TensorSpec("strips", ("n", 1, 24, "w"), "float32"),)
    outputs = (TensorSpec("columns", ("n", 2 * (len(ALPHABET) + 1), 1, "half"), "float32"),)
    resident_bytes = stop_bound_us = 0

    def start(self, feeds: Feeds) -> SilentRun:
        return SilentRun(feeds["strips"].shape)

    def close(self) -> None: ...


class SilentRun:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def step(self, gate: object) -> StepResult:
        return StepResult.DONE

    def outputs(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        columns = np.zeros((self._shape[0], 2, len(ALPHABET) + 1, self._shape[3] // 2), dtype=np.float32)
        columns[:, :, 0] = 9
        return {"columns": columns.reshape(self._shape[0], -1, 1, self._shape[3] // 2)}


def step(
    label: Action, targets: list[tuple[int, int, int, int]], source: str = "", taken: Action | None = None
) -> Shown:
    frame = np.full((60, 120, 4), 255, dtype=np.uint8)
    frame[20:40, 20:80] = 200
    return Shown(pack_frame(frame), label, targets, [], source, taken or label, taken is not None)


def test_every_element_whose_centre_is_in_a_target_is_right() -> None:
    assert cells_for((15, 12), [(5, 5, 110, 30)], ELEMENTS).tolist() == [bit(CENTRE), 0, 0]


def test_without_one_a_cell_of_what_is_around_is() -> None:
    cells = cells_for((150, 150), [(140, 140, 20, 20)], ELEMENTS)
    assert cells.tolist()[:2] == [0, 0]
    right = [cell for cell in range(CELLS) if int(cells[2]) >> cell & 1]
    assert right
    assert all(Box(140, 140, 20, 20).holds(*cell_point(ELEMENTS[2].box, cell)) for cell in right)


def test_of_a_target_too_thin_for_any_cell_the_nearest_is_right() -> None:
    track = [Element("shape", Box(20, 0, 14, 210), "", 0.0, WHITE, WHITE), ELEMENTS[1]]
    made = cells_for((27, 82), [(23, 82, 8, 1)], track)
    assert made[1] == 0
    (cell,) = (cell for cell in range(CELLS) if int(made[0]) >> cell & 1)
    assert abs(cell_point(track[0].box, cell)[1] - 82) <= 8
    assert not cells_for((150, 150), [(150, 150, 1, 1)], track).any(), "nothing is near"


def test_typed_text_is_found_in_the_instruction_or_on_the_screen() -> None:
    words = words_of(INSTRUCTION)
    assert [(words[a].text, words[b].text) for a, b in spans_of("Ann", words, INSTRUCTION)] == [("Ann", "Ann")]
    assert spans_of("nn", words, INSTRUCTION) == []
    copied = label_of(step(Type("Ann"), [], "instruction"), ELEMENTS, INSTRUCTION)
    assert copied.text_from == SOURCES.index("instruction")
    read = label_of(step(Type("Submit"), [], "screen"), ELEMENTS, INSTRUCTION)
    assert read.text_from == SOURCES.index("screen")
    assert read.sources.tolist() == [False, True, False]
    spelled = label_of(step(Type("42"), [], "computed"), ELEMENTS, INSTRUCTION)
    assert spelled.text_from == SOURCES.index("letters")
    assert [ALPHABET[letter - 1] for letter in spelled.letters] == ["4", "2"]


@pytest.mark.parametrize(
    ("instruction", "text", "source", "words", "own"),
    [
        ("Enter 3:54 PM as the time.", "0354pm", "keys", "3:54 PM", ""),
        ("Enter 11/7/2012 there.", "11072012", "keys", "11/7/2012", ""),
        ("Select magenta now", "FF00FF", "colour", "magenta", ""),
        ("Delete the file sonic.rb", "rm sonic.rb", "instruction", "sonic.rb", "rm "),
    ],
)
def test_typed_text_may_be_a_form_of_words_and_begin_with_letters_of_its_own(
    instruction: str, text: str, source: str, words: str, own: str
) -> None:
    label = label_of(step(Type(text), [], "computed"), ELEMENTS, instruction)
    assert label.text_from == SOURCES.index(source)
    said = words_of(instruction)
    assert words in [instruction[said[first].start : said[last].end] for first, last in label.spans]
    assert "".join(ALPHABET[letter - 1] for letter in label.letters) == own


def test_a_word_at_the_end_of_a_sentence_is_typed_without_its_sign() -> None:
    last = Element("word", Box(0, 0, 30, 9), "Amet.", 0.9, WHITE, WHITE)
    label = label_of(step(Type("Amet"), [], "screen"), [*ELEMENTS, last], INSTRUCTION)
    assert label.sources.tolist() == [False, False, False, True]


def test_what_was_misread_is_still_where_the_text_is_from() -> None:
    near = Element("word", Box(0, 0, 30, 9), "sanic.rb", 0.9, WHITE, WHITE)
    label = label_of(step(Type("rm sonic.rb"), [], "screen"), [*ELEMENTS, near], INSTRUCTION)
    assert label.text_from == SOURCES.index("screen")
    assert label.sources.tolist() == [False, False, False, True]
    assert "".join(ALPHABET[letter - 1] for letter in label.letters) == "rm "
    assert not label_of(step(Type("sonic.rb"), [], "computed"), [*ELEMENTS, near], INSTRUCTION).sources.any()


def test_how_far_the_wheel_is_turned_matters_within_a_factor_of_two() -> None:
    def kinds(action: Action) -> set[str]:
        return {KINDS[kind] for kind in label_of(step(action, []), ELEMENTS, INSTRUCTION).kinds}

    assert kinds(Scroll(60, 30, 0, 5)) == {"scroll-down-3", "scroll-down-10"}
    assert kinds(Scroll(60, 30, 0, -10)) == {"scroll-up-10"}
    assert kinds(Scroll(60, 30, 0, 200)) == {"scroll-down-30"}
    assert kinds(Click(60, 30)) == {"click"}


def test_what_stands_at_the_edge_of_a_large_target_is_not_it() -> None:
    area, handle = Element("area", Box(10, 10, 120, 60), "", 0.0, WHITE, WHITE), Box(118, 58, 10, 10)
    corner = Element("shape", handle, "", 0.0, WHITE, WHITE)
    assert cells_for((60, 40), [(10, 10, 120, 60)], [area, corner]).tolist() == [bit(CENTRE), 0]
    assert cells_for((60, 40), [(10, 10, 120, 60)], [corner]).tolist() == [bit(CENTRE)], "rather that than nothing"


def test_a_circle_is_drawn_around_what_is_in_its_middle() -> None:
    dot = Element("shape", Box(57, 47, 7, 7), "", 0.0, WHITE, WHITE)
    label = label_of(step(Drag(circle_path((60, 50), 24)), [(82, 48, 5, 5)]), [*ELEMENTS, dot], INSTRUCTION)
    assert KINDS[label.kind] == "drag-around-24"
    assert label.targets.tolist() == [0, 0, 0, bit(CENTRE)]
    assert not label.ends.any()


def test_what_the_vocabulary_lacks_has_no_kind() -> None:
    assert label_of(step(Key("ctrl+alt+q"), []), ELEMENTS, INSTRUCTION).kind == -1


def test_an_episode_becomes_samples_whose_memory_is_what_was_done() -> None:
    disturbed = step(Click(30, 30), [(20, 20, 60, 20)], taken=Click(100, 50))
    steps = [disturbed, step(Click(30, 30), [(20, 20, 60, 20)])]
    episode = Episode("page", "train-1", INSTRUCTION, 1.0, 120, 60, 1.0, True, steps)
    first, second = of_episode(episode, SmallReader(SilentModel(), ALPHABET))  # type: ignore[arg-type]
    assert KINDS[first.label.kind] == "click"
    assert first.look.deeds[:, INDEX["click"]].sum() == 0
    assert second.look.deeds[:, INDEX["click"]].sum() == 1
    assert second.look.deed_places[0].tolist()[:2] == [1.0, 0.5]
    failed = Episode("page", "train-1", INSTRUCTION, 1.0, 120, 60, -1.0, False, steps)
    assert of_episode(failed, SmallReader(SilentModel(), ALPHABET)) == []  # type: ignore[arg-type]


def test_strings_are_of_the_alphabet_and_split_by_themselves() -> None:
    dice = random.Random(3)
    drawn = [text(dice, symbols=True) for _ in range(3000)]
    assert all(set(one) <= set(ALPHABET) for one in drawn)
    share = sum(held_out(one) for one in drawn) / len(drawn)
    assert 0.03 < share < 0.1
