"""How well a name fits a text that was read with mistakes, and where in it: approximate substring search.

Cost of a step: 0 for equal characters, 0.1 for another case, 0.25 for characters that look alike on a screen (I l 1 |,
O 0, …), 1 for anything else. Search: Sellers, "The theory and computation of evolutionary distances", 1980.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

_LOOKALIKES = ("Il1|!ij", "O0oQD", "S5s", "Z2z", "B8", "G6", "gq9", "uv", "cCe", "wW", "xX×", "-–—_", "'`’", ".,", ":;")
_CASE, _LOOKS = 0.1, 0.25
_INSIDE_A_WORD = 0.12  # a match that begins or ends in the middle of a word is less likely meant
_PART_OF_LINE = 0.03


@dataclass(frozen=True)
class Match:
    """`score` in 0 … 1 (1 = the text is the name); characters [start, end) of the text are what matched."""

    score: float
    start: int
    end: int


@lru_cache(maxsize=65536)
def find(name: str, text: str) -> Match:
    """Returns the best place of `name` in `text`."""
    wanted, squeezed, origin = _squeeze(name), *_squeeze_with_places(text)
    if not wanted or not squeezed:
        return Match(0.0, 0, 0)
    column: list[tuple[float, int]] = [(0.0, start) for start in range(len(squeezed) + 1)]
    for row, character in enumerate(wanted, start=1):
        following = [(float(row), 0)]
        for place, other in enumerate(squeezed, start=1):
            along, start = column[place - 1]
            best = (along + _cost(character, other), start)
            if column[place][0] + 1 < best[0]:
                best = (column[place][0] + 1, column[place][1])
            if following[-1][0] + 1 < best[0]:
                best = (following[-1][0] + 1, following[-1][1])
            following.append(best)
        column = following
    chosen = Match(0.0, 0, 0)
    for end in range(1, len(squeezed) + 1):
        cost, start = column[end]
        if start >= end:
            continue
        first, last = origin[start], origin[end - 1] + 1
        score = 1 - cost / len(wanted) - _outside(text, first, last)
        if score > chosen.score + 1e-9:
            chosen = Match(score, first, last)
    return chosen


def similarity(name: str, text: str) -> float:
    """Returns 0 … 1: how alike the whole of both are."""
    longest = max(len(_squeeze(name)), len(_squeeze(text)), 1)
    shortest = min(len(_squeeze(name)), len(_squeeze(text)))
    match = find(name, text) if len(name) <= len(text) else find(text, name)
    return match.score * shortest / longest


def _squeeze(text: str) -> str:
    """Returns the text without spaces: recognisers lose and invent them."""
    return "".join(text.split())


def _squeeze_with_places(text: str) -> tuple[str, list[int]]:
    places = [place for place, character in enumerate(text) if not character.isspace()]
    return "".join(text[place] for place in places), places


def _cost(first: str, second: str) -> float:
    if first == second:
        return 0.0
    if first.lower() == second.lower():
        return _CASE
    return _LOOKS if _look_alike(first, second) else 1.0


@lru_cache(maxsize=8192)
def _look_alike(first: str, second: str) -> bool:
    return any(first in group and second in group for group in _LOOKALIKES)


def _outside(text: str, first: int, last: int) -> float:
    """Returns what is taken off for text around the match, more when the match cuts a word."""
    cuts = (first > 0 and text[first - 1].isalnum() and text[first].isalnum()) + (
        last < len(text) and text[last].isalnum() and text[last - 1].isalnum()
    )
    rest = any(character.isalnum() for character in text[:first] + text[last:])
    return cuts * _INSIDE_A_WORD + rest * _PART_OF_LINE
