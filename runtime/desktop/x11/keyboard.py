"""Which key types a character: the layout's own key where it has one, an unused keycode lent to it where not.

    keysym ─► group 1, level 0 or 1 of the layout      ─► keycode, with or without Shift
           └► a keycode that the layout leaves unused  ─► bound to the keysym in every column, and kept

A program looks a key up when it gets to it, which may be long after it was pressed; so a lent keycode keeps its symbol
as long as there are others to lend, is never given another within `REUSE_NS` of its last press, and is taken back only
after the session. (Rebinding one scratch keycode for each character, as common tools do, types the wrong character into
programs that are slow.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import xcffib.xkb

from kernels.gate.word import boottime_ns
from runtime.desktop.chords import MODIFIERS
from runtime.desktop.errors import DisplayUnsuitable
from runtime.desktop.pressed import PressedList
from runtime.desktop.x11.connection import Connection

REUSE_NS = 150_000_000
_CORE_KEYBOARD = 0x100
_NEW_KEYBOARD, _MAP = 0, 1  # XKB's events, by number
_MAP_EVENTS, _ALL_PARTS = 1 << _NEW_KEYBOARD | 1 << _MAP, 0xFF
_LOCK = 0x02
_SHIFTED_COLUMN = 1


@dataclass(frozen=True, slots=True)
class Stroke:
    """One key to press: `keycode`, under Shift if `shift`."""

    keycode: int
    shift: bool


class Keyboard:
    """The layout of `connection`'s server; what is lent is told to `pressed` first. `sleep` is for the tests.

    Raises DisplayUnsuitable if the server has no XKB.
    """

    def __init__(
        self, connection: Connection, pressed: PressedList, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._connection = connection
        self._pressed = pressed
        self._sleep = sleep
        if not connection.asking(lambda: connection.core.QueryExtension(9, "XKEYBOARD").reply()).present:
            raise DisplayUnsuitable(f"the X server at {connection.name!r} has no XKEYBOARD extension")
        self._xkb = connection.conn(xcffib.xkb.key)
        self._xkb.UseExtension(1, 0).reply()
        # Who speaks XKB is not told of changes in the core protocol's way any more.
        self._xkb_event = connection.core.QueryExtension(9, "XKEYBOARD").reply().first_event
        self._xkb.SelectEvents(_CORE_KEYBOARD, _MAP_EVENTS, 0, _MAP_EVENTS, _ALL_PARTS, _ALL_PARTS, [])
        self._lent: dict[int, int] = {}  # keysym -> keycode, least recently used first
        self._used_ns: dict[int, int] = {}  # keycode -> when it was last planned
        self._modifier_names: dict[int, str] = {}
        self._is_stale = True

    def notice(self, event: memoryview) -> None:
        """Takes in an event of the connection: after a change of layout the map is read again."""
        if event[0] & 0x7F == self._xkb_event and event[1] in (_NEW_KEYBOARD, _MAP):
            self._is_stale = True

    def modifier(self, keysym: int) -> int:
        """Returns the keycode of a modifier. Raises ValueError if the layout has none (AltGr, on many)."""
        self._refresh()
        stroke = self._strokes.get(keysym)
        if stroke is None or stroke.keycode not in self._modifier_keycodes:
            name = next((name for name, known in MODIFIERS.items() if known == keysym), hex(keysym))
            raise ValueError(f"this keyboard layout has no modifier {name}")
        return stroke.keycode

    def name_of(self, keycode: int) -> str:
        """Returns the name of a modifier's keycode, "keycode N" of any other, by the layout as it was read last."""
        return self._modifier_names.get(keycode, f"keycode {keycode}")

    def plan(self, keysyms: list[int]) -> Iterator[list[Stroke]]:
        """Yields the strokes that type `keysyms`, in parts: each part is to be pressed before the next is asked for.

        One part is the rule; there are more only if more unusual characters are needed than there are unused keycodes.
        Raises ValueError (in the first step) if characters must be lent a keycode and the layout leaves none unused.
        """
        self._refresh()
        own, unusual = self._strokes, [s for s in dict.fromkeys(keysyms) if s not in self._strokes]
        if unusual and not self._spare:
            raise ValueError(f"this layout has no key for {describe(unusual[0])} and no unused keycode to lend to it")
        if len(unusual) <= len(self._spare):
            self._lend(unusual)
            yield [own.get(keysym) or Stroke(self._lent[keysym], False) for keysym in keysyms]
            return
        part: list[int] = []
        for keysym in keysyms:
            if keysym not in own and keysym not in part and sum(s not in own for s in set(part)) == len(self._spare):
                yield from self.plan(part)
                part = []
            part.append(keysym)
        yield from self.plan(part)

    @contextmanager
    def neutral(self) -> Iterator[None]:
        """Holds Caps Lock off and the layout's first group on, and puts both back."""
        state = self._connection.asking(lambda: self._xkb.GetState(_CORE_KEYBOARD).reply())
        caps, group = state.lockedMods & _LOCK, state.lockedGroup
        if not caps and not group:
            yield
            return
        self._xkb.LatchLockState(_CORE_KEYBOARD, _LOCK, 0, True, 0, 0, False, 0)
        try:
            yield
        finally:
            self._xkb.LatchLockState(_CORE_KEYBOARD, _LOCK, caps, True, group, 0, False, 0)

    def restore(self) -> None:
        """Takes every lent symbol back, once programs have had time to look up what was typed last."""
        self._refresh()
        if self._lent:
            self._wait_for(self._used_ns.values())
        for keycode in {*self._lent.values(), *self._pressed.lent()}:
            self._bind(keycode, 0)
        self._connection.sync()
        self._lent.clear()
        self._used_ns.clear()
        self._pressed.clear_lent()

    def _lend(self, keysyms: list[int]) -> None:
        """Binds a keycode to each of `keysyms` that has none yet; all of them stay bound together."""
        for keysym in keysyms:
            if keysym in self._lent:
                self._lent[keysym] = self._lent.pop(keysym)  # the most recently used
        for keysym in keysyms:
            if keysym in self._lent:
                continue
            free = [keycode for keycode in self._spare if keycode not in self._lent.values()]
            if free:
                keycode = free[0]
            else:
                keycode = self._lent.pop(next(iter(self._lent)))
                self._wait_for([self._used_ns.get(keycode, 0)])
            self._pressed.lend(keycode)
            self._bind(keycode, keysym)
            self._lent[keysym] = keycode
        now_ns = boottime_ns()
        self._used_ns.update({self._lent[keysym]: now_ns for keysym in keysyms})

    def _bind(self, keycode: int, keysym: int) -> None:
        columns = self._columns
        self._connection.core.ChangeKeyboardMapping(1, keycode, columns, [keysym] * columns)

    def _wait_for(self, used_ns: object) -> None:
        """Sleeps until `REUSE_NS` have passed since the last of the times `used_ns`."""
        last_ns = max(used_ns, default=0)  # type: ignore[call-overload]
        if (left_ns := last_ns + REUSE_NS - boottime_ns()) > 0:
            self._sleep(left_ns / 1e9)

    def _refresh(self) -> None:
        """Reads the layout if it may have changed. Keycodes that we lent count as unused."""
        if not self._is_stale:
            return
        connection = self._connection
        setup = connection.conn.setup
        first, count = setup.min_keycode, setup.max_keycode - setup.min_keycode + 1
        asked = connection.core.GetKeyboardMapping(first, count), connection.core.GetModifierMapping()
        mapping, modifiers = connection.asking(asked[0].reply), connection.asking(asked[1].reply)
        self._columns: int = mapping.keysyms_per_keycode
        flat, lent = list(mapping.keysyms), set(self._lent.values()) | set(self._pressed.lent())
        table = {first + i: flat[i * self._columns : (i + 1) * self._columns] for i in range(count)}
        self._modifier_keycodes = {int(code) for code in modifiers.keycodes if code}
        self._strokes = strokes_of({code: row for code, row in table.items() if code not in lent})
        unused = (code for code, row in table.items() if code in lent or not any(row))
        self._spare = [code for code in unused if code not in self._modifier_keycodes]
        named = ((self._strokes.get(keysym), name) for name, keysym in MODIFIERS.items())
        self._modifier_names = {stroke.keycode: name for stroke, name in named if stroke is not None}
        self._is_stale = False


def strokes_of(table: dict[int, list[int]]) -> dict[int, Stroke]:
    """Returns the stroke for every keysym that group 1 of `table` (keycode -> its row of keysyms) types.

    An unshifted place wins over a shifted one, a lower keycode over a higher. A row with one letter alone means its
    lower and upper case (the core protocol's rule).
    """
    found: dict[int, Stroke] = {}
    for shift in (False, True):
        for keycode, row in table.items():
            keysym = row[_SHIFTED_COLUMN] if shift and len(row) > 1 else row[0] if not shift else 0
            if shift and not keysym and (lower := row[0]) in range(0x61, 0x7B):
                keysym = lower - 0x20
            if keysym:
                found.setdefault(keysym, Stroke(keycode, shift))
    return found


def describe(keysym: int) -> str:
    """Returns a name of `keysym` for people."""
    code = keysym - 0x01000000 if keysym >= 0x01000000 else keysym
    return f"U+{code:04X} ({chr(code)})" if keysym < 0xFE00 or keysym >= 0x01000000 else f"keysym {keysym:#06x}"
