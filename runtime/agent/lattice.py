"""Rows and columns of equal things: keys, squares of a board, days of a month, dots of a grid.

Elements of one kind and size are a group; where they stand in few columns and rows, each has a place in both, counted
from the first and from the middle, and in another group of as many columns and rows a counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.agent.elements import Element

Floats = NDArray[np.float32]

_FEWEST = 2
_NEAR = 4  # pixels: what is nearer is one column
_OF_ONE_SIZE = 3


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
        boxes = np.array([elements[index].box for index in members], dtype=np.float64)
        x, y = boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3] / 2
        made.group[members] = number
        for places, at, total, middle, sign in (
            (x, made.column, made.columns, made.across, 1),
            (y, made.row, made.rows, made.up, -1),
        ):
            at[members], steps = _counted(places)
            total[members] = at[members].max() + 1
            middle[members] = sign * steps
        order = np.lexsort((made.column[members], made.row[members]))
        made.number[np.array(members)[order]] = np.arange(1, len(members) + 1)
    _pair(made, groups)
    return made


def _groups(elements: Sequence[Element]) -> list[list[int]]:
    """Returns the groups of elements of one kind and about one size, in order of their first ones."""
    groups: list[list[int]] = []
    for index, one in enumerate(elements):
        for members in groups:
            first = elements[members[0]]
            if (
                first.kind == one.kind
                and abs(first.box.h - one.box.h) <= _OF_ONE_SIZE
                and (abs(first.box.w - one.box.w) <= _OF_ONE_SIZE or one.kind in ("line", "word"))
                and first.line == one.line
            ):
                members.append(index)
                break
        else:
            groups.append([index])
    return [members for members in groups if len(members) >= _FEWEST]


def _counted(places: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns which column each place is in, and how many steps from the middle, where a step is the least gap."""
    order = np.argsort(places, kind="stable")
    apart = np.diff(places[order]) > _NEAR
    at = np.empty(len(places), dtype=np.int64)
    at[order] = np.concatenate(([0], np.cumsum(apart)))
    middles = np.array([places[at == column].mean() for column in range(at.max() + 1)])
    if len(middles) < 2:
        return at, np.zeros(len(places))
    step = float(np.diff(middles).min())
    return at, ((middles - (middles[0] + middles[-1]) / 2) / step)[at]


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
