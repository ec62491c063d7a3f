"""The floor: a run that is slower than a person is handed on, but not for one slow start."""

from __future__ import annotations

import pytest

from runtime.jobs.tempo import CLICK_S, FLOOR, HOME_S, JUDGED_AFTER_S, KEY_S, THINK_S, Tempo, person_s
from runtime.wire.actions import Action, Click, Done, Drag, Key, Type, Wait


@pytest.mark.parametrize(
    ("action", "seconds"),
    [
        (Click(1, 1), CLICK_S),
        (Type("Anna"), HOME_S + 4 * KEY_S),
        (Key("enter"), KEY_S),
        (Drag(((1, 1), (9, 9))), 2 * CLICK_S),
        (Wait(500), 0),
        (Done(), 0),
    ],
)
def test_a_persons_time_for_an_action(action: Action, seconds: float) -> None:
    assert person_s(action) == pytest.approx(seconds)


def test_one_slow_start_is_not_held_against_a_run() -> None:
    tempo = Tempo()
    tempo.acted(Click(1, 1), JUDGED_AFTER_S - 1)
    assert not tempo.is_too_slow
    for _ in range(200):
        tempo.acted(Click(1, 1), 0.05)
    assert not tempo.is_too_slow


def test_who_is_slower_than_a_person_hands_on_and_says_why() -> None:
    tempo = Tempo()
    for _ in range(40):
        tempo.acted(Click(1, 1), FLOOR * CLICK_S - 0.05)
    assert not tempo.is_too_slow
    for _ in range(40):
        tempo.acted(Click(1, 1), FLOOR * CLICK_S + 0.2)
    assert tempo.is_too_slow
    assert tempo.own_s > FLOOR * (THINK_S + 80 * CLICK_S)
    assert "times as long as a person" in tempo.said()
