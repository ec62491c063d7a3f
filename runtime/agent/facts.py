"""What else is known of an element: its number's parity and order, its corners, its place among its like, dates.

These stand behind the thumbnails, so that a network that was trained without them can go on with them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames.relations import nearest
from runtime.agent.corners import ROUND
from runtime.agent.deeds import Memory
from runtime.agent.elements import Element
from runtime.agent.lattice import Lattice
from runtime.agent.moments import compared, wanted_of
from runtime.agent.names import names_at
from runtime.agent.quantities import measure_of, number_in

Floats = NDArray[np.float32]

FACTS = 49
_NO_UNIT = "none"
_WHOLE = (0, 1)  # facts that say that a number is odd, even
_CORNERS = (3, 4, 5, 6, 7, 8, ROUND)


def times_of(elements: list[Element], memory: Memory) -> NDArray[np.int64]:
    """Returns how often each element was acted on where it stands."""
    if not memory.places or not elements:
        return np.zeros(len(elements), dtype=np.int64)
    boxes, places = np.array([one.box for one in elements]), np.array(memory.places)
    x, y, w, h = boxes.T[:, :, None]
    px, py = places.T
    times: NDArray[np.int64] = ((x <= px) & (px < x + w) & (y <= py) & (py < y + h)).sum(axis=1)
    return times


def facts_of(
    elements: list[Element],
    instruction: str,
    alike: Floats,
    memory: Memory,
    lattice: Lattice,
    sides: NDArray[np.int64],
    times: NDArray[np.int64],
    running: NDArray[np.int64],
    links: Floats,
) -> Floats:
    """FACTS numbers: parity and order of its number (4), corners (8), place among its like (6), the ground of its
    counterpart (4), its number as a word (3), moments (7), times acted on (2), its name's likeness to the instruction
    (4), the number of corners and the number beside it (5), whether it is the least or the greatest of its unit (2),
    the same of the line of another unit before it (2), whether the nearest whole number of all is odd, even (2)."""
    count = len(elements)
    made = np.zeros((count, FACTS), dtype=np.float32)
    if not count:
        return made
    made[:, 0:4], made[:, 43:45], units = _ordered(elements)
    made[:, 45:47] = _ends_before(elements, made[:, 43:45], units)
    made[:, 4] = sides / ROUND
    for place, number in enumerate(_CORNERS):
        made[:, 5 + place] = sides == number
    made[:, 12], made[:, 13] = lattice.column / 8, lattice.row / 8
    made[:, 14], made[:, 15] = lattice.across.clip(-5, 5) / 4, lattice.up.clip(-5, 5) / 4
    made[:, 16], made[:, 17] = lattice.columns / 8, lattice.rows / 8
    has = lattice.counterpart >= 0
    made[has, 18] = 1
    fills = np.array([one.fill for one in elements], dtype=np.float32) / 255
    made[has, 19:22] = fills[lattice.counterpart[has]]
    last = running.max(initial=0)
    made[:, 22] = (running / 10).clip(0, 1.5)
    made[:, 23] = np.where(running > 0, ((last + 1 - running) / 10).clip(0, 1.5), 0)
    made[:, 24] = (running == last) & (running > 0)
    wanted = wanted_of(instruction)
    made[:, 25:32] = [compared(one.text, wanted) for one in elements]
    made[:, 32], made[:, 33] = times.clip(0, 10) / 10, times % 2
    best, equal = (alike[..., column].max(axis=0) if len(alike) else np.zeros(count) for column in (0, 3))
    names = np.array(names_at(range(count), elements))
    said = names >= 0
    made[said, 34] = 1
    made[said, 35], made[said, 36] = best[names[said]], equal[names[said]]
    made[said, 37] = [memory.labels.count(elements[index].text) % 2 for index in names[said]]
    boxes = np.array([one.box for one in elements], dtype=np.float32)
    made[:, 38:43] = numbered(boxes, made, links, alike, sides)
    is_whole = np.asarray(made[:, _WHOLE].any(axis=1))
    if is_whole.any():
        made[:, 47:49] = made[nearest(boxes, is_whole)[0]][:, _WHOLE]
    return made


def numbered(boxes: Floats, facts: Floats, links: Floats, alike: Floats, sides: NDArray[np.int64]) -> Floats:
    """5 numbers: whether it says as many as a figure has corners; of the whole number beside it, whether it is odd,
    even; of the number beside it (else of the nearest), how it compares to the first number of the instruction, and
    whether that is known: 1, or 0.5 of the nearest."""
    made = np.zeros((len(boxes), 5), dtype=np.float32)
    is_whole = np.asarray(facts[:, _WHOLE].any(axis=1))
    figures = links[(links[:, 0] == sides) & ~is_whole, 0]
    made[:, 0] = np.isin(links[:, 0], figures[figures >= 3]) & is_whole
    places, beside = nearest(boxes, is_whole)
    made[beside, 1:3] = facts[places[beside]][:, _WHOLE]
    comparable = (alike[..., 5] != 0) | (alike[..., 6] != 0)
    compared_to = np.flatnonzero(comparable.any(axis=1))
    if len(compared_to):
        first = compared_to[0]
        places, beside = nearest(boxes, comparable[first])
        made[:, 3] = np.sign(alike[first, places, 6])
        made[:, 4] = np.where(beside, 1, 0.5)
    return made


def _ordered(elements: list[Element]) -> tuple[Floats, Floats, list[str]]:
    """4 numbers of an element that is a measure: whole and odd, whole and even, its rank among those of its unit less
    its place among them in reading order, and whether both are the same. And 2, where its unit has several sizes:
    whether it is the least, the greatest. And the unit of each."""
    made, ends = np.zeros((len(elements), 4), dtype=np.float32), np.zeros((len(elements), 2), dtype=np.float32)
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
        rank, last = ranks[unit][size], len(ranks[unit]) - 1
        apart = rank - places[unit][size]
        made[row] = whole and size[0] % 2 == 1, whole and size[0] % 2 == 0, max(-1, min(1, apart / 5)), apart == 0
        ends[row] = last > 0 and rank == 0, last > 0 and rank == last
    return made, ends, [measure[0] if measure is not None else _NO_UNIT for measure in measures]


def _ends_before(elements: list[Element], ends: Floats, units: list[str]) -> Floats:
    """Returns for each element whether the last line before it that is a measure of another unit is the least of that,
    the greatest: so what is pressed is known by the duration that stands over it."""
    made = np.zeros((len(elements), 2), dtype=np.float32)
    last: dict[str, int] = {}  # the last line of each unit, the latest at the end
    for row, (one, unit) in enumerate(zip(elements, units, strict=True)):
        before = next((place for other, place in reversed(last.items()) if other != unit), None)
        if before is not None:
            made[row] = ends[before]
        if one.kind == "line" and unit != _NO_UNIT:
            last.pop(unit, None)
            last[unit] = row
    return made


def running_of(elements: list[Element]) -> NDArray[np.int64]:
    """Returns for each word of running text its place in it, 1 for the first; 0 for all else."""
    made = np.zeros(len(elements), dtype=np.int64)
    framed = {row for row, one in enumerate(elements) if one.kind in ("button", "field", "chooser")}
    split = {one.line for one in elements if one.kind == "word"}
    made[
        [
            row
            for row, one in enumerate(elements)
            if one.text
            and one.parent not in framed
            and (one.kind == "word" or (one.kind == "line" and row not in split))
        ]
    ] = 1
    return np.where(made > 0, made.cumsum(), 0)


def links_of(elements: list[Element], sides: NDArray[np.int64], lattice: Lattice) -> Floats:
    """Returns (m, 2): the number that a box says, or has corners; the place of its counterpart; -1 for none."""
    made = np.full((len(elements), 2), -1, dtype=np.float32)
    for row, one in enumerate(elements):
        number = number_in(one.text) if one.text else None
        if number is not None and 0 <= number < 1000:
            made[row, 0] = number
        elif 3 <= sides[row] < ROUND and not one.text:
            made[row, 0] = sides[row]
    made[:, 1] = lattice.counterpart
    return made
