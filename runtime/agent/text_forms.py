"""Other forms of a text that a person types without thinking: what of a date a pattern takes, the code of a colour.

"3:54 PM" ─► 0354pm (keys)      magenta ─► FF00FF (colour)      "Amet." ─► Amet (bare)
"""

from __future__ import annotations

import re

from runtime.agent.words import COLOURS

_PART = re.compile(r"\d+|[^\W\d_]+")
_AFTER_A_WORD = ".,;:!?"


def as_keys(text: str) -> str:
    """Returns the keys for a field that shows a pattern (mm/dd/yyyy, --:--): no signs, numbers of two digits."""
    return "".join(part.zfill(2) if part.isdigit() else part.lower() for part in _PART.findall(text))


def as_colour(text: str) -> str:
    """Returns the six hexadecimal digits of a colour's name, "" for what is none."""
    colour = COLOURS.get(text.lower())
    return "".join(f"{part:02X}" for part in colour) if colour else ""


def bare(text: str) -> str:
    """Returns a text without the sign that ends a sentence; one of signs alone stays."""
    text = text.strip()
    return text.rstrip(_AFTER_A_WORD) or text
