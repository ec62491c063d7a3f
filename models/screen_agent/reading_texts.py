"""Strings for the reader to learn from: words, names, numbers, codes and random letters, split by string.

    text(dice) ─► one string      held_out(string) ─► whether it belongs to the measured part, by its own hash

A string is in training or in measurement by its CRC-32, whatever font, size or shard it is drawn in.
"""

from __future__ import annotations

import random
import string
import zlib

from models.text_reader.strings import _FORMS, _NAMES, _WORDS

SYMBOLS = "£€°×÷–—‘’“”•…←→↑↓✓✕▲▼►◄■●★☆©"
ALPHABET = "".join(chr(code) for code in range(0x20, 0x7F)) + SYMBOLS
_ONSETS = [
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "qu",
    "r",
    "s",
    "t",
    "v",
    "w",
    "x",
    "z",
    "bl",
    "br",
    "ch",
    "cl",
    "cr",
    "dr",
    "fl",
    "fr",
    "gl",
    "gr",
    "pl",
    "pr",
    "sc",
    "sh",
    "sk",
    "sl",
    "sp",
    "st",
    "str",
    "th",
    "tr",
]
_NUCLEI = ["a", "e", "i", "o", "u", "y", "ai", "au", "ea", "ee", "ei", "ie", "io", "oo", "ou"]
_CODAS = [
    "", "", "", "n", "r", "l", "s", "t", "m", "d", "ck", "ll", "ss", "nt", "st", "ng", "tt", "x", "p", "f", "us", "um",
    "is", "em", "or", "it",
]  # fmt: skip
_CONFUSED = "Il1|i!jtfO0oQD5S2Z8B6G9gqrnmuvwWcCeE.,:;'`\"-_~"
_OPERATORS = "+-*/x×÷="


def held_out(text: str) -> bool:
    """Whether the string is kept for measuring: one in sixteen, by its hash."""
    return zlib.crc32(text.encode()) % 16 == 0


def text(dice: random.Random, symbols: bool = False) -> str:
    """Returns one string; with `symbols` it may hold signs beyond ASCII, which few fonts have."""
    kind = dice.random()
    if symbols and kind < 0.5:
        made = "".join(dice.choice(SYMBOLS) for _ in range(dice.choice((1, 1, 1, 2))))
        return made if dice.random() < 0.5 else dice.choice((f"{_word(dice)} {made}", f"{made} {_word(dice)}"))
    if kind < 0.14:
        return " ".join(_word(dice) for _ in range(dice.choice((1, 1, 1, 2, 2, 3))))
    if kind < 0.22:
        words = [dice.choice(_WORDS) for _ in range(dice.choice((1, 1, 2, 2, 3, 4)))]
        return " ".join(words) + (dice.choice(("...", ":", "?", "!", "*", ".", ",")) if dice.random() < 0.25 else "")
    if kind < 0.27:
        return "".join(dice.choice(string.ascii_letters + string.digits) for _ in range(dice.randint(1, 8)))
    if kind < 0.32:
        return "".join(dice.choice(_CONFUSED) for _ in range(dice.randint(1, 8)))
    if kind < 0.37:
        return dice.choice(string.ascii_letters + string.digits + string.punctuation)
    if kind < 0.41:
        return "".join(dice.choice(ALPHABET[:95]) for _ in range(dice.randint(2, 9))).strip() or "?"
    if kind < 0.46:
        return dice.choice(_NAMES) + (f" {dice.choice(_NAMES)}" if dice.random() < 0.4 else "")
    if kind < 0.70:
        return _sentence(dice)
    if kind < 0.80:
        return _numbers(dice)
    if kind < 0.88:
        return _codes(dice)
    return dice.choice(_FORMS)(dice)


def _word(dice: random.Random) -> str:
    made = "".join(
        dice.choice(_ONSETS) * (dice.random() < 0.9) + dice.choice(_NUCLEI) + dice.choice(_CODAS)
        for _ in range(dice.choice((1, 1, 2, 2, 2, 3)))
    )
    case = dice.random()
    return made.capitalize() if case < 0.4 else made.upper() if case < 0.5 else made


def _sentence(dice: random.Random) -> str:
    words = [_word(dice) if dice.random() < 0.7 else dice.choice(_WORDS) for _ in range(dice.randint(2, 6))]
    words = [word if dice.random() < 0.15 else word.lower() for word in words]
    words = [word + dice.choice(".,") if dice.random() < 0.2 else word for word in words]
    ends = dice.choice((".", "", ",", "?", "!", ":", ";"))
    if dice.random() < 0.3:
        place = dice.randrange(len(words))
        words[place] = dice.choice(('"{}"', "({})", "'{}'", "[{}]", "{},", "{}.", "{}:", "@{}", "#{}")).format(
            words[place]
        )
    return " ".join(words).capitalize() + ends if dice.random() < 0.5 else " ".join(words) + ends


def _numbers(dice: random.Random) -> str:
    kind = dice.randrange(9)
    if kind == 0:
        return str(dice.randint(0, 9))
    if kind == 1:
        return str(dice.randint(-99, 199))
    if kind == 2:
        sign = dice.choice(_OPERATORS)
        space = dice.choice(("", " "))
        return f"{dice.randint(0, 99)}{space}{sign}{space}{dice.randint(0, 99)}" + dice.choice(("", " =", "="))
    if kind == 3:
        return f"({dice.randint(-9, 9)},{dice.choice(('', ' '))}{dice.randint(-9, 9)})"
    if kind == 4:
        return f"{dice.choice('$€£')}{dice.randint(0, 9999):,}" + (
            f".{dice.randint(0, 99):02}" if dice.random() < 0.5 else ""
        )
    if kind == 5:
        return f"{dice.randint(0, 100)}{dice.choice(('%', ' px', 'px', '°', ' kg', 'h', ' min', 'cm', ' GB'))}"
    if kind == 6:
        return f"{dice.randint(1, 12)}:{dice.randint(0, 59):02}" + dice.choice(("", " AM", " PM", "am", "pm"))
    if kind == 7:
        return dice.choice("-/.").join(str(dice.randint(1, 2030)) for _ in range(3))
    return f"{dice.random() * 10 ** dice.randint(0, 4):.{dice.randint(1, 3)}f}"


def _codes(dice: random.Random) -> str:
    kind = dice.randrange(8)
    word = _word(dice).lower()
    if kind == 0:
        return f"{word}@{_word(dice).lower()}.{dice.choice(('com', 'org', 'net', 'de', 'io'))}"
    if kind == 1:
        return f"@{word}{dice.choice(('', str(dice.randint(1, 99))))}"
    if kind == 2:
        return f"{word}.{dice.choice(('txt', 'py', 'gif', 'png', 'js', 'html', 'rb', 'jpg', 'zip', 'csv'))}"
    if kind == 3:
        return f"+{dice.randint(1, 99)} {dice.randint(100, 999)} {dice.randint(1000, 99999)}"
    if kind == 4:
        return f"#{dice.randrange(1 << 24):06x}"
    if kind == 5:
        return f"https://{word}.com/{_word(dice).lower()}"
    if kind == 6:
        return f"{dice.choice(_WORDS)} ({dice.randint(1, 99)})"
    return f"{dice.choice(('$', '>', '~$', 'user$', '-', '•', '*'))} {word}"
