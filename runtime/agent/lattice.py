"""Rows and columns of equal things: keys, squares of a board, days of a month, dots of a grid.

Elements of one kind and size that have one frame around them are a group; where they stand in few columns and rows,
each has a place in both, counted from the first and from the middle, and in another group of as many columns and rows a
counterpart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from runtime.agent.elements import Element

Floats = NDArray[np.float32]

_FEWEST = 2
_NEAR = 4  # pixels: what is nearer is one column
_OF_ONE_SIZE = 2


@dataclass(frozen=True)
class Lattice:
    """For each element (-1 or 0: not in a group): its group, its column and row, how many there are, its place from
    the middle column to the right and from the middle row upwards, in steps, its number in the group in reading order
    (1 is first), and the element of another group that has the same place."""

    group: NDArray[np.int64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    across: Floats
    up: Floats
    number: NDArray[np.int64]
    counterpart: NDArray[np.int64]


def lattice_of(elements: Sequence[Element]) -> Lattice:
    """Returns the places of elements in the groups they form."""
    count = len(elements)
    made = Lattice(
        group=np.full(count, -1),
        column=np.full(count, -1),
        row=np.full(count, -1),
        columns=np.zeros(count, dtype=np.int64),
        rows=np.zeros(count, dtype=np.int64),
        across=np.zeros(count, dtype=np.float32),
        up=np.zeros(count, dtype=np.float32),
        number=np.zeros(count, dtype=np.int64),
        counterpart=np.full(count, -1),
    )
    groups = _groups(elements)
    for number, members in enumerate(groups):
        boxes = [elements[index].box for index in members]
        columns, across = _counted([box.x + box.w / 2 for box in boxes])
        rows, down = _counted([box.y + box.h / 2 for box in boxes])
        made.group[members] = number
        made.column[members], made.columns[members], made.across[members] = columns, max(columns) + 1, across
        made.row[members], made.rows[members], made.up[members] = rows, max(rows) + 1, [-step for step in down]
        order = sorted(range(len(members)), key=lambda place: (rows[place], columns[place]))
        made.number[[members[place] for place in order]] = range(1, len(members) + 1)
    _list_lines(made, elements)
    _pair(made, groups)
    return made


def _list_lines(made: Lattice, elements: Sequence[Element]) -> None:
    """Numbers the lines of text that are in no grid by those that begin where they do: the items of a list."""
    at_left: dict[int, list[int]] = {}
    for index, one in enumerate(elements):
        if one.kind == "line" and max(made.columns[index], made.rows[index]) < _FEWEST:
            at_left.setdefault(one.box.x // _NEAR, []).append(index)
    for members in at_left.values():
        if len(members) >= _FEWEST:
            made.number[sorted(members, key=lambda index: elements[index].box.y)] = range(1, len(members) + 1)


def _groups(elements: Sequence[Element]) -> list[list[int]]:
    """Returns the groups of elements of one kind, about one size, and (but for text) one parent."""
    groups: list[list[int]] = []
    of_kind: dict[tuple[str, int, int], list[tuple[int, int, list[int]]]] = {}
    for index, one in enumerate(elements):
        w, h, is_text = one.box.w, one.box.h, one.kind == "word"
        known = of_kind.setdefault((one.kind, one.line, -1 if one.kind in ("line", "word") else one.parent), [])
        for wide, high, members in known:
            if abs(high - h) <= _OF_ONE_SIZE and (is_text or abs(wide - w) <= _OF_ONE_SIZE):
                members.append(index)
                break
        else:
            groups.append([index])
            known.append((w, h, groups[-1]))
    return [members for members in groups if len(members) >= _FEWEST]


def _counted(places: Sequence[float]) -> tuple[list[int], list[float]]:
    """Returns which column each place is in, and how many steps from the middle, where a step is the least gap."""
    at, columns, last = [0] * len(places), list[list[float]](), -math.inf
    for index in sorted(range(len(places)), key=places.__getitem__):
        if places[index] - last > _NEAR:
            columns.append([])
        last = places[index]
        columns[-1].append(last)
        at[index] = len(columns) - 1
    middles = [sum(column) / len(column) for column in columns]
    if len(middles) < 2:
        return at, [0.0] * len(places)
    step = min(right - left for left, right in pairwise(middles))
    middle = (middles[0] + middles[-1]) / 2
    return at, [(middles[column] - middle) / step for column in at]


def _pair(made: Lattice, groups: list[list[int]]) -> None:
    """Fills in the counterparts of groups of several columns and rows."""
    for first, members in enumerate(groups):
        shape = made.columns[members[0]], made.rows[members[0]]
        if min(shape) < 2:
            continue
        for second, others in enumerate(groups):
            if first == second or (made.columns[others[0]], made.rows[others[0]]) != shape:
                continue
            places = {(made.column[index], made.row[index]): index for index in others}
            for index in members:
                made.counterpart[index] = places.get((made.column[index], made.row[index]), -1)
            break
