"""Which unused keycode types which character: a keycode is lent to two characters, one plain, one under Shift.

A program looks a key up when it gets to it, which may be long after the press, and by the map as it is *then*. So a
lent keycode keeps its characters as long as there are others to lend. When there are none, everything is forgotten
together, and that only once the presses until then were read.

Pure: what to send and when to wait is keyboard.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stroke:
    """One key to press: `keycode`, under Shift if `shift`."""

    keycode: int
    shift: bool


class Lending:
    """Characters, as keysyms, on the unused `keycodes` of a layout."""

    def __init__(self, keycodes: Sequence[int]) -> None:
        self.keycodes = tuple(keycodes)
        self._strokes: dict[int, Stroke] = {}
        self._free: list[Stroke] = []
        self.forget()

    def forget(self) -> None:
        """Takes every character's keycode back. Only once what was pressed was read."""
        self._strokes.clear()
        self._free = [Stroke(keycode, shift) for shift in (False, True) for keycode in self.keycodes]

    def stroke(self, keysym: int, *, plain: bool = False) -> Stroke | None:
        """Returns what types `keysym` now (`plain`: without Shift), None if nothing does."""
        found = self._strokes.get(keysym)
        return None if found is None or (plain and found.shift) else found

    def room(self, *, plain: bool = False) -> int:
        """Returns how many more characters can be lent a key."""
        return sum(not (plain and slot.shift) for slot in self._free)

    def lend(self, keysym: int, *, plain: bool = False) -> Stroke:
        """Gives `keysym` a key; the plain ones are given out first. StopIteration if there is no `room`."""
        slot = next(slot for slot in self._free if not (plain and slot.shift))
        self._free.remove(slot)
        self._strokes[keysym] = slot
        return slot

    def uses(self, strokes: Iterable[Stroke]) -> bool:
        """Returns whether one of `strokes` is of a lent keycode."""
        return any(stroke.keycode in self.keycodes for stroke in strokes)

    def rows(self) -> dict[int, tuple[int, int]]:
        """Returns keycode -> (plain, shifted) keysyms of every keycode that is lent; a lone one is both."""
        rows: dict[int, list[int]] = {}
        for keysym, stroke in self._strokes.items():
            rows.setdefault(stroke.keycode, [0, 0])[stroke.shift] = keysym
        return {keycode: (plain or shifted, shifted or plain) for keycode, (plain, shifted) in rows.items()}
