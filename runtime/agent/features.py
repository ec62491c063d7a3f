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
from kernels.frames.relations import count_like
from kernels.gate.word import GateToken
from runtime.agent import corners, likeness
from runtime.agent.action_kinds import KINDS
from runtime.agent.blocks import packed
from runtime.agent.corners import corners_of
from runtime.agent.deeds import REMEMBERED, Memory
from runtime.agent.elements import ELEMENT_KINDS, Element
from runtime.agent.facts import FACTS, facts_of, links_of, running_of, times_of
from runtime.agent.grams import padded
from runtime.agent.instruction_words import Word, parts_of, words_of
from runtime.agent.lattice import lattice_of
from runtime.agent.likeness import alike_of, count_alike
from runtime.agent.moments import compared, wanted_of
from runtime.agent.points import POINTS
from runtime.agent.quantities import measure_of, signed_values, value_of
from runtime.agent.words import COLOURS, ORDINALS

Floats = NDArray[np.float32]

WORD_DIMS = 24
DEED_DIMS = len(KINDS) + 8
FIRST_KINDS = len(ELEMENT_KINDS) - len(POINTS)
BOX_PLAIN_DIMS = 86
BOX_MORE = BOX_PLAIN_DIMS + THUMB * THUMB  # where later facts begin: a network trained without them can go on with them
BOX_DIMS = BOX_MORE + len(POINTS) + FACTS
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
    """Drops what is kept of the instructions and texts seen last."""
    for kept in (words_of, _words_alone, _word_grams, wanted_of, compared, measure_of, value_of):
        kept.cache_clear()
    corners.forget()
    likeness.forget()


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
    lattice, sides, times = lattice_of(elements), corners_of(pixels, elements), times_of(elements, memory)
    alike, equal = alike_of(words, elements)
    running, links = running_of(elements), links_of(elements, sides, lattice)
    count_alike(alike, words, lattice, times, running)
    boxes = _boxes(pixels, elements, instruction, memory, keys, alike)
    boxes[:, BOX_PLAIN_DIMS:BOX_MORE] = _thumbnails(pixels, elements, gate)
    known = lattice, sides, times, running, links
    boxes[:, BOX_MORE + len(POINTS) :] = facts_of(elements, instruction, alike, memory, *known)
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
        links=links,
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
    kinds = np.array([ELEMENT_KINDS.index(one.kind) for one in elements])
    lines = np.array([one.line for one in elements])
    counts = count_like(boxes, kinds, [one.fill for one in elements], lines)
    made[:, :8], made[:, 14] = counts[:, :8] / 10, counts[:, 8] / 10
    parents = np.array([one.parent for one in elements])
    has = parents >= 0
    made[:, 8] = has
    made[has, 9:11] = boxes[parents[has], 2:] / np.float32(100)
    made[has, 11] = kinds[parents[has]] / FIRST_KINDS
    made[:, 12] = np.bincount(parents[has], minlength=count)[:count] / 10
    made[:, 13] = lines >= 0
    return made


def _thumbnails(pixels: NDArray[np.uint8], elements: list[Element], gate: GateToken | None) -> Floats:
    return thumbnails(pixels, [one.box for one in elements], [packed(one.fill) for one in elements], gate)
