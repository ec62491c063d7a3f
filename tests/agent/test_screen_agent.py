"""What the trained agent makes of its decider's answers: loops, waits, and which pixels an action depends on."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.agent.action_kinds import INDEX, KINDS
from runtime.agent.deeds import Memory
from runtime.agent.elements import Element
from runtime.agent.geometry import Box
from runtime.agent.plans import CELLS, CENTRE, SLOTS, Answer, Plan
from runtime.agent.screen_agent import Ablation, ScreenAgent, Seen, Settings, depended_on
from runtime.wire.actions import Click, Fail, Move
from tests.agent.screens import Canvas

WHITE = (255, 255, 255)
BLANK = Canvas().frame().pixels
ELEMENTS = [
    Element("button", Box(10, 10, 80, 30), "Submit", 1.0, WHITE, WHITE),
    Element("circle", Box(100, 100, 24, 24), "", 0.0, WHITE, WHITE),
]


def answer(kinds: dict[str, float], target: int = 0) -> Answer:
    chances = np.zeros(len(KINDS), dtype=np.float32)
    for kind, chance in kinds.items():
        chances[INDEX[kind]] = chance
    places = np.full(len(ELEMENTS), 0.2, dtype=np.float32)
    places[target] = 0.8
    cells = np.zeros((len(ELEMENTS), 2, CELLS), dtype=np.float32)
    cells[:, :, CENTRE] = 1
    none = np.zeros(0, dtype=np.float32)
    letters = np.zeros((SLOTS, 1), dtype=np.float32)
    return Answer(chances, np.array([1, 0, 0], np.float32), places, places, places, cells, none, none, letters)


def agent(ablation: Ablation = "", given: Answer | None = None) -> ScreenAgent:
    class Decider:
        asked: list[Any] = []

        def answer(self, look: Any, gate: Any) -> Answer:
            self.asked.append(look)
            assert given is not None
            return given

    return ScreenAgent(cast(Any, SilentReader()), cast(Any, Decider()), Settings("ab", ablation=ablation))


class SilentReader:
    def read_all(self, *given: Any) -> list[Any]:
        return []


def carried_out(given: Answer, times: int) -> list[Plan]:
    """Returns the plans of one agent that gets the same answer on the same screen so many times."""
    memory, plans = Memory(), []
    for _ in range(times):
        memory.observe([1], [1])
        plan = agent()._plan(given, Seen(ELEMENTS, ([1], [1])), "do it", memory)
        memory.record(plan.kind, plan.point, plan.end, plan.label)
        plans.append(plan)
    return plans


def test_the_same_on_the_same_screen_is_done_twice_at_most_and_then_the_next_best() -> None:
    plans = carried_out(answer({"click": 1.0}), 5)
    assert [plan.target for plan in plans[:4]] == [0, 0, 1, 1]
    assert isinstance(plans[4].action, Fail)


def test_a_wait_may_be_meant() -> None:
    assert [plan.kind for plan in carried_out(answer({"wait-200": 0.9, "click": 0.1}), 20)] == ["wait-200"] * 20


def test_an_action_depends_on_what_its_target_says_or_on_its_middle() -> None:
    def plan(kind: str, target: int) -> Plan:
        return Plan(kind, Click(1, 1), 1.0, ELEMENTS[target].box.centre, target=target)

    assert depended_on(plan("click", 0), ELEMENTS, BLANK) == (10, 10, 80, 30)
    x, y, w, h = depended_on(plan("click", 1), ELEMENTS, BLANK) or (0, 0, 0, 0)
    assert (x + w // 2, y + h // 2) == ELEMENTS[1].box.centre
    assert 0 < w * h < ELEMENTS[1].box.area / 4, "one that moves a little is still hit"
    assert depended_on(plan("move", 1), ELEMENTS, BLANK) is None
    assert depended_on(Plan("key enter", Move(1, 1), 1.0), ELEMENTS, BLANK) is None


def line(box: Box, text: str) -> Element:
    return Element("line", box, text, 0.5, WHITE, WHITE)


def clicked(element: Element, pixels: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    at = element.box.centre
    return depended_on(Plan("click", Click(*at), 1.0, at, target=0), [element], pixels)


def test_a_spot_that_was_read_as_a_letter_depends_on_its_middle() -> None:
    disc = BLANK.copy()
    y, x = np.mgrid[: disc.shape[0], : disc.shape[1]]
    disc[(x - 50) ** 2 + (y - 50) ** 2 <= 18**2] = 0
    part = Box(39, 33, 22, 12)
    found = clicked(line(part, "i"), disc)
    assert found is not None
    assert found[2] * found[3] < part.area / 4
    assert clicked(line(part, "Send"), disc) == tuple(part), "a word is none"
    assert clicked(dataclasses.replace(line(part, "i"), kind="button"), disc) == tuple(part)


@pytest.mark.parametrize("size_px", [10, 13, 24, 32])
@pytest.mark.parametrize("letters", [*"LOIl1TH.:-", "OK", "No"])
def test_letters_are_no_spot(letters: str, size_px: int) -> None:
    canvas = Canvas()
    box = Box(*canvas.text(40, 40, letters, size_px))
    assert clicked(line(box, letters), canvas.frame().pixels) == tuple(box)


@pytest.mark.parametrize("ablation", ["", "no-memory"])
def test_without_memory_every_look_is_the_first(ablation: Ablation) -> None:
    built = agent(ablation, answer({"click": 1.0}))
    memory = Memory()
    memory.record("click", (50, 25), (0, 0), "Submit")
    view = Canvas().frame()
    built._answer(view, Seen(ELEMENTS, ([1, 2], [1, 2])), "click it", memory, None)
    look = cast(Any, built._decider).asked[-1]
    assert bool(look.deeds.any()) is (ablation == "")
