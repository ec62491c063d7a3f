"""What texts say as numbers: 05, 5th, May and five; -1,234.50; $5 and 2h 35m, which are compared within their unit."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from runtime.agent.instruction_words import Word
from runtime.agent.words import MONTHS, NUMBERS, ORDINALS

_NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,]*(?:\.\d+)?%?")
_PLACE = re.compile(r"(\d+)(?:st|nd|rd|th)?")
_LONGEST_MEASURE = 24  # characters


@lru_cache(maxsize=4096)
def value_of(word: str) -> int | None:
    """Returns the number that a word stands for: 05 and 5th are 5, so are May and five; None for other words."""
    match = _PLACE.fullmatch(word)
    if match is not None:
        return int(match.group(1)) if len(match.group(1)) < 8 else None
    if word in MONTHS:
        return MONTHS[word]
    lowered = word.lower()
    return NUMBERS.get(lowered, ORDINALS.get(lowered))


def signed_values(words: tuple[Word, ...]) -> list[int | None]:
    """Returns what each word stands for as a number; a minus stands right before it and after no other word."""
    found: list[int | None] = []
    for place, word in enumerate(words):
        value = value_of(word.text)
        before = words[place - 1] if place else None
        if value and before is not None and before.text in "-−–" and before.end == word.start:
            joined = place > 1 and words[place - 2].end == before.start and words[place - 2].text.isalnum()
            value = value if joined else -value
        found.append(value)
    return found


def exact_values(words: tuple[Word, ...]) -> list[float | None]:
    """Returns what each word stands for as `signed_values` does, with its decimals: the 57 of $57.90 is 57.9."""
    found: list[float | None] = list(signed_values(words))
    for place, (value, word, point, decimals) in enumerate(zip(found, words, words[1:], words[2:], strict=False)):
        joined = word.end == point.start and point.end == decimals.start
        if value is not None and point.text == "." and joined and word.text.isdigit() and decimals.text.isdigit():
            found[place] = math.copysign(float(f"{word.text}.{decimals.text}"), value)
    return found


def number_in(text: str) -> float | None:
    """Returns the value of a text that is a number and nothing else."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    digits = re.sub(r"[^\d.\-]", "", text)
    return float(digits) if digits.strip("-.") else None


def number_said(text: str) -> float | None:
    """Returns the number that a text is or that follows its name: the price of "price:$45.00", none of "12:30"."""
    name, _, rest = text.rpartition(":")
    return number_in(rest if name[-1:].isalpha() else text)


@lru_cache(maxsize=4096)
def measure_of(text: str) -> tuple[str, tuple[float, ...]] | None:
    """Returns the unit and the size of a text such as -5, $1,200 or 2h 35m; None for what is no measure."""
    text = text.strip()
    number = number_in(text)
    if number is not None:
        return text.strip("-+0123456789,."), (number,)
    sizes = tuple(float(digits) for digits in re.findall(r"\d+", text))
    return (re.sub(r"\d+", "0", text.replace(" ", "")), sizes) if sizes and len(text) <= _LONGEST_MEASURE else None


def larger(number: float, than: float) -> float:
    """Returns how much larger a number is, in -1 … 1, with a step at equality."""
    if number == than:
        return 0.0
    return math.copysign(0.4 + 0.6 * min(1.0, abs(number - than) / (1 + abs(than))), number - than)
