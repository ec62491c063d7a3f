"""Episodes in which the agent acts itself: the oracle makes its mistakes good, and none of them ends an episode."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from models.screen_agent.oracles.oracle import Move
from models.screen_agent.own_mistakes import Counts, OwnAgent, agrees, can_be_made_good, guarded
from models.screen_agent.record import open_page, record_episode
from models.screen_agent.workplace import Workplace
from runtime.agent.action_kinds import circle_path
from runtime.wire.actions import Action, Click, Drag, Fail, Key, Scroll, Type, Wait
from runtime.wire.actions import Move as MovePointer

BOX = (10, 10, 20, 10)


def test_an_act_is_right_where_the_oracle_would_have_it() -> None:
    click = Move(Click(15, 15), [BOX, (60, 60, 5, 5)], [], "")
    assert agrees(Click(62, 64), click)
    assert not agrees(Click(40, 15), click)
    assert not agrees(Click(15, 15, count=2), click)
    assert not agrees(Type("a"), click)
    assert agrees(Type("a"), Move(Type("a"), [], [], "instruction"))
    assert not agrees(Type("a"), Move(Type("b"), [], [], "instruction"))
    assert agrees(Key("ctrl+a"), Move(Key("ctrl+a"), [], [], ""))
    assert not agrees(Fail("no"), Move(Key("ctrl+a"), [], [], ""))


def test_a_drag_is_right_when_both_of_its_ends_are() -> None:
    drag = Move(Drag(((15, 15), (55, 55))), [BOX], [(50, 50, 9, 9)], "")
    assert agrees(Drag(((12, 12), (30, 30), (58, 58))), drag)
    assert not agrees(Drag(((12, 12), (30, 30))), drag)
    circle = Move(Drag(circle_path((60, 60), 24)), [(82, 58, 5, 5)], [(82, 58, 5, 5)], "")
    assert agrees(Drag(circle_path((62, 59), 24)), circle)
    assert not agrees(Drag(circle_path((80, 59), 24)), circle)


def test_what_the_oracle_could_not_make_good_is_not_done() -> None:
    assert can_be_made_good("login-user", Click(3, 3))
    assert can_be_made_good("login-user", Wait(50))
    assert not can_be_made_good("login-user", Wait(3000))
    assert not can_be_made_good("login-user", Click(3, 3, modifiers=("ctrl",)))
    assert not can_be_made_good("login-user", Key("ctrl+s"))
    assert not can_be_made_good("terminal", Type("rm x"))
    assert can_be_made_good("terminal", MovePointer(3, 3))
    assert can_be_made_good("use-spinner", Click(3, 3))
    assert not can_be_made_good("moving-items", MovePointer(3, 3))


class Careless(OwnAgent):
    """Does the same thing whatever is seen."""

    def __init__(self, act: Action, share: float = 1.0) -> None:
        self._act, self._share, self.counts = act, share, Counts()
        self.done: list[Action] = []
        self._in_a_row = self._in_all = 0

    def begin(self, instruction: str) -> None:
        self.done = []

    def would(self, pixels: NDArray[np.uint8]) -> Action:
        return self._act

    def did(self, taken: Action) -> None:
        self.done.append(taken)


def test_after_two_mistakes_it_is_the_oracle_s_turn_and_after_eight_its_own_no_more() -> None:
    own, rng, move = Careless(Scroll(5, 5, 0, 3)), random.Random(1), Move(Click(15, 15), [BOX], [], "")
    turns = [own.lets("login-user", Scroll(5, 5, 0, 3), move, rng) for _ in range(30)]
    assert turns[:6] == [True, True, False, True, True, False]
    assert sum(turns) == 8
    assert own.lets("login-user", Click(15, 15), move, rng), "what is right is never too much"
    assert not any(Careless(Click(1, 1), 0.0).lets("login-user", Click(1, 1), move, rng) for _ in range(9))


@pytest.mark.chromium
@pytest.mark.timeout(300)
def test_mistakes_are_labelled_with_what_was_right_and_an_early_end_is_held_back() -> None:
    async def played() -> None:
        async with Workplace(1.0) as place:
            await open_page(place, "login-user")
            button = await place.browser.evaluate(
                "(() => { const r = document.querySelector('#subbtn').getBoundingClientRect();"
                " return [r.left + r.width / 2, r.top + r.height / 2]; })()"
            )
            await clicks_elsewhere(place)
            await submits_at_once(place, Click(round(button[0]), round(button[1])))
            assert await place.browser.evaluate(guarded(None)) == 0

    asyncio.run(played())


async def clicks_elsewhere(place: Workplace) -> None:
    own = Careless(Click(150, 205))
    episode = await record_episode(place, "login-user", "train-own-1", random.Random(2), plain=True, own=own)
    assert episode.success
    mistakes = [step for step in episode.steps if step.is_disturbance]
    assert 2 <= len(mistakes) == own.counts.wrong <= 8
    assert all(step.taken == Click(150, 205) and step.label != step.taken for step in mistakes)
    assert [step.taken for step in episode.steps] == own.done


async def submits_at_once(place: Workplace, submit: Click) -> None:
    own = Careless(submit)
    episode = await record_episode(place, "login-user", "train-own-2", random.Random(2), plain=True, own=own)
    assert episode.success, "an end without success is not let through"
    assert own.counts.held >= 1
