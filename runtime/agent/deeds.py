"""What a screen agent remembers: its last actions, where it acted, what it saw, and whether it goes in circles.

    look ─► observe(keys of the elements) ─► decide ─► record(action) ─► state bytes ─► next look

Training follows recorded episodes through the same two functions, so the network sees the same memory in both.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import msgspec
from numpy.typing import NDArray

from kernels.frames.boxes import crcs
from kernels.gate.word import GateToken
from runtime.agent.action_kinds import INDEX, POINTED
from runtime.agent.contents import ByTiles
from runtime.agent.elements import UNMARKED, Element
from runtime.agent.state_bytes import pack_state, unpack_state

VERSION = 1
REMEMBERED = 6  # actions that the network sees
_MOST_PLACES = 96
_MOST_KEYS = 256
_LONGEST_SHOWN = 12  # characters
_LARGEST_RECALLED = 4000  # square pixels
_FORGETFUL = UNMARKED | {"patch", "area"}
_CERTAINTY_OF_MEMORY = 0.3


class Deed(msgspec.Struct, array_like=True):
    """One action: its kind (a place in KINDS), where (0, 0 without), what was typed or what it points at is
    called, and what came of it."""

    kind: int
    x: int = 0
    y: int = 0
    end_x: int = 0
    end_y: int = 0
    text: str = ""
    changed: bool = False


class Memory(msgspec.Struct, array_like=True):
    """keys: CRC-32 of the elements seen last, with their places; contents: without them.

    shown: short texts and where their middles stood, also of those that stand there no more.
    circles: CRC-32 of (screen, action). guided: the rules have the job, and `guide` is their memory.
    """

    version: int = VERSION
    step: int = 0
    waited: int = 0
    deeds: list[Deed] = []
    places: list[tuple[int, int]] = []
    labels: list[str] = []
    keys: list[int] = []
    contents: list[int] = []
    screen: int = 0
    circles: list[int] = []
    guided: bool = False
    guide: bytes = b""
    shown: list[tuple[int, int, str]] = []

    def observe(self, keys: list[int], contents: list[int]) -> None:
        """Notes what is seen now, and whether the last action changed it. Call once a look, before `record`."""
        screen = zlib.crc32(str(keys).encode())
        if self.deeds:
            last = self.deeds[-1]
            self.deeds[-1] = msgspec.structs.replace(last, changed=last.changed or screen != self.screen)
        self.screen = screen
        self.keys, self.contents = keys[:_MOST_KEYS], contents[:_MOST_KEYS]

    def read(self, elements: list[Element]) -> None:
        """Notes what stands where. Call once a look, after the look was made."""
        now = [one for one in elements if one.kind == "line" and 0 < len(one.text) <= _LONGEST_SHOWN]
        old = [(x, y, text) for x, y, text in self.shown if not any(one.box.holds(x, y) for one in now)]
        self.shown = [*old, *((*one.box.centre, one.text) for one in now)][-_MOST_PLACES:]

    def recalled(self, elements: list[Element]) -> list[Element]:
        """Returns the elements; an empty one that is small has the one text that stood in it before."""
        made = []
        for one in elements:
            if one.text == "" and one.kind not in _FORGETFUL and one.box.area <= _LARGEST_RECALLED:
                texts = [text for x, y, text in self.shown if one.box.holds(x, y)]
                if len(texts) == 1 and not any(
                    other.text and one.box.holds(*other.box.centre) for other in elements if other is not one
                ):
                    one = replace(one, text=texts[0], certainty=_CERTAINTY_OF_MEMORY)
            made.append(one)
        return made

    def record(self, kind: str, point: tuple[int, int], end: tuple[int, int], text: str) -> None:
        """Notes an action. `text` is what is typed, or what that is called where it points."""
        self.step += 1
        deed = Deed(INDEX[kind], *point, *end, text[:64])
        self.deeds = [*self.deeds, deed][-2 * REMEMBERED :]
        self.circles = [*self.circles, zlib.crc32(repr((self.screen, kind, point, end, text)).encode())][-64:]
        if kind in POINTED:
            self.places = [*self.places, point][-_MOST_PLACES:]
            self.labels = [*self.labels, text[:48]][-_MOST_PLACES:]

    def times(self, kind: str, point: tuple[int, int], end: tuple[int, int], text: str) -> int:
        """Returns how often the same was done on the same screen before."""
        return self.circles.count(zlib.crc32(repr((self.screen, kind, point, end, text)).encode()))


def keys_of(
    pixels: NDArray[Any],
    elements: list[Element],
    gate: GateToken | None = None,
    hashes: NDArray[Any] | None = None,
    known: ByTiles[int] | None = None,
) -> tuple[list[int], list[int]]:
    """Returns CRC-32s of every element: with its place, and of its content alone. Raises GateClosed.

    With the `hashes` of the frame's tiles, what is `known` of tiles that are as they were is not computed anew.
    """
    boxes = [one.box for one in elements]
    if hashes is None or known is None:
        contents = crcs(pixels, boxes, gate)
    else:
        contents = known.of(hashes, boxes, lambda fresh: crcs(pixels, fresh, gate))
    return [
        zlib.crc32(repr(tuple(one.box)).encode(), key) for one, key in zip(elements, contents, strict=True)
    ], contents


def pack(memory: Memory) -> bytes:
    """Returns `memory` as the state of a decision."""
    return pack_state(memory)


def unpack(state: bytes) -> Memory:
    """Returns a copy of what was remembered; an empty one for b"". Raises StateUnreadable."""
    return unpack_state(state, Memory, "screen_agent", VERSION)
