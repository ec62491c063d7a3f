"""An instruction as words and signs, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MOST_WORDS = 64
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Word:
    """A word or a sign of the instruction: characters [start, end)."""

    text: str
    start: int
    end: int
    quoted: bool


def parts_of(text: str) -> list[str]:
    """Returns the words and signs of any text."""
    return _WORD.findall(text)


@lru_cache(maxsize=256)
def words_of(instruction: str) -> tuple[Word, ...]:
    """Returns the words and signs of an instruction, at most MOST_WORDS."""
    found, quoted = [], False
    for match in _WORD.finditer(instruction):
        if match.group() in '"“”':
            quoted = not quoted
        found.append(Word(match.group(), match.start(), match.end(), quoted and match.group() not in '"“”'))
    return tuple(found[:MOST_WORDS])
