"""What the trained agent remembers: bounded, told apart by screen, the same after a hand-over."""

from __future__ import annotations

import pytest

from runtime.agent.action_kinds import KINDS
from runtime.agent.deeds import REMEMBERED, Memory, pack, unpack
from runtime.agent.elements import Element
from runtime.agent.errors import StateUnreadable
from runtime.agent.geometry import Box
from runtime.agent.protocol import STATE_LIMIT_BYTES

WHITE = (255, 255, 255)


def test_it_survives_a_hand_over() -> None:
    memory = Memory()
    memory.observe([1, 2], [3, 4])
    memory.record("click", (5, 6), (0, 0), "Submit")
    memory.guide = b"\x01"
    assert unpack(pack(memory)) == memory
    assert unpack(b"") == Memory()


def test_it_notes_what_an_action_changed() -> None:
    memory = Memory()
    memory.observe([1], [1])
    memory.record("click", (5, 6), (0, 0), "")
    memory.observe([1], [1])
    assert not memory.deeds[-1].changed
    memory.record("click", (5, 6), (0, 0), "")
    memory.observe([1, 2], [1, 2])
    assert memory.deeds[-1].changed


def test_it_counts_the_same_on_the_same_screen_only() -> None:
    memory = Memory()
    for screen, times in ((1, 0), (1, 1), (2, 0), (1, 2)):
        memory.observe([screen], [screen])
        assert memory.times("click", (5, 6), (0, 0), "") == times
        memory.record("click", (5, 6), (0, 0), "")


def test_its_state_is_bounded() -> None:
    memory = Memory()
    for step in range(300):
        memory.observe(list(range(10_000 * step, 10_000 * step + 400)), list(range(4_000_000_000, 4_000_000_400)))
        memory.record(KINDS[step % 5], (60_000, 60_000), (60_000, 60_000), "x" * 500)
    assert len(pack(memory)) < STATE_LIMIT_BYTES / 2
    assert len(memory.deeds) == 2 * REMEMBERED
    assert memory.step == 300


@pytest.mark.parametrize("state", [b"\xc1", b"\x91\x09", b"\x93\x01\x02\xa1x", b"\x00" * 9])
def test_a_foreign_state_is_refused(state: bytes) -> None:
    with pytest.raises(StateUnreadable):
        unpack(state)


def test_an_empty_element_has_the_text_that_stood_in_it_before() -> None:
    memory = Memory()
    memory.read([Element("line", Box(25, 60, 10, 14), "5", 1.0, WHITE, WHITE)])
    empty = [Element("shape", Box(20, 56, 21, 22), "", 0.0, WHITE, WHITE)]
    (seen,) = unpack(pack(memory)).recalled(empty)
    assert seen.text == "5"
    assert seen.certainty < 0.5
    large = [Element("panel", Box(0, 0, 200, 200), "", 0.0, WHITE, WHITE)]
    assert memory.recalled(large) == large
    taken = [*empty, Element("line", Box(24, 60, 10, 14), "7", 1.0, WHITE, WHITE)]
    assert memory.recalled(taken) == taken, "what stands there now is not covered up by a memory"


def test_what_is_written_over_is_forgotten_and_memory_stays_small() -> None:
    memory = Memory()
    memory.read([Element("line", Box(0, 0, 20, 10), "old", 1.0, WHITE, WHITE)])
    memory.read([Element("line", Box(0, 0, 20, 10), "new", 1.0, WHITE, WHITE)])
    assert [text for _, _, text in memory.shown] == ["new"]
    for row in range(400):
        memory.read([Element("line", Box(0, 20 * row, 20, 10), f"row {row}", 1.0, WHITE, WHITE)])
    assert len(pack(memory)) < STATE_LIMIT_BYTES / 4
