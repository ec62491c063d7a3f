"""What a decider may point at: the lines, words, widgets and shapes of a screen, with what was read in them.

    layout ─┬─ lines, read ─► lines · their words ─┐
            ├─ shapes ─► widgets, other shapes ────┼─► elements in reading order, at most MOST_ELEMENTS
            ├─ dots ─► points between them ────────┤
            └─ sums ("3 + 4"), equal things ───────┘   (their elements carry the result, for typing only)

Everything is a function of the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.frames.boxes import NO_COLOUR, strongest
from kernels.frames.relations import smallest_around
from kernels.gate.word import GateToken
from runtime.agent.blocks import Colour, Layout, TextBlock, packed, unpacked
from runtime.agent.computed import counts_of, sums_of
from runtime.agent.contents import LastCall
from runtime.agent.geometry import Box, held_by, reading_order
from runtime.agent.points import POINTS, points_of
from runtime.agent.reading import part
from runtime.agent.recognition import Reading
from runtime.agent.widgets import Known, Widget, find_widgets

ELEMENT_KINDS = (
    "line", "word", "computed", "figure", "shape", "tick", "radio", "circle", "button", "field", "area", "chooser",
    "panel", "patch", *POINTS,
)  # fmt: skip
UNMARKED = frozenset(("computed", *POINTS))  # there is nothing to be seen at their places
MOST_ELEMENTS = 112
_NO_FRAMES = frozenset(("line", "word", *POINTS))  # kinds that hold no others
_COUNTED = frozenset({"shape", "tick", "circle", "patch"})  # kinds of which it is told how many there are
_NOT_SEEN: Colour = (0, 0, 0)  # the colour of what is nowhere to be seen
_OF_DOTS = frozenset({"figure", "shape", "line", "circle", "radio"})  # kinds that may be dots, or hold some
_BUTTONS = frozenset({"button", "panel"})  # kinds on which something is written, whatever reaches them
_SURE, _MANY_LETTERS = 0.9, 4  # certainty of single letters, and how many of them make dots things as they are
_LOWEST, _TALLEST = 2, 72  # pixels of ink that may be a line
_STROKE = 3  # pixels of ink; what is lower is a stroke of a sign
_WIDEST_SIGN, _HIGHEST_KEY, _WIDEST_KEY = 20, 90, 150  # pixels
_LEAST_GAP, _WIDEST_GAP, _MARGIN = 30, 150, 3  # pixels: the empty place after a label that ends in a colon
_DATED = re.compile(r"\w{1,4}([/:])\w{1,4}(\1\w{1,4})*")
_SAID = re.compile(r"[^\W_]{2}")  # two letters or digits in a row
_DOUBTED, _LEAST_CERTAINTY, _MOST_SIGNS = 20, 0.75, 3  # pixels of height, certainty, letters: see _trusted
_NOTHING = Reading("", (), 0.0)
_MOST_LINES_SAID = 6  # by a widget
_MOST_WORDS = 9  # a longer line keeps its first and last words when places are few


@dataclass(frozen=True)
class Element:
    """`parent` is the index of the smallest widget or shape around it, -1 without one; `line` that of a word's line."""

    kind: str
    box: Box
    text: str
    certainty: float
    ink: Colour
    fill: Colour
    parent: int = -1
    line: int = -1


def readable(layout: Layout) -> list[TextBlock]:
    """Returns the blocks that may be lines of text or icons, in reading order."""
    signs, strokes = _signs(layout)
    blocks = [
        block
        for block in layout.texts
        if _LOWEST <= block.box.h <= _TALLEST and block.box.w >= 2 and block not in strokes
    ]
    blocks += signs
    return [blocks[index] for index in reading_order([block.box for block in blocks])]


def _signs(layout: Layout) -> tuple[list[TextBlock], set[TextBlock]]:
    """Returns the signs of one or two level strokes, - and = that stand alone on a key, and their strokes."""
    low = {text for text in layout.texts if text.box.h <= _STROKE and text.box.w <= _WIDEST_SIGN}
    keys = [shape.box for shape in layout.shapes if shape.box.h <= _HIGHEST_KEY and shape.box.w <= _WIDEST_KEY]
    signs: dict[TextBlock, None] = {}
    strokes: set[TextBlock] = set()
    if low and keys:
        for places in held_by(keys, [text.box.centre for text in layout.texts]):
            own = [layout.texts[place] for place in places]
            if 1 <= len(own) <= 2 and low.issuperset(own):
                signs[TextBlock(own[0].box.union(own[-1].box), own[0].ink, own[0].paper)] = None
                strokes.update(own)
    return list(signs), strokes


class ElementFinder:
    """Finds the elements of screens, one after the other. Lines and widgets that are as they were are known.

    A line is known by its block and by the very object that its reading is: a reader gives one content one reading.
    """

    def __init__(self) -> None:
        self._lines: LastCall[tuple[int, int], _Line] = LastCall()
        self._widgets: Known = {}

    def find(
        self,
        pixels: NDArray[np.uint8],
        layout: Layout,
        blocks: Sequence[TextBlock],
        readings: Sequence[Reading],
        gate: GateToken | None = None,
    ) -> list[Element]:
        """Returns the elements of a screen. `readings` are those of `blocks`, which are `readable(layout)`. Raises
        GateClosed."""
        readings = [_trusted(block, reading) for block, reading in zip(blocks, readings, strict=True)]
        frames = _frames(layout, find_widgets(layout, self._widgets), blocks, readings)
        found: list[tuple[int, Element]] = [(0, frame) for frame in frames]
        lines = self._found_lines(pixels, blocks, readings, gate)
        for line in lines:
            found.append((0, line.element))
            found += line.words
        boxes = np.array([element.box for _, element in found], dtype=np.int64).reshape(-1, 4)
        for line in lines:
            if line.element.text.endswith(":"):
                gap = _after(line.element.box, boxes, layout.width)
                if gap.w >= _LEAST_GAP:
                    paper = line.element.fill
                    found.append((0, Element("patch", gap, "", 0.0, paper, paper)))
        found += _computed([one for _, one in found])
        for kind, box, colour in points_of(pixels, _of_dots([one for _, one in found])):
            found.append((0, Element(kind, box, "", 0.0, colour, colour)))
        return _related(_limited(found))

    def _found_lines(
        self,
        pixels: NDArray[np.uint8],
        blocks: Sequence[TextBlock],
        readings: Sequence[Reading],
        gate: GateToken | None,
    ) -> list[_Line]:
        keys = [(id(block), id(reading)) for block, reading in zip(blocks, readings, strict=True)]
        return self._lines.of(
            keys,
            lambda fresh: _lines_of(pixels, [blocks[at] for at in fresh], [readings[at] for at in fresh], gate),
        )


@dataclass(frozen=True)
class _Line:
    """A line with its words, each with its rank among what is left out.

    `block` and `reading` are kept so that no other object gets their identity.
    """

    block: TextBlock
    reading: Reading
    element: Element
    words: list[tuple[int, Element]]


def _trusted(block: TextBlock, reading: Reading) -> Reading:
    """Returns a line's reading; nothing where a few signs of a large thing are doubtful: a stripe or a drawing."""
    doubtful = reading.certainty < _LEAST_CERTAINTY and len(reading.text) <= _MOST_SIGNS
    return _NOTHING if doubtful and block.box.h >= _DOUBTED else reading


def _computed(found: Sequence[Element]) -> list[tuple[int, Element]]:
    """Returns the results of sums, and the numbers of equal things on which nothing is written."""
    lines = [one for one in found if one.kind == "line" and one.text]
    things = [(one.kind, one.box) for one in found if one.kind in _COUNTED and not one.text]
    labels = [one.box for one in lines if any(letter.isalnum() for letter in one.text)]
    counts = counts_of(things, labels)
    results = [*sums_of([(one.box, one.text) for one in lines]), *((box, str(count)) for box, count in counts)]
    return [(0, Element("computed", box, result, 1.0, _NOT_SEEN, _NOT_SEEN)) for box, result in results]


def _of_dots(found: Sequence[Element]) -> list[Box]:
    """Returns the boxes of what may be a dot, or dots and lines: nothing is read in it, but on a button it reaches.
    None where single letters stand around: dots are things then, as these are."""
    buttons = [one.box for one in found if one.kind in _BUTTONS]
    on_buttons = {place for held in held_by(buttons, [one.box.centre for one in found]) for place in held}
    letters = [one for one in found if one.kind == "line" and len(one.text) == 1 and one.text.isalnum()]
    if sum(one.certainty >= _SURE for one in letters) >= _MANY_LETTERS:
        return []
    said = [one.box.centre for place, one in enumerate(found) if _is_said(one.text) and place not in on_buttons]
    boxes = [one.box for one in found if one.kind in _OF_DOTS and not _is_said(one.text)]
    return [box for box, held in zip(boxes, held_by(boxes, said), strict=True) if not held]


def _is_said(text: str) -> bool:
    """Whether a reading has a word or a number: a dot's halves are read as "r" and "L.", dots on a line as "••"."""
    return _SAID.search(text) is not None


def _after(label: Box, boxes: NDArray[np.int64], width: int) -> Box:
    """Returns the empty place after a label: up to what stands next in its row, or what frames it ends. `boxes` (n, 4)
    are all that stand there."""
    x, y, w, h = boxes.T
    right, bottom = x + w, y + h
    around = (x <= label.x) & (y <= label.y) & (right >= label.right) & (bottom >= label.bottom)
    around &= (boxes != np.array(label)).any(axis=1)
    shared = np.minimum(bottom, label.bottom) - np.maximum(y, label.y)
    beside = ~around & (2 * shared >= np.minimum(h, label.h)) & (x >= label.right) & (h < 3 * label.h)
    ends = [width, label.right + _WIDEST_GAP, *right[around].tolist(), *x[beside].tolist()]
    left = label.right + _MARGIN
    return Box(left, label.y, max(0, min(ends) - _MARGIN - left), label.h)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Returns the [start, end) of the words of a text."""
    spans, start = [], -1
    for place, character in enumerate(text + " "):
        if character == " ":
            if start >= 0:
                spans.append((start, place))
            start = -1
        elif start < 0:
            start = place
    return spans


def parts_in(text: str) -> list[tuple[int, int]]:
    """Returns the [start, end) of what a text may be pointed at by: its words, or the parts of a date or a time."""
    if _DATED.fullmatch(text):
        return [found.span() for found in re.finditer(r"\w+", text)]
    return word_spans(text)


def _frames(
    layout: Layout, widgets: Sequence[Widget], blocks: Sequence[TextBlock], readings: Sequence[Reading]
) -> list[Element]:
    """Returns widgets with the text in them, then the shapes that are no widgets."""
    frames, seen = [], set()
    read = [(block.box.centre, reading.text) for block, reading in zip(blocks, readings, strict=True) if reading.text]
    held = held_by([widget.box for widget in widgets], [centre for centre, _ in read])
    for widget, places in zip(widgets, held, strict=True):
        seen.add(widget.box)
        said = " ".join(read[place][1] for place in places[:_MOST_LINES_SAID])
        frames.append(Element(widget.kind, widget.box, said, 1.0 if said else 0.0, widget.fill, widget.fill))
    for shape in layout.shapes:
        if shape.box not in seen:
            kind = "figure" if shape.kind == "figure" else "shape"
            frames.append(Element(kind, shape.box, "", 0.0, shape.fill, shape.fill))
    return frames


def _lines_of(
    pixels: NDArray[np.uint8], blocks: Sequence[TextBlock], readings: Sequence[Reading], gate: GateToken | None
) -> list[_Line]:
    """Returns the lines with their words, if there are several; a word's ink is the colour in it that differs most from
    the line's ground."""
    spans = [found if len(found := parts_in(reading.text)) > 1 else [] for reading in readings]
    boxes = [
        [part(block.box, reading, start, end) for start, end in own]
        for block, reading, own in zip(blocks, readings, spans, strict=True)
    ]
    papers = [packed(block.paper) for block, own in zip(blocks, boxes, strict=True) for _ in own]
    inks = iter(strongest(pixels, [box for own in boxes for box in own], papers, gate).tolist())
    made = []
    for block, reading, own, places in zip(blocks, readings, spans, boxes, strict=True):
        words = []
        for number, ((start, end), box, ink) in enumerate(zip(own, places, inks, strict=False)):
            colour = block.ink if ink == NO_COLOUR else unpacked(ink)
            word = Element("word", box, reading.text[start:end], reading.certainty, colour, block.paper)
            words.append((1 + min(number, len(own) - 1 - number) // (_MOST_WORDS // 2), word))
        line = Element("line", block.box, reading.text, reading.certainty, block.ink, block.paper)
        made.append(_Line(block, reading, line, words))
    return made


def _limited(found: list[tuple[int, Element]]) -> list[Element]:
    """Returns the elements in reading order; where they are too many, inner words of long lines are left out first."""
    if len(found) > MOST_ELEMENTS:
        found = sorted(found, key=lambda pair: pair[0])[:MOST_ELEMENTS]
    kept = [element for _, element in found]
    return [kept[index] for index in reading_order([element.box for element in kept])]


def _related(elements: list[Element]) -> list[Element]:
    """Fills in `parent` and `line`."""
    count = len(elements)
    if not count:
        return []
    boxes = [element.box for element in elements]
    frames = [element.kind not in _NO_FRAMES for element in elements]
    lines = [element.kind == "line" for element in elements]
    parents = smallest_around(boxes, frames, is_larger=True).tolist()
    of_lines = smallest_around(boxes, lines).tolist()
    return [
        Element(
            one.kind, one.box, one.text, one.certainty, one.ink, one.fill, parent, line if one.kind == "word" else -1
        )
        for one, parent, line in zip(elements, parents, of_lines, strict=True)
    ]
