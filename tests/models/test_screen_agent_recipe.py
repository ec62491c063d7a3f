"""The recipe of the trained agent: labels follow demonstrations, memory follows what was done, strings are split."""

from __future__ import annotations

import random

import numpy as np

from models.screen_agent.labelled import cells_for, label_of, of_episode, spans_of
from models.screen_agent.reading_texts import ALPHABET, held_out, text
from runtime.agent.action_kinds import INDEX, KINDS, circle_path
from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import words_of
from runtime.agent.plans import CENTRE, SOURCES
from runtime.agent.small_reader import SmallReader
from runtime.backends.protocol import Feeds, StepResult
from runtime.desktop.episodes import Episode, Shown, pack_frame
from runtime.store.manifest import TensorSpec
from runtime.wire.actions import Action, Click, Drag, Key, Type

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
    assert cells_for((15, 12), [(5, 5, 110, 30)], ELEMENTS).tolist() == [CENTRE, -1, -1]


def test_without_one_a_cell_of_what_is_around_is() -> None:
    cells = cells_for((150, 150), [(140, 140, 20, 20)], ELEMENTS)
    assert cells.tolist()[:2] == [-1, -1]
    assert cells[2] not in (-1, CENTRE)


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


def test_what_stands_at_the_edge_of_a_large_target_is_not_it() -> None:
    area, handle = Element("area", Box(10, 10, 120, 60), "", 0.0, WHITE, WHITE), Box(118, 58, 10, 10)
    corner = Element("shape", handle, "", 0.0, WHITE, WHITE)
    assert cells_for((60, 40), [(10, 10, 120, 60)], [area, corner]).tolist() == [CENTRE, -1]
    assert cells_for((60, 40), [(10, 10, 120, 60)], [corner]).tolist() == [CENTRE], "rather that than nothing"


def test_a_circle_is_drawn_around_what_is_in_its_middle() -> None:
    dot = Element("shape", Box(57, 47, 7, 7), "", 0.0, WHITE, WHITE)
    label = label_of(step(Drag(circle_path((60, 50), 24)), [(82, 48, 5, 5)]), [*ELEMENTS, dot], INSTRUCTION)
    assert KINDS[label.kind] == "drag-around-24"
    assert label.targets.tolist() == [-1, -1, -1, CENTRE]
    assert (label.ends == -1).all()


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
