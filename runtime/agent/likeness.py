"""Word against element: is it spelled alike, equal, of its colour, as large a number, or its number by place?

Everything at once: names that stand on the screen are compared once each, and gathered by element; a text that was
compared before is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runtime.agent.elements import Element
from runtime.agent.grams import spelled_alike, spelling
from runtime.agent.instruction_words import Word, parts_of
from runtime.agent.lattice import Lattice
from runtime.agent.quantities import exact_values, larger, number_said, signed_values, value_of
from runtime.agent.words import COLOURS

Floats = NDArray[np.float32]

ALIKE = 11
SPELLED = 5  # of ALIKE, what is no number
_OF_TEXTS = 7  # of ALIKE, what hangs on the text alone (and the colour, which is filled in)
_MOST_INSTRUCTIONS, _MOST_KNOWN = 8, 512  # whose texts are known, and texts of each: at most some 7 MB
_MOST_PARTS_OF_A_NUMBER = 8  # words and signs: Price: -$1,234.5


def forget() -> None:
    """Drops what is kept of the instructions seen last."""
    _spelled.cache_clear()
    _known.cache_clear()


def alike_of(words: tuple[Word, ...], elements: list[Element]) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns (n, m, ALIKE) and, as (n, m), whether a word is equal to one in an element but for case.

    0 best spelling of a word in it · 1 equal but for case · 2 equal · 3 share of it · 4 of its colour
    5 the same number (05 and 5, May and 5, five) · 6 how much larger the element's number is, in -1 … 1
    7-10 see `count_alike`
    """
    made = np.zeros((len(words), len(elements), ALIKE), dtype=np.float32)
    if not words or not elements:
        return made, np.zeros((len(words), len(elements)), dtype=np.bool_)
    known = _known(words)
    texts = [one.text for one in elements]
    fresh = [text for text in dict.fromkeys(texts) if text not in known]
    if fresh:
        if len(known) > _MOST_KNOWN:
            known.clear()
            fresh = list(dict.fromkeys(texts))
        known.update(zip(fresh, _of_texts(words, fresh), strict=True))
    made[..., :_OF_TEXTS] = np.stack([known[text] for text in texts], axis=1)
    for row, word in enumerate(words):
        colour = COLOURS.get(word.text.lower())
        if colour is not None:
            made[row, :, 4] = _of_colour(elements, colour)
    return made, made[..., 1] > 0


@lru_cache(maxsize=_MOST_INSTRUCTIONS)
def _known(words: tuple[Word, ...]) -> dict[str, Floats]:
    """Returns the columns (n, _OF_TEXTS) by text that were compared with an instruction's words so far."""
    return {}


def _of_texts(words: tuple[Word, ...], texts: Sequence[str]) -> Floats:
    """Returns (m, n, _OF_TEXTS): what of ALIKE hangs on an element's text alone."""
    made = np.zeros((len(words), len(texts), _OF_TEXTS), dtype=np.float32)
    parts = [parts_of(text) for text in texts]
    vocabulary = {text: place for place, text in enumerate(dict.fromkeys(text for part in parts for text in part))}
    if vocabulary:
        names = list(vocabulary)
        likeness = spelled_alike(_spelled(words), spelling(names))
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
        _compare(made, exact_values(words), texts, parts)
    return np.ascontiguousarray(made.transpose(1, 0, 2))


@lru_cache(maxsize=64)
def _spelled(words: tuple[Word, ...]) -> tuple[Floats, Floats]:
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


def _compare(made: Floats, wanted: list[float | None], texts: Sequence[str], parts: list[list[str]]) -> None:
    """Fills in, for texts that say one number, whether a word is the same and how much larger the element's is."""
    for column, part in enumerate(parts):
        number = number_said(texts[column]) if 0 < len(part) <= _MOST_PARTS_OF_A_NUMBER else None
        if number is not None:
            made[:, column, 5] = [one == number for one in wanted]
            made[:, column, 6] = [0 if one is None else larger(number, one) for one in wanted]


def count_alike(
    alike: Floats,
    words: tuple[Word, ...],
    lattice: Lattice,
    times: NDArray[np.int64],
    running: NDArray[np.int64],
) -> None:
    """Fills in whether a word is the number that an element has by its place, or in what was done.

    7 of its like, in reading order, or of running text · 8, 9 of columns from the middle, of rows from the
    middle upwards · 10 times acted on
    """
    several = lattice.columns * lattice.rows > 1
    for row, value in enumerate(signed_values(words)):
        if value is None:
            continue
        alike[row, :, 7] = ((lattice.number == value) | (running == value)) & (value > 0)
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
