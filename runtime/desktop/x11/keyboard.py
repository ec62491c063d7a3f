"""Which key types a character: the layout's own key where it has one, an unused keycode lent to it where not.

    keysym ─► group 1, level 0 or 1 of the layout      ─► keycode, with or without Shift
           └► a keycode that the layout leaves unused  ─► bound to two characters, and kept (lending.py)

A program looks a key up when it gets to it, which may be long after it was pressed; so a lent keycode gets another
symbol, or is taken back, only once the program that got the presses is past them (key_reader.py). (Rebinding one
scratch keycode for each character, as common tools do, types the wrong character into programs that are slow.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import xcffib.xkb

from kernels.gate.word import boottime_ns
from runtime.desktop.chords import MODIFIERS
from runtime.desktop.errors import DisplayUnsuitable
from runtime.desktop.pressed import PressedList
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.key_reader import UNTOLD_NS, KeyReader
from runtime.desktop.x11.lending import Lending, Stroke

_REST_NS = 3_000_000_000  # after a session programs get at most this long to read what was typed last
_LOOK_S = 0.005  # between two looks at who has read
_CORE_KEYBOARD = 0x100
_NEW_KEYBOARD, _MAP = 0, 1  # XKB's events, by number
_MAP_EVENTS, _ALL_PARTS = 1 << _NEW_KEYBOARD | 1 << _MAP, 0xFF
_LOCK = 0x02
_SHIFTED_COLUMN = 1
Pause = Callable[[float], bool]  # waits so many seconds, or less; returns whether to give up


class NotRead(Exception):
    """Typing was given up while it waited for the programs to read what was typed before."""


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Keyboard:
    """The layout of `connection`'s server; what is lent is told to `pressed` first.

    Raises DisplayUnsuitable if the server has no XKB.
    """

    def __init__(self, connection: Connection, pressed: PressedList) -> None:
        self._connection = connection
        self._pressed = pressed
        if not connection.asking(lambda: connection.core.QueryExtension(9, "XKEYBOARD").reply()).present:
            raise DisplayUnsuitable(f"the X server at {connection.name!r} has no XKEYBOARD extension")
        self._xkb = connection.conn(xcffib.xkb.key)
        self._xkb.UseExtension(1, 0).reply()
        # Who speaks XKB is not told of changes in the core protocol's way any more.
        self._xkb_event = connection.core.QueryExtension(9, "XKEYBOARD").reply().first_event
        self._xkb.SelectEvents(_CORE_KEYBOARD, _MAP_EVENTS, 0, _MAP_EVENTS, _ALL_PARTS, _ALL_PARTS, [])
        self._reader = KeyReader(connection)
        self._lending: Lending | None = None  # None where the layout leaves no keycode unused
        self._bound: dict[int, tuple[int, int]] = {}  # keycode -> the two keysyms that it has from us
        self._modifier_names: dict[int, str] = {}
        self._is_stale = True
        if pressed.lent():  # of a connector that was killed: what it typed last may not be read yet
            time.sleep(UNTOLD_NS / 1e9)
            self._take_back()

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

    def fits(self, keysyms: list[int]) -> bool:
        """Returns whether `keysyms` can be typed without waiting for a program."""
        self._refresh()
        unusual = {keysym for keysym in keysyms if keysym not in self._strokes}
        lending = self._lending
        if lending is None or not unusual:
            return True
        return sum(lending.stroke(keysym, plain=True) is None for keysym in unusual) <= lending.room(plain=True)

    def plan(self, keysyms: list[int], pause: Pause = _pause, *, plain: bool = False) -> Iterator[list[Stroke]]:
        """Yields the strokes that type `keysyms`, in parts: each part is to be pressed before the next is asked for.

        One part is the rule; there are more only if more unusual characters are needed than there are unused keycodes.
        Between two parts, and before the first if the last text was such a one, programs are waited for, by `pause`.
        `plain`: without Shift, for chords. Raises ValueError (in the first step) if characters must be lent a keycode
        and the layout leaves none unused; NotRead if `pause` says so, or a program is stalled.
        """
        self._refresh()
        own, lending = self._strokes, self._lending
        unusual = next((keysym for keysym in keysyms if keysym not in own), None)
        if unusual is not None and lending is None:
            raise ValueError(f"this layout has no key for {describe(unusual)} and no unused keycode to lend to it")
        part: list[Stroke] = []
        for keysym in keysyms:
            stroke = own.get(keysym)
            if stroke is None:
                assert lending is not None
                stroke = lending.stroke(keysym, plain=plain)
            if stroke is None:
                assert lending is not None
                if not lending.room(plain=plain):
                    if part:
                        yield self._ready(part)
                        part = []
                    self._await_reader(pause)
                    lending.forget()
                stroke = lending.lend(keysym, plain=plain)
            part.append(stroke)
        yield self._ready(part)

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

    def restore(self) -> bool:
        """Takes every lent symbol back if programs have read what was typed last. Returns whether nothing is lent."""
        self._refresh()
        if not self._bound:
            return True
        if not self._have_read() and boottime_ns() - self._reader.pressed_ns < _REST_NS:
            return False
        self._take_back()
        return True

    def close(self) -> None:
        """Takes every lent symbol back, after waiting for who has to read what was typed."""
        while self._connection.is_alive() and not self.restore():
            time.sleep(_LOOK_S)

    def _take_back(self) -> None:
        self._refresh()
        self._bind(dict.fromkeys({*self._bound, *self._pressed.lent()}, (0, 0)))
        self._connection.sync()
        self._bound.clear()
        self._pressed.clear_lent()
        if self._lending is not None:
            self._lending = Lending(self._lending.keycodes)

    def _ready(self, strokes: list[Stroke]) -> list[Stroke]:
        """Binds what `strokes` need, and notes that they are about to be pressed."""
        lending = self._lending
        if lending is None:
            return strokes
        needed, rows = {stroke.keycode for stroke in strokes}, lending.rows()
        changed = {code: row for code, row in rows.items() if code in needed and self._bound.get(code) != row}
        if changed:
            for keycode in changed:
                self._pressed.lend(keycode)
            self._bind(changed)
            self._bound.update(changed)
        if lending.uses(strokes):
            self._reader.press()
        return strokes

    def _bind(self, rows: dict[int, tuple[int, int]]) -> None:
        """Gives keycodes their symbols, neighbours in one change: each makes every program read the map."""
        columns, codes = self._columns, sorted(rows)
        while codes:
            count = next((n for n in range(1, len(codes)) if codes[n] != codes[0] + n), len(codes))
            run, codes = codes[:count], codes[count:]
            symbols = [rows[code][column % 2] for code in run for column in range(columns)]
            self._connection.core.ChangeKeyboardMapping(count, run[0], columns, symbols)

    def _await_reader(self, pause: Pause) -> None:
        """Waits until everything that was typed with lent keys was read."""
        while not self._have_read():
            if pause(_LOOK_S):
                raise NotRead("typing was stopped")

    def _have_read(self) -> bool:
        try:
            return self._reader.have_read()
        except TimeoutError as error:
            raise NotRead(str(error)) from error

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
        flat = list(mapping.keysyms)
        table = {first + i: flat[i * self._columns : (i + 1) * self._columns] for i in range(count)}
        self._modifier_keycodes = {int(code) for code in modifiers.keycodes if code}
        self._give_up(code for code, (plain, _) in self._bound.items() if table[code][0] != plain)
        lent = {*self._bound, *self._pressed.lent()}
        self._strokes = strokes_of({code: row for code, row in table.items() if code not in lent})
        unused = (code for code, row in table.items() if code in lent or not any(row))
        spare = [code for code in unused if code not in self._modifier_keycodes]
        if self._lending is None or self._lending.keycodes != tuple(spare):
            self._lending = Lending(spare) if spare else None
        named = ((self._strokes.get(keysym), name) for name, keysym in MODIFIERS.items())
        self._modifier_names = {stroke.keycode: name for stroke, name in named if stroke is not None}
        self._is_stale = False

    def _give_up(self, keycodes: Iterable[int]) -> None:
        """Somebody has loaded another layout: `keycodes` are not ours any more, and what they mean now stays."""
        if gone := set(keycodes):
            self._bound = {code: row for code, row in self._bound.items() if code not in gone}
            self._lending = None
            self._pressed.clear_lent()
            for keycode in self._bound:
                self._pressed.lend(keycode)


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
