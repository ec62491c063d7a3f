"""Demonstrations as looks and labels, computed once a shard and kept: what the decider is trained on.

    <episodes>/<task>/<shard>.mpz ─► proposals, reading, memory (runtime/agent) ─► <cache>/<task>/<shard>.looks

A label says the kind of action, which elements may be pointed at and in which cell, and where typed text is from.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.frames.tiles import tile_hashes
from models.screen_agent.episodes import read_shard, unpack_frame
from models.screen_agent.reading_texts import ALPHABET
from runtime.agent.action_kinds import INDEX, KINDS, POINTED, circle_of, kind_of
from runtime.agent.blocks import BlockFinder
from runtime.agent.deeds import Memory, keys_of
from runtime.agent.elements import UNMARKED, Element, ElementFinder, readable
from runtime.agent.features import Look, look_of
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import Word, words_of
from runtime.agent.names import name_of
from runtime.agent.plans import CELLS, CENTRE, SLOTS, SOURCES, cell_point, in_form
from runtime.agent.points import POINTS
from runtime.agent.small_reader import SmallReader
from runtime.agent.text_forms import bare
from runtime.desktop.episodes import Episode, Shown
from runtime.desktop.frame import Frame
from runtime.wire.actions import Action, Click, Drag, Move, Scroll, Type

VERSION = 12  # of the features and labels; looks of another version are computed anew
_KEY = bytes(16)
_EDGE = 18  # pixels: within them the right edge of a large target is a scroll bar, or a corner that is pulled
_SLACK, _ANY = 3, (1 << 16, 1 << 16)  # pixels beside a target's box at which a point is meant as well; any screen
_NEARLY, _LEAST_ALIKE = 0.7, 3  # of a text is as it should be; characters of one that may be misread
_LONGEST_FORM = 12  # words and signs of a date, a time
_NEAREST = 8  # pixels from a target that no cell is in, as thin ones of sliders are: the nearest cell is meant then
_LARGE = (40, 36)  # pixels: wide and high, such as an area for text


@dataclass(frozen=True)
class Label:
    """kind: a place in KINDS, -1 where the vocabulary lacks it; kinds: all that are as good, such as scrolling by more.
    targets, ends: the cells of each element that are right, bit by bit; 0: the element is wrong.

    sources: which elements' text is typed. spans: first and last word. letters: classes, those of its own or those
    before what is copied; 0 ends them."""

    kind: int
    targets: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    sources: NDArray[np.bool_]
    spans: tuple[tuple[int, int], ...] = ()
    letters: tuple[int, ...] = ()
    text_from: int = -1
    kinds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sample:
    task: str
    seed: str
    step: int
    look: Look
    label: Label


def samples_of(path: Path, kept: Path, reader: SmallReader) -> list[Sample]:
    """Returns the samples of a shard, from `kept` or computed and kept there."""
    made = _kept(kept)
    if made is None:
        made = [sample for episode in read_shard(path) for sample in of_episode(episode, reader)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_bytes(pickle.dumps((VERSION, made), protocol=5))
        part.replace(kept)
    return made


def kept_samples(folder: Path, most: int) -> list[Sample]:
    """Returns up to `most` samples that were computed and kept below `folder`, the same share of each shard."""
    shards = [made for path in sorted(folder.rglob("*.looks")) if (made := _kept(path))]
    found = [sample for shard in shards for sample in shard]
    return found[:: max(1, -(-len(found) // most))]


def _kept(path: Path) -> list[Sample] | None:
    if not path.exists():
        return None
    version, made = pickle.loads(path.read_bytes())  # written by this recipe, on this machine
    return made if version == VERSION else None


def of_episode(episode: Episode, reader: SmallReader) -> list[Sample]:
    """Returns a sample for every step of an episode that succeeded; the memory follows what was really done."""
    if not episode.success:
        return []
    memory, finder, made = Memory(), BlockFinder(), []
    for number, step in enumerate(episode.steps):
        pixels = unpack_frame(step, episode)
        elements = elements_of(pixels, finder, reader, number)
        keys = keys_of(pixels, elements)
        look = _compact(look_of(pixels, elements, episode.instruction, memory, keys))
        label = label_of(step, elements, episode.instruction)
        made.append(Sample(episode.task, episode.seed, number, look, label))
        memory.observe(*keys)
        memory.read(elements)
        remember(memory, step.taken, elements)
    return made


def elements_of(pixels: NDArray[np.uint8], finder: BlockFinder, reader: SmallReader, number: int = 0) -> list[Element]:
    """Returns the elements of a picture (h, w, 4)."""
    hashes = tile_hashes(pixels, _KEY)
    frame = Frame(number, pixels, np.ones(hashes.shape[:2], dtype=np.bool_), hashes, 0, 0)
    layout = finder.find(frame)
    blocks = readable(layout)
    return ElementFinder().find(pixels, layout, blocks, reader.read_all(pixels, [block.box for block in blocks], None))


def remember(memory: Memory, taken: Action, elements: list[Element]) -> None:
    """Records what was done, as the agent itself would have."""
    kind = kind_of(taken)
    if kind is None:
        return
    point, end = places_of(taken)
    text = taken.text if isinstance(taken, Type) else label_at(point, elements) if kind in POINTED else ""
    memory.record(kind, point, end, text)


def label_at(point: tuple[int, int], elements: list[Element]) -> str:
    """Returns the text of the smallest element around a pixel."""
    around = [index for index, one in enumerate(elements) if one.box.holds(*point) and one.kind not in UNMARKED]
    return name_of(min(around, key=lambda index: elements[index].box.area), elements) if around else ""


def places_of(action: Action) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns where an action happens (a circle: its centre) and where it ends; (0, 0) for what has no place."""
    if isinstance(action, Drag):
        circle = circle_of(action.path)
        if circle is not None:
            return (circle[0], circle[1]), (0, 0)
        return action.path[0], action.path[-1]
    if isinstance(action, Click | Move | Scroll):
        return (action.x, action.y), (0, 0)
    return (0, 0), (0, 0)


def label_of(step: Shown, elements: list[Element], instruction: str) -> Label:
    """Returns what the network should say at a step."""
    kind = kind_of(step.label)
    nothing = np.zeros(len(elements), dtype=np.uint64)
    none = np.zeros(len(elements), dtype=np.bool_)
    if kind is None:
        return Label(-1, nothing, nothing, none)
    kinds = tuple(INDEX[one] for one in as_good(step.label, kind))
    if isinstance(step.label, Type):
        source, spans, sources, letters = _text_label(step, elements, instruction)
        if source < 0:
            return Label(INDEX[kind], nothing, nothing, none, kinds=kinds)
        return Label(INDEX[kind], nothing, nothing, sources, spans, letters, source, kinds)
    point, end = places_of(step.label)
    drawn = isinstance(step.label, Drag) and kind != "drag"  # around its middle, which is what is pointed at
    targets = cells_for(point, [] if drawn else step.targets, elements) if kind in POINTED else nothing
    ends = cells_for(end, step.ends, elements) if kind == "drag" else nothing
    return Label(INDEX[kind], targets, ends, none, kinds=kinds)


def as_good(action: Action, kind: str) -> tuple[str, ...]:
    """Returns the kinds that do as well as `kind`: how far the wheel is turned matters within a factor of two."""
    if not isinstance(action, Scroll):
        return (kind,)
    size = max(abs(action.dx), abs(action.dy), 1)
    name = kind.rpartition("-")[0]
    near = [one for one in KINDS if one.rpartition("-")[0] == name and 0.5 <= int(one.rpartition("-")[2]) / size <= 2]
    return tuple(near) or (kind,)


def _text_label(
    step: Shown, elements: list[Element], instruction: str
) -> tuple[int, tuple[tuple[int, int], ...], NDArray[np.bool_], tuple[int, ...]]:
    """Returns where a typed text is from (a place in SOURCES, -1: none), its words, its elements, and its letters."""
    assert isinstance(step.label, Type)
    text, words = step.label.text, words_of(instruction)
    befores = [text[: place + 1] for place, sign in enumerate(text[:SLOTS]) if sign == " "]
    parts = [(own, text[len(before) :]) for before in ("", *befores) if (own := _classes(before)) is not None]
    for own, rest in parts:
        sources = np.array([one.text != "" and bare(one.text) == rest.strip() for one in elements], dtype=np.bool_)
        spans = spans_of(rest, words, instruction)[:8]
        if sources.any() and (step.text_source in ("screen", "computed") or not spans):
            return SOURCES.index("screen"), (), sources, own
        if spans:
            return SOURCES.index("instruction"), tuple(spans), sources, own
        for form in ("keys", "colour"):
            spans = spans_in_form(rest, words, instruction, form)[:8]
            if spans:
                return SOURCES.index(form), tuple(spans), sources, own
    if step.text_source == "screen":
        likeness = np.array([[_likeness(one.text, rest) for one in elements] for _, rest in parts])
        if likeness.max(initial=0) >= _NEARLY:  # it is misread
            best = int(likeness.max(axis=1).argmax())
            return SOURCES.index("screen"), (), likeness[best] == likeness[best].max(), parts[best][0]
    letters = _classes(text)
    none = np.zeros(len(elements), dtype=np.bool_)
    return (SOURCES.index("letters") if letters else -1), (), none, letters or ()


def _likeness(said: str, text: str) -> float:
    return SequenceMatcher(None, bare(said), text).ratio() if said and len(text) >= _LEAST_ALIKE else 0.0


def _classes(text: str) -> tuple[int, ...] | None:
    """Returns the classes of the letters of a text, None where they are too many or unknown."""
    if len(text) > SLOTS or any(sign not in ALPHABET for sign in text):
        return None
    return tuple(ALPHABET.index(sign) + 1 for sign in text)


def spans_in_form(text: str, words: tuple[Word, ...], instruction: str, form: str) -> list[tuple[int, int]]:
    """Returns the (first, last) words of the instruction that a form of them makes `text`, capitals aside."""
    wanted = text.lower()
    return [
        (first, last)
        for first in range(len(words))
        if words[first].text.isalnum()
        for last in range(first, min(len(words), first + _LONGEST_FORM))
        if words[last].text.isalnum()
        and in_form(instruction[words[first].start : words[last].end], form).lower() == wanted
    ]


def spans_of(text: str, words: tuple[Word, ...], instruction: str) -> list[tuple[int, int]]:
    """Returns the (first, last) words of the instruction whose characters are `text`."""
    starts = {word.start: place for place, word in enumerate(words)}
    ends = {word.end: place for place, word in enumerate(words)}
    found, place = [], instruction.find(text) if text else -1
    while place >= 0:
        if place in starts and place + len(text) in ends:
            found.append((starts[place], ends[place + len(text)]))
        place = instruction.find(text, place + 1)
    return found


def cells_for(
    point: tuple[int, int], boxes: list[tuple[int, int, int, int]], elements: list[Element]
) -> NDArray[np.uint64]:
    """Returns the cells of each element that are in one of `boxes` (around `point`): its centre alone, if that is."""
    made = np.zeros(len(elements), dtype=np.uint64)
    wanted = [Box(*box) for box in boxes] or [Box(point[0] - 3, point[1] - 3, 7, 7)]
    for inner in ([_without_edge(box) for box in wanted], wanted):
        for index, one in enumerate(elements):
            at, slack = one.box.centre, _SLACK * (one.kind in POINTS)
            if one.kind != "computed" and any(box.grown(slack, *_ANY).holds(*at) for box in inner):
                made[index] = bit(CENTRE)
        if made.any():
            return made
    for index, one in enumerate(elements):
        if one.kind == "computed" or not any(one.box.meets(box) for box in wanted):
            continue
        for cell in range(CELLS):
            at = cell_point(one.box, cell)
            if any(box.holds(*at) for box in wanted):
                made[index] |= bit(cell)
    return made if made.any() else _nearest_cell(point, elements)


def _nearest_cell(point: tuple[int, int], elements: list[Element]) -> NDArray[np.uint64]:
    """Returns the cell whose middle is nearest to a point, within _NEAREST."""
    made = np.zeros(len(elements), dtype=np.uint64)
    near = [
        (math.dist(cell_point(one.box, cell), point), index, cell)
        for index, one in enumerate(elements)
        if one.kind != "computed" and one.box.grown(_NEAREST, *_ANY).holds(*point)
        for cell in range(CELLS)
    ]
    if near and min(near)[0] <= _NEAREST:
        _, index, cell = min(near)
        made[index] = bit(cell)
    return made


def bit(cell: int) -> np.uint64:
    return np.uint64(1) << np.uint64(cell)


def _without_edge(box: Box) -> Box:
    """Returns a large target without its right edge."""
    return Box(box.x, box.y, box.w - _EDGE, box.h) if box.w >= _LARGE[0] and box.h >= _LARGE[1] else box


def _compact(look: Look) -> Look:
    """Returns the look with halves instead of floats, to be kept."""
    return Look(
        **{name: value.astype(np.float16) if value.dtype == np.float32 else value for name, value in vars(look).items()}
    )
