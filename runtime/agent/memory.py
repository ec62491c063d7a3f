"""What the text reader remembers between looks: where it is in the instruction and what it has tried."""

from __future__ import annotations

import zlib

import msgspec

from runtime.agent.state_bytes import pack_state, unpack_state

VERSION = 1
_MOST_TRIED = 512


class Memory(msgspec.Struct, array_like=True):
    """`goal`, `name` and `phase` are the place in the instruction; everything else is about the goal in hand.

    tried: CRC-32 of the labels clicked in search of something. screen: CRC-32 of the last screen, to see what a scroll
    or a click did. scrolled: how often in a row, -1 when there is nothing more to scroll to. noted: what was read or
    must be typed. used: the fields (x, y) that were filled. missing: the first name that was nowhere to be found.
    """

    version: int = VERSION
    step: int = 0
    goal: int = 0
    name: int = 0
    phase: int = 0
    waited: int = 0
    scrolled: int = 0
    passed: int = 0
    screen: int = 0
    noted: str = ""
    tried: list[int] = []
    used: list[tuple[int, int]] = []
    missing: str = ""

    def next_goal(self) -> None:
        self.goal += 1
        self.name = self.phase = self.waited = self.scrolled = self.passed = 0
        self.noted = ""
        self.tried = []

    def next_name(self) -> None:
        self.name += 1
        self.phase = self.waited = self.scrolled = 0
        self.tried = []

    def has_tried(self, label: str) -> bool:
        return zlib.crc32(label.encode()) in self.tried

    def try_once(self, label: str) -> None:
        self.tried = [*self.tried, zlib.crc32(label.encode())][-_MOST_TRIED:]


def pack(memory: Memory) -> bytes:
    """Returns `memory` as the state of a decision."""
    return pack_state(memory)


def unpack(state: bytes) -> Memory:
    """Returns a copy of what was remembered; an empty one for b"". Raises StateUnreadable."""
    return unpack_state(state, Memory, "text_reader", VERSION)
