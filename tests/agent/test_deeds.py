"""What the trained agent remembers: bounded, told apart by screen, the same after a hand-over."""

from __future__ import annotations

import pytest

from runtime.agent.action_kinds import KINDS
from runtime.agent.deeds import REMEMBERED, Memory, pack, unpack
from runtime.agent.errors import StateUnreadable
from runtime.agent.protocol import STATE_LIMIT_BYTES


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
