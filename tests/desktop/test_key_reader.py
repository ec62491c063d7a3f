"""When a program counts as past the keys it was given: by its sleep, seen in /proc, whatever the machine's load."""

from __future__ import annotations

import pytest

from runtime.desktop.x11.key_reader import BUSY_NS, LOOKS, QUIET_NS, SLEEPS, STALLED_NS, UNTOLD_NS, Seen, Unread

MS = 1_000_000
BEFORE = Seen(SLEEPS, 7)


def looks(unread: Unread, seen: list[Seen | None], every_ns: int = QUIET_NS // 3) -> list[bool]:
    return [unread.is_over(one, (number + 1) * every_ns) for number, one in enumerate(seen)]


def test_one_that_ran_and_then_sleeps_on_has_read() -> None:
    ran = Seen(SLEEPS, 9)
    assert looks(Unread(0, BEFORE), [ran] * (LOOKS + 2)) == [False] * LOOKS + [True, True]


def test_one_that_was_not_woken_yet_has_not() -> None:
    """It sleeps as it slept before the press: the keys may not even have come to it."""
    assert not any(looks(Unread(0, BEFORE), [BEFORE] * (2 * LOOKS)))


def test_one_that_ran_between_two_looks_begins_anew() -> None:
    found = [Seen(SLEEPS, 9)] * LOOKS + [Seen(SLEEPS, 10)] * LOOKS
    assert not any(looks(Unread(0, BEFORE), found))


@pytest.mark.parametrize("state", ["R", "T", "D"])
def test_one_that_could_not_run_is_waited_for_longer_than_a_second(state: str) -> None:
    unread = Unread(0, BEFORE)
    found: list[Seen | None] = [Seen(state, 9)] * 30
    assert not any(looks(unread, found, every_ns=UNTOLD_NS // 10))
    assert not unread.is_over(Seen(state, 10), STALLED_NS)  # it gets somewhere
    with pytest.raises(TimeoutError, match="could not run"):
        unread.is_over(Seen(state, 10), 2 * STALLED_NS + 1)


def test_one_that_is_never_done_is_not_waited_for_for_ever() -> None:
    unread = Unread(0, BEFORE)
    with pytest.raises(TimeoutError, match="did not rest"):
        looks(unread, [Seen("R", number) for number in range(200)], every_ns=BUSY_NS // 100)


def test_one_that_never_rests_is_given_a_second() -> None:
    found: list[Seen | None] = [Seen(SLEEPS, number) for number in range(120)]
    answers = looks(Unread(0, BEFORE), found, every_ns=10 * MS)
    assert answers.index(True) == 99


def test_one_that_cannot_be_seen_is_given_a_second() -> None:
    assert looks(Unread(0, None), [None, None], every_ns=UNTOLD_NS // 2) == [False, True]
