"""What stands nowhere on a screen but follows from it: the results of sums, and how many equal things there are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runtime.agent.answers import result_of
from runtime.agent.geometry import Box, same_line

_PIECE = re.compile(r"[\d\s+*×xX/÷–—−-]+")
_WIDEST_GAP = 1.5  # times the height of the taller of two pieces of a sum
_MOST_PIECES = 5  # of a sum: two numbers with a minus each, and the sign between them
_BESIDE = 14  # pixels: the label of a box that is ticked begins within them
_FEWEST = 2


def sums_of(lines: Sequence[tuple[Box, str]]) -> list[tuple[Box, str]]:
    """Returns the place and the result of each sum in lines of text; a large one may be in several pieces."""
    found = [(box, result) for box, text in lines if (result := _result(text))]
    pieces = sorted((box, text) for box, text in lines if _PIECE.fullmatch(text) and not _result(text))
    while pieces:
        row = [pieces.pop(0)]
        for piece in list(pieces):
            if len(row) < _MOST_PIECES and _goes_on(row[-1][0], piece[0]):
                row.append(piece)
                pieces.remove(piece)
        if result := _result("".join(text for _, text in row)):
            around, *others = (box for box, _ in row)
            for box in others:
                around = around.union(box)
            found.append((around, result))
    return found


def _result(text: str) -> str:
    return result_of(text) if any(sign.isdigit() for sign in text) else ""


def _goes_on(piece: Box, after: Box) -> bool:
    """Whether a piece stands right after another: a minus is much lower than a digit."""
    return same_line(piece, after) and 0 <= after.x - piece.right <= _WIDEST_GAP * max(piece.h, after.h)


def counts_of(things: Sequence[tuple[str, Box]], lines: Sequence[Box]) -> list[tuple[Box, int]]:
    """Returns the box around all things of one kind (any text) and size, and how many they are; none for one alone, and
    none for those that have a label, a line of text right beside them."""
    groups: dict[tuple[str, int, int], list[Box]] = {}
    for kind, box in things:
        groups.setdefault((kind, box.w, box.h), []).append(box)
    made = []
    for boxes in groups.values():
        if len(boxes) < _FEWEST or any(_labels(line, box) for box in boxes for line in lines):
            continue
        around = boxes[0]
        for box in boxes[1:]:
            around = around.union(box)
        made.append((around, len(boxes)))
    return made


def _labels(line: Box, box: Box) -> bool:
    return same_line(line, box) and 0 <= line.x - box.right <= _BESIDE
