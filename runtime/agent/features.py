"""A look as numbers: what the decider's network takes, from the instruction, the elements and the memory.

    words   (n, WORD_DIMS)     each word of the instruction: its shape, its place, what of it was done or is to be seen
    deeds   (REMEMBERED, …)    the last actions
    boxes   (m, BOX_DIMS)      each element: kind, place, colours, thumbnail, what its text is to the instruction
    alike   (n, m, ALIKE)      word against element: spelled alike, equal, of its colour, as large a number
    grams   of words, deeds, boxes: hashed letter groups, summed through the network's own table before it runs

Training and running share this file.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kernels.frames.boxes import THUMB, thumbnails
from kernels.gate.word import GateToken
from runtime.agent.action_kinds import KINDS
from runtime.agent.blocks import packed
from runtime.agent.corners import ROUND, corners_of
from runtime.agent.deeds import REMEMBERED, Memory
from runtime.agent.elements import ELEMENT_KINDS, Element, name_at
from runtime.agent.grams import padded, spelling
from runtime.agent.instruction_words import Word, parts_of, words_of
from runtime.agent.lattice import Lattice, lattice_of
from runtime.agent.moments import compared, wanted_of
from runtime.agent.points import POINTS
from runtime.agent.quantities import larger, measure_of, number_in, signed_values, value_of
from runtime.agent.words import COLOURS, ORDINALS

Floats = NDArray[np.float32]

_MOST_PARTS_OF_A_NUMBER = 5  # words and signs: -1,234.5
ALIKE = 11
SPELLED = 5  # of ALIKE, what is no number
WORD_DIMS = 24
DEED_DIMS = len(KINDS) + 8
_CORNERS = (3, 4, 5, 6, 7, 8, ROUND)
FIRST_KINDS = len(ELEMENT_KINDS) - len(POINTS)
BOX_PLAIN_DIMS = 86
BOX_MORE = BOX_PLAIN_DIMS + THUMB * THUMB  # where later facts begin: a network trained without them can go on with them
BOX_DIMS = BOX_MORE + len(POINTS) + 38
SCREEN_DIMS = 12
_KIND_AT = {
    kind: place if place < FIRST_KINDS else BOX_MORE + place - FIRST_KINDS for place, kind in enumerate(ELEMENT_KINDS)
}


def kind_in(box: Floats) -> str:
    """Returns the kind of element that a row of `boxes` is."""
    return max(ELEMENT_KINDS, key=lambda kind: float(box[_KIND_AT[kind]]))


@dataclass(frozen=True)
class Look:
    """See the module; the grams are u16 (·, MOST_GRAMS), everything else float32."""

    screen: Floats
    words: Floats
    deeds: Floats
    boxes: Floats
    places: Floats  # (m, 4) x, y, w, h in hundreds of pixels
    deed_places: Floats  # (REMEMBERED, 4)
    alike: Floats
    word_grams: NDArray[np.uint16]
    deed_grams: NDArray[np.uint16]
    box_grams: NDArray[np.uint16]
    links: Floats  # (m, 2) the number that a box says or has corners, and its counterpart's place; -1 for none


def forget_instructions() -> None:
    """Drops what is kept of the instructions seen last."""
    for kept in (words_of, _words_alone, _word_grams, _spelled, wanted_of):
        kept.cache_clear()


def look_of(
    pixels: NDArray[np.uint8],
    elements: list[Element],
    instruction: str,
    memory: Memory,
    keys: tuple[list[int], list[int]],
    gate: GateToken | None = None,
) -> Look:
    """Returns the numbers of a look. `memory` is as it was before this look (its keys are the last look's). Raises
    GateClosed."""
    words = words_of(instruction)
    elements = memory.recalled(elements)
    lattice, corners, times = lattice_of(elements), corners_of(pixels, elements), _times(elements, memory)
    alike, equal = _alike(words, elements)
    _count(alike, words, lattice, times)
    boxes = _boxes(pixels, elements, instruction, memory, keys, alike)
    boxes[:, BOX_PLAIN_DIMS:BOX_MORE] = _thumbnails(pixels, elements, gate)
    boxes[:, BOX_MORE + len(POINTS) :] = _more(elements, instruction, alike, memory, lattice, corners, times)
    typed = " ".join(deed.text for deed in memory.deeds)
    height, width = pixels.shape[:2]
    deeds, deed_places = _deeds(memory, width, height)
    recent = memory.deeds[-REMEMBERED:]
    return Look(
        screen=_screen(elements, memory, width, height),
        words=_words(words, instruction, alike, equal, typed, memory),
        deeds=deeds,
        boxes=boxes,
        places=np.array([one.box for one in elements], dtype=np.float32).reshape(-1, 4) / np.float32(100),
        deed_places=deed_places,
        alike=alike,
        word_grams=_word_grams(words),
        deed_grams=padded([deed.text for deed in recent] + [""] * (REMEMBERED - len(recent))),
        box_grams=padded([one.text for one in elements]),
        links=_links(elements, corners, lattice),
    )


@lru_cache(maxsize=64)
def _word_grams(words: tuple[Word, ...]) -> NDArray[np.uint16]:
    return padded([word.text for word in words])


def _screen(elements: list[Element], memory: Memory, width: int, height: int) -> Floats:
    last = memory.deeds[-1] if memory.deeds else None
    return np.array(
        [
            width / 1000, height / 1000, len(elements) / 100, min(memory.step, 20) / 20, memory.step == 0,
            last.changed if last else 0, sum(one.text != "" for one in elements) / 100, len(memory.places) / 20,
            memory.step == 1, memory.step % 2, min(memory.waited, 5) / 5, 1,
        ],
        dtype=np.float32,
    )  # fmt: skip


def _words(
    words: tuple[Word, ...], instruction: str, alike: Floats, equal: NDArray[np.bool_], typed: str, memory: Memory
) -> Floats:
    made: Floats = _words_alone(instruction).copy()
    if memory.labels:
        done = Counter(part for label in memory.labels for part in set(parts_of(label.lower())))
        last = set(parts_of(memory.labels[-1].lower()))
        lowered = [word.text.lower() for word in words]
        made[:, 22] = [min(done[word], 3) / 3 for word in lowered]
        made[:, 23] = [word in last for word in lowered]
    if typed:
        made[:, 13] = [word.text != "" and word.text in typed for word in words]
    if alike.shape[1]:
        made[:, 18] = alike[..., 0].max(axis=1)
        made[:, 19] = equal.sum(axis=1).clip(0, 5) / 5
        made[:, 20] = alike[..., 4].max(axis=1)
        made[:, 21] = equal.any(axis=1)
    return made


@lru_cache(maxsize=64)
def _words_alone(instruction: str) -> Floats:
    """Returns what `_words` does where nothing was typed and nothing is to be seen."""
    words = words_of(instruction)
    made = np.zeros((len(words), WORD_DIMS), dtype=np.float32)
    clauses = 0
    for row, (word, value) in enumerate(zip(words, signed_values(words), strict=True)):
        text, lowered = word.text, word.text.lower()
        number = float(value or 0)
        size = math.copysign(min(math.log1p(abs(number)), 10) / 5, number)
        clauses += text in ".,;" or lowered in ("and", "then")
        made[row, :18] = (
            row / 20, (len(words) - row) / 20, len(text) / 10, text.isalpha(), text.isdigit(), text[0].isupper(),
            text.isupper() and len(text) > 1, not text[0].isalnum(), word.quoted,
            number / 10 if abs(number) <= 30 else 0, size, lowered in COLOURS, ORDINALS.get(lowered, 0) / 5,
            False, clauses / 4, word.start > 0 and instruction[word.start - 1] == " ",
            word.end < len(instruction) and instruction[word.end] == " ", 1,
        )  # fmt: skip
    return made


def _alike(words: tuple[Word, ...], elements: list[Element]) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns (n, m, ALIKE) and, as (n, m), whether a word is equal to one in an element but for case.

    0 best spelling of a word in it · 1 equal but for case · 2 equal · 3 share of it · 4 of its colour
    5 the same number (05 and 5, May and 5, five) · 6 how much larger the element's number is, in -1 … 1
    7-10 see `_count`
    """
    made = np.zeros((len(words), len(elements), ALIKE), dtype=np.float32)
    if not words or not elements:
        return made, np.zeros((len(words), len(elements)), dtype=np.bool_)
    parts = [parts_of(one.text) for one in elements]
    vocabulary = {text: place for place, text in enumerate(dict.fromkeys(text for part in parts for text in part))}
    if vocabulary:
        names = list(vocabulary)
        likeness = _spelled(words) @ spelling(names).T
        exact, caseless = _equal([word.text for word in words], names)
        written = [column for column, part in enumerate(parts) if part]
        own = [vocabulary[text] for part in parts for text in part]
        sizes = np.array([len(parts[column]) for column in written])
        starts = np.cumsum(sizes) - sizes
        made[:, written, 0] = np.maximum.reduceat(likeness[:, own], starts, axis=1)
        made[:, written, 1] = np.logical_or.reduceat(caseless[:, own], starts, axis=1)
        made[:, written, 2] = np.logical_or.reduceat(exact[:, own], starts, axis=1)
        made[:, written, 3] = made[:, written, 1] / sizes.astype(np.float32)
        same = _same_values(signed_values(words), [value_of(name) for name in names])
        made[:, written, 5] = np.logical_or.reduceat(same[:, own], starts, axis=1)
        _compare(made, signed_values(words), elements, parts)
    for row, word in enumerate(words):
        colour = COLOURS.get(word.text.lower())
        if colour is not None:
            made[row, :, 4] = _of_colour(elements, colour)
    return made, made[..., 1] > 0


@lru_cache(maxsize=64)
def _spelled(words: tuple[Word, ...]) -> Floats:
    return spelling([word.text for word in words])


def _equal(words: list[str], names: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns (words, names) bool twice: which are the same, and which are but for case."""
    made = []
    for spelled, sought in ((words, names), ([word.lower() for word in words], [name.lower() for name in names])):
        places: dict[str, list[int]] = {}
        for place, name in enumerate(sought):
            places.setdefault(name, []).append(place)
        same = np.zeros((len(words), len(names)), dtype=np.bool_)
        for row, word in enumerate(spelled):
            same[row, places.get(word, [])] = True
        made.append(same)
    return made[0], made[1]


def _same_values(wanted: list[int | None], values: list[int | None]) -> NDArray[np.bool_]:
    """Returns (words, names) bool: which stand for the same number."""
    made = np.zeros((len(wanted), len(values)), dtype=np.bool_)
    for row, one in enumerate(wanted):
        if one is not None:
            made[row] = [one == value for value in values]
    return made


def _compare(made: Floats, wanted: list[int | None], elements: list[Element], parts: list[list[str]]) -> None:
    """Fills in, for elements that are one number, whether a word is the same and how much larger the element's is."""
    for column, part in enumerate(parts):
        number = number_in(elements[column].text) if 0 < len(part) <= _MOST_PARTS_OF_A_NUMBER else None
        if number is not None:
            made[:, column, 5] = [one == number for one in wanted]
            made[:, column, 6] = [0 if one is None else larger(number, one) for one in wanted]


def _count(alike: Floats, words: tuple[Word, ...], lattice: Lattice, times: NDArray[np.int64]) -> None:
    """Fills in whether a word is the number that an element has by its place, or in what was done.

    7 of its like, in reading order · 8, 9 of columns from the middle, of rows from the middle upwards · 10 times acted on
    """
    several = lattice.columns * lattice.rows > 1
    for row, value in enumerate(signed_values(words)):
        if value is None:
            continue
        alike[row, :, 7] = (lattice.number == value) & (lattice.number > 0)
        alike[row, :, 8] = (np.abs(lattice.across - value) < 0.2) & several
        alike[row, :, 9] = (np.abs(lattice.up - value) < 0.2) & several
        alike[row, :, 10] = (times == value) & (times > 0)


def _of_colour(elements: list[Element], wanted: tuple[int, int, int]) -> Floats:
    target = np.array(wanted[::-1], dtype=np.float32)
    best = np.zeros(len(elements), dtype=np.float32)
    for colours in ([one.fill for one in elements], [one.ink for one in elements]):
        distance = np.abs(np.array(colours, dtype=np.float32) - target).sum(axis=1)
        best = np.maximum(best, (1 - distance / 200).clip(0, 1))
    return best


def _deeds(memory: Memory, width: int, height: int) -> tuple[Floats, Floats]:
    made = np.zeros((REMEMBERED, DEED_DIMS), dtype=np.float32)
    places = np.zeros((REMEMBERED, 4), dtype=np.float32)
    for row, deed in enumerate(memory.deeds[-REMEMBERED:]):
        made[row, deed.kind] = 1
        age = len(memory.deeds[-REMEMBERED:]) - 1 - row
        made[row, len(KINDS) :] = (
            deed.x / width, deed.y / height, deed.end_x / width, deed.end_y / height, deed.changed,
            age / 6, age == 0, 1,
        )  # fmt: skip
        places[row] = deed.x / 100, deed.y / 100, 0.01, 0.01
    return made, places


def _boxes(
    pixels: NDArray[np.uint8],
    elements: list[Element],
    instruction: str,
    memory: Memory,
    keys: tuple[list[int], list[int]],
    alike: Floats,
) -> Floats:
    count = len(elements)
    made = np.zeros((count, BOX_DIMS), dtype=np.float32)
    if not count:
        return made
    boxes = np.array([one.box for one in elements], dtype=np.float32)
    made[np.arange(count), [_KIND_AT[one.kind] for one in elements]] = 1
    at = FIRST_KINDS
    for block in (
        _placed(boxes, pixels.shape[1], pixels.shape[0]),
        _coloured(elements),
        _written(elements, instruction, alike),
        _remembered(elements, boxes, memory, keys),
        _related(elements, boxes),
    ):
        made[:, at : at + block.shape[1]] = block
        at += block.shape[1]
    assert at <= BOX_PLAIN_DIMS, at
    return made


def _placed(boxes: Floats, width: int, height: int) -> Floats:
    """12 numbers: the place on the screen and within what is filled, and the size."""
    x, y, w, h = boxes.T
    left, top = x.min(), y.min()
    across, down = max(1.0, (x + w).max() - left), max(1.0, (y + h).max() - top)
    return np.stack(
        [
            x / width, y / height, (x + w / 2 - left) / across, (y + h / 2 - top) / down, w / across, h / down,
            np.log1p(w) / 5, np.log1p(h) / 5, np.log(w / h) / 3, w / 100, h / 100, (np.abs(w - h) <= 2) * 1.0,
        ],
        axis=1,
    ).astype(np.float32)  # fmt: skip


def _coloured(elements: list[Element]) -> Floats:
    """14 numbers: ground and ink as red, green, blue, then hue, saturation and value of both."""
    made = []
    for colours in ([one.fill for one in elements], [one.ink for one in elements]):
        rgb = np.array(colours, dtype=np.float32)[:, ::-1] / 255
        value, least = rgb.max(axis=1), rgb.min(axis=1)
        spread = value - least
        safe = np.maximum(spread, 1e-3)
        red, green, blue = rgb.T
        hue = np.where(
            value == red,
            (green - blue) / safe,
            np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
        ) * (np.pi / 3)
        chroma = spread > 0.08
        made += [rgb, (np.sin(hue) * chroma)[:, None], (np.cos(hue) * chroma)[:, None], spread[:, None], value[:, None]]
    return np.concatenate(made, axis=1).astype(np.float32)


def _written(elements: list[Element], instruction: str, alike: Floats) -> Floats:
    """20 numbers: what kind of text it is, its rank among those of its unit, and what of the instruction it is."""
    made = np.zeros((len(elements), 20), dtype=np.float32)
    lowered = instruction.lower()
    measures = [measure_of(one.text) for one in elements]
    sizes: dict[str, list[tuple[float, ...]]] = {}
    for unit, size in sorted({one for one in measures if one is not None}):
        sizes.setdefault(unit, []).append(size)
    seen: dict[tuple[str, str], int] = {}
    for row, (one, measure) in enumerate(zip(elements, measures, strict=True)):
        text = one.text.strip()
        if not text:
            continue
        place = lowered.find(text.lower())
        whole = place >= 0 and _is_whole(lowered, place, len(text))
        nth = seen[one.kind, text] = seen.get((one.kind, text), -1) + 1
        signs = sum(not sign.isalnum() and sign != " " for sign in text) / len(text)
        digits = sum(sign.isdigit() for sign in text) / len(text)
        share = len(text) / max(1, len(lowered))
        made[row, :16] = (
            1, one.certainty, len(text) / 20, text.count(" ") / 5, digits, text[0].isupper(), text.isupper(),
            text[-1] in ":?", signs, whole, whole and instruction.find(text) >= 0,
            whole and f'"{text.lower()}"' in lowered, place / max(1, len(lowered)) if whole else 0,
            share if whole else 0, nth / 4, nth == 0,
        )  # fmt: skip
        if measure is not None:
            of_unit, first = sizes[measure[0]], measure[1][0]
            rank = of_unit.index(measure[1])
            made[row, 16:19] = rank / 10, rank == 0, rank == len(of_unit) - 1
            made[row, 19] = math.copysign(min(math.log1p(abs(first)), 10) / 5, first)
    return made


def _is_whole(text: str, place: int, length: int) -> bool:
    """Whether [place, place + length) of a text cuts no word."""
    before = place == 0 or not (text[place - 1].isalnum() and text[place].isalnum())
    end = place + length
    return before and (end >= len(text) or not (text[end].isalnum() and text[end - 1].isalnum()))


def _remembered(elements: list[Element], boxes: Floats, memory: Memory, keys: tuple[list[int], list[int]]) -> Floats:
    """11 numbers: how often and how lately it was acted on, whether its label was, whether it is new."""
    made = np.zeros((len(elements), 11), dtype=np.float32)
    x, y, w, h = boxes.T
    for age, (px, py) in enumerate(reversed(memory.places[-24:])):
        inside = (x <= px) & (px < x + w) & (y <= py) & (py < y + h)
        made[:, 0] += inside / 3
        made[:, 1] = np.maximum(made[:, 1], inside / (1 + age))
        if age == 0:
            made[:, 2] = inside
    made[:, 0] = made[:, 0].clip(0, 1)
    labels = memory.labels
    last = memory.deeds[-1] if memory.deeds else None
    typed = {deed.text for deed in memory.deeds if KINDS[deed.kind] == "type"}
    old, contents = set(memory.keys), set(memory.contents)
    for row, one in enumerate(elements):
        if one.text:
            made[row, 3] = min(labels.count(one.text), 3) / 3
            made[row, 4] = last is not None and last.text == one.text
            made[row, 5] = one.text in typed
        made[row, 6] = keys[0][row] not in old and memory.step > 0
        made[row, 7] = keys[1][row] not in contents and memory.step > 0
    if last is not None:
        made[:, 8] = (x + w / 2 - last.x) / 200
        made[:, 9] = (y + h / 2 - last.y) / 200
        made[:, 10] = (x <= last.end_x) & (last.end_x < x + w) & (y <= last.end_y) & (last.end_y < y + h)
    return made


def _related(elements: list[Element], boxes: Floats) -> Floats:
    """15 numbers: its row and its place in it, its column, its equals, what is around it and in it."""
    count = len(elements)
    made = np.zeros((count, 15), dtype=np.float32)
    x, y, w, h = boxes.T
    shared = np.minimum(y[:, None] + h[:, None], y + h) - np.maximum(y[:, None], y)
    in_row = 2 * shared >= np.minimum(h[:, None], h)
    same_left = np.abs(x[:, None] - x) <= 3
    kinds = np.array([ELEMENT_KINDS.index(one.kind) for one in elements])
    same_kind = kinds[:, None] == kinds
    same_size = (np.abs(w[:, None] - w) <= 3) & (np.abs(h[:, None] - h) <= 3) & same_kind
    fills = np.array([one.fill for one in elements], dtype=np.float32)
    same_fill = (np.abs(fills[:, None] - fills).sum(axis=2) <= 24) & same_kind
    before = y[:, None] > y
    made[:, 0] = (in_row & same_kind & (x < x[:, None])).sum(axis=1) / 10
    made[:, 1] = (in_row & same_kind).sum(axis=1) / 10
    made[:, 2] = (same_left & same_kind & before).sum(axis=1) / 10
    made[:, 3] = (same_left & same_kind).sum(axis=1) / 10
    made[:, 4] = same_size.sum(axis=1) / 10
    order = np.arange(count)
    made[:, 5] = (same_size & (order < order[:, None])).sum(axis=1) / 10
    made[:, 6] = same_fill.sum(axis=1) / 10
    made[:, 7] = (same_kind & (order < order[:, None])).sum(axis=1) / 10
    parents = np.array([one.parent for one in elements])
    has = parents >= 0
    made[:, 8] = has
    made[has, 9] = w[parents[has]] / 100
    made[has, 10] = h[parents[has]] / 100
    made[has, 11] = kinds[parents[has]] / FIRST_KINDS
    made[:, 12] = np.bincount(parents[has], minlength=count)[:count] / 10
    lines = np.array([one.line for one in elements])
    of_line = lines >= 0
    made[:, 13] = of_line
    made[:, 14] = ((lines[:, None] == lines) & of_line[:, None] & (order < order[:, None])).sum(axis=1) / 10
    return made


def _times(elements: list[Element], memory: Memory) -> NDArray[np.int64]:
    """Returns how often each element was acted on where it stands."""
    if not memory.places or not elements:
        return np.zeros(len(elements), dtype=np.int64)
    boxes, places = np.array([one.box for one in elements]), np.array(memory.places)
    x, y, w, h = boxes.T[:, :, None]
    px, py = places.T
    times: NDArray[np.int64] = ((x <= px) & (px < x + w) & (y <= py) & (py < y + h)).sum(axis=1)
    return times


def _more(
    elements: list[Element],
    instruction: str,
    alike: Floats,
    memory: Memory,
    lattice: Lattice,
    corners: NDArray[np.int64],
    times: NDArray[np.int64],
) -> Floats:
    """38 numbers: parity and order of its number (4), corners (8), place among its like (6), its counterpart's ground
    (4), its number as a word (3), moments (7), times acted on (2), its name's likeness to the instruction (4)."""
    count = len(elements)
    made = np.zeros((count, 38), dtype=np.float32)
    if not count:
        return made
    made[:, 0:4] = _ordered(elements)
    made[:, 4] = corners / ROUND
    for place, number in enumerate(_CORNERS):
        made[:, 5 + place] = corners == number
    made[:, 12], made[:, 13] = lattice.column / 8, lattice.row / 8
    made[:, 14], made[:, 15] = lattice.across.clip(-5, 5) / 4, lattice.up.clip(-5, 5) / 4
    made[:, 16], made[:, 17] = lattice.columns / 8, lattice.rows / 8
    has = lattice.counterpart >= 0
    made[has, 18] = 1
    fills = np.array([one.fill for one in elements], dtype=np.float32) / 255
    made[has, 19:22] = fills[lattice.counterpart[has]]
    made[:, 22:25] = _running(elements)
    wanted = wanted_of(instruction)
    made[:, 25:32] = [compared(one.text, wanted) for one in elements]
    made[:, 32], made[:, 33] = times.clip(0, 10) / 10, times % 2
    best, equal = (alike[..., column].max(axis=0) if len(alike) else np.zeros(count) for column in (0, 3))
    names = _names(elements)
    said = names >= 0
    made[said, 34] = 1
    made[said, 35], made[said, 36] = best[names[said]], equal[names[said]]
    made[said, 37] = [memory.labels.count(elements[index].text) % 2 for index in names[said]]
    return made


def _ordered(elements: list[Element]) -> Floats:
    """4 numbers of an element that is a measure: whole and odd, whole and even, its rank among those of its unit less
    its place among them in reading order, and whether both are the same."""
    made = np.zeros((len(elements), 4), dtype=np.float32)
    places: dict[str, dict[tuple[float, ...], int]] = {}
    measures = [measure_of(one.text) for one in elements]
    for measure in measures:
        if measure is not None:
            of_unit = places.setdefault(measure[0], {})
            of_unit.setdefault(measure[1], len(of_unit))
    ranks = {unit: {size: rank for rank, size in enumerate(sorted(sizes))} for unit, sizes in places.items()}
    for row, measure in enumerate(measures):
        if measure is None:
            continue
        unit, size = measure
        whole = len(size) == 1 and size[0] == int(size[0])
        apart = ranks[unit][size] - places[unit][size]
        made[row] = whole and size[0] % 2 == 1, whole and size[0] % 2 == 0, max(-1, min(1, apart / 5)), apart == 0
    return made


def _running(elements: list[Element]) -> Floats:
    """3 numbers of a word of running text: its place in it from the start, from the end, and whether it is the last."""
    made = np.zeros((len(elements), 3), dtype=np.float32)
    framed = [row for row, one in enumerate(elements) if one.kind in ("button", "field", "chooser")]
    split = {one.line for one in elements if one.kind == "word"}
    running = [
        row
        for row, one in enumerate(elements)
        if one.text and (one.kind == "word" or (one.kind == "line" and row not in split)) and one.parent not in framed
    ]
    for place, row in enumerate(running):
        after = len(running) - 1 - place
        made[row] = min(1.5, (place + 1) / 10), min(1.5, (after + 1) / 10), after == 0
    return made


def _names(elements: list[Element]) -> NDArray[np.int64]:
    """Returns for each box or ring to tick the element that is its name, -1 for all others."""
    return np.array([name_at(index, elements) if one.kind in ("tick", "radio") else -1 for index, one in enumerate(elements)])


def _links(elements: list[Element], corners: NDArray[np.int64], lattice: Lattice) -> Floats:
    """Returns (m, 2): the number that a box says, or has corners; the place of its counterpart; -1 for none."""
    made = np.full((len(elements), 2), -1, dtype=np.float32)
    for row, one in enumerate(elements):
        number = number_in(one.text) if one.text else None
        if number is not None and 0 <= number < 1000:
            made[row, 0] = number
        elif 3 <= corners[row] < ROUND and not one.text:
            made[row, 0] = corners[row]
    made[:, 1] = lattice.counterpart
    return made


def _thumbnails(pixels: NDArray[np.uint8], elements: list[Element], gate: GateToken | None) -> Floats:
    return thumbnails(pixels, [one.box for one in elements], [packed(one.fill) for one in elements], gate)


PAIRS = 26


def pairs_of(look: Look) -> Floats:
    """Returns (PAIRS, t, t): what each token is to each other; tokens are the screen, the words, the deeds, the boxes.

    0-4 alike (word and box) · 5-6 how far right, down · 7 one row · 8 one column · 9-10 around, inside · 11 next to the
    right · 12 next below · 13 a deed on a box · 14-15 the following, the preceding word · 16 equal boxes · 17 same size
    18-19 the same number, a larger one (word and box) · 20-23 see `_count` · 24 counterparts · 25 the same number (boxes)
    """
    words, deeds, count = len(look.words), len(look.deeds), len(look.boxes)
    first = 1 + words + deeds
    total = first + count
    made = np.zeros((PAIRS, total, total), dtype=np.float32)
    row = np.arange(1, words)
    made[14, row, row + 1] = 1
    made[15, row + 1, row] = 1
    if not count:
        return made
    alike = look.alike.transpose(2, 0, 1)
    for start, part in ((0, alike[:SPELLED]), (18, alike[SPELLED:])):
        made[start : start + len(part), 1 : 1 + words, first:] = part
        made[start : start + len(part), first:, 1 : 1 + words] = part.transpose(0, 2, 1)
    x, y, w, h = look.places.T
    middle_x, middle_y = x + w / 2, y + h / 2
    across, down = middle_x[None, :] - middle_x[:, None], middle_y[None, :] - middle_y[:, None]
    inner = made[:, first:, first:]
    inner[5], inner[6] = (across / 2).clip(-2, 2), (down / 2).clip(-2, 2)
    in_row, in_column = _shared(y, h), _shared(x, w)
    inner[7], inner[8] = in_row, in_column
    around = (x[:, None] <= middle_x) & (middle_x < x[:, None] + w[:, None])
    around &= (y[:, None] <= middle_y) & (middle_y < y[:, None] + h[:, None])
    around &= (w * h)[:, None] > (w * h)[None, :]
    inner[9], inner[10] = around, around.T
    apart = ~around & ~around.T
    inner[11] = _nearest(np.where(in_row & apart & (across > 0), across, np.inf))
    inner[12] = _nearest(np.where(in_column & apart & (down > 0), down, np.inf))
    px, py = look.deed_places[:, 0, None], look.deed_places[:, 1, None]
    done = (x <= px) & (px < x + w) & (y <= py) & (py < y + h) & (look.deed_places[:, 2, None] > 0)
    made[13, 1 + words : first, first:] = done
    made[13, first:, 1 + words : first] = done.T
    inner[17] = (np.abs(w[:, None] - w) < 0.03) & (np.abs(h[:, None] - h) < 0.03)
    grams = look.box_grams.astype(np.int64).sum(axis=1)
    inner[16] = (grams[:, None] == grams) & (grams > 0)
    has = np.flatnonzero(look.links[:, 1] >= 0)
    inner[24, has, look.links[has, 1].astype(np.int64)] = 1
    number = look.links[:, 0]
    inner[25] = (number[:, None] == number) & (number >= 0)
    return made


def _shared(start: Floats, size: Floats) -> NDArray[np.bool_]:
    """Returns (m, m): whether two stretches share at least half of the shorter one."""
    end = start + size
    common = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    shared: NDArray[np.bool_] = 2 * common >= np.minimum(size[:, None], size)
    return shared


def _nearest(distance: Floats) -> Floats:
    """Returns 1 at the least finite value of each row, 0 elsewhere."""
    made = np.zeros_like(distance, dtype=np.float32)
    best = distance.argmin(axis=1)
    rows = np.arange(len(distance))
    made[rows, best] = np.isfinite(distance[rows, best])
    return made
