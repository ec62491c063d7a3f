"""A screen as the text reader sees it: widgets, and lines that are read when somebody asks for them.

Reading a line costs a network's run the first time; most decisions need few lines. So a name is looked for in the lines
that are about as long as it first, and the search ends at the first line that is the name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from kernels.gate.word import GateToken
from runtime.agent.blocks import BlockFinder, TextBlock
from runtime.agent.geometry import Box, reading_order
from runtime.agent.matching import find
from runtime.agent.recognition import Reader, Reading
from runtime.agent.widgets import Widget, find_widgets
from runtime.desktop.frame import Frame

_LETTER_WIDTH = 0.7  # of the height of a line's ink
_LOWEST, _TALLEST = 4, 72  # pixels of ink that may be text


@dataclass(frozen=True)
class Found:
    """A name on the screen: the line, what was read there, the part of it that matched and how well (0 … 1)."""

    line: TextBlock
    text: str
    box: Box
    score: float


class Screen:
    """One frame, its layout, and its text on demand. Raises GateClosed from whatever reads."""

    def __init__(self, view: Frame, finder: BlockFinder, reader: Reader, gate: GateToken | None) -> None:
        self.view = view
        self.layout = finder.find(view, gate)
        self.widgets = find_widgets(self.layout)
        self._reader = reader
        self._gate = gate

    @property
    def digest(self) -> int:
        """A CRC-32 of the picture, by its tiles' hashes."""
        return zlib.crc32(self.view.hashes.tobytes())

    @property
    def lines(self) -> list[TextBlock]:
        """The lines that may be text, in reading order."""
        lines = [text for text in self.layout.texts if _LOWEST <= text.box.h <= _TALLEST and text.box.w > 1]
        return [lines[index] for index in reading_order([line.box for line in lines])]

    def read(self, line: TextBlock) -> Reading:
        return self._reader.read(self.view.pixels, line.box, self._gate)

    def text(self, line: TextBlock) -> str:
        return self.read(line).text

    def of_kind(self, *kinds: str) -> list[Widget]:
        return [widget for widget in self.widgets if widget.kind in kinds]

    def find(self, name: str, among: Iterable[TextBlock] | None = None) -> list[Found]:
        """Returns where `name` may stand, best first. Ends early at a line that is the name and nothing else."""
        lines = self.lines if among is None else list(among)
        found: list[Found] = []
        for line in sorted(lines, key=lambda line: abs(line.box.w - _LETTER_WIDTH * line.box.h * len(name))):
            reading = self.read(line)
            match = find(name, reading.text)
            if match.score <= 0:
                continue
            found.append(Found(line, reading.text, part(line.box, reading, match.start, match.end), match.score))
            if reading.text == name:
                break
        return sorted(found, key=lambda one: (-one.score, one.box.y, one.box.x))


def part(box: Box, reading: Reading, start: int, end: int) -> Box:
    """Returns the box of characters [start, end) of a line."""
    if end - start >= len(reading.text) or not reading.places:
        return box
    places = reading.places
    half = (places[-1] - places[0]) / max(1, len(places) - 1) / 2
    left = max(0.0, places[start] - half)
    right = min(1.0, places[min(end, len(places)) - 1] + half)
    return Box(box.x + round(left * box.w), box.y, max(1, round((right - left) * box.w)), box.h)
