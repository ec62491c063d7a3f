"""What a careless hand does: a random move, click, letter or turn of the wheel. So the way back is learned, too."""

from __future__ import annotations

import random
from collections.abc import Sequence

from runtime.desktop.episodes import Box
from runtime.wire.actions import Action, Click, Scroll, Type
from runtime.wire.actions import Move as MovePointer

SHARE = 0.13
# Any click, or any letter, ends these or spoils them for good; a pointer that moves does not.
MOVES_ONLY = frozenset(
    {
        "click-widget",
        "focus-text",
        "focus-text-2",
        "click-button-sequence",
        "terminal",
        "tic-tac-toe",
        "drag-items",
        "drag-items-grid",
        "moving-items",
        "chase-circle",
        "stock-market",
        "simon-says",
        "hot-cold",
        "use-spinner",
        "tk-keys",
        "qt-keys",
        "gtk-keys",
        "tk-terminal",
        "qt-terminal",
        "gtk-terminal",
        "qt-table",
    }
)
UNDISTURBED = frozenset(
    {
        "chase-circle",
        "moving-items",
        "stock-market",
        "button-delay",
        "hover-shape",
    }
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789"


def disturbance(
    task: str, label: Action, harmless: Sequence[Box], size: tuple[int, int], rng: random.Random
) -> Action | None:
    """Returns something wrong to do in place of `label`, None for this time nothing."""
    if task in UNDISTURBED or rng.random() >= SHARE:
        return None
    width, height = size
    kind = rng.random()
    if task not in MOVES_ONLY:
        if isinstance(label, Type) and kind < 0.7:
            wrong = "".join(rng.choice(_LETTERS) for _ in range(rng.randint(1, 5)))
            return Type(wrong if rng.random() < 0.5 else label.text[: rng.randint(0, len(label.text) - 1)] or "x")
        if harmless and kind < 0.6:
            x, y, w, h = rng.choice(harmless)
            return Click(x + rng.randrange(w), y + rng.randrange(h))
        if kind < 0.75:
            return Scroll(rng.randrange(width // 4, width), rng.randrange(height // 3, height), 0, rng.choice((-2, 2)))
    return MovePointer(rng.randrange(width), rng.randrange(height))
