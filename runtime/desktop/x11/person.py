"""Tells a person's input from our own: XInput 2 raw events of every device, less those that we injected ourselves.

a device that is not XTEST   ─► a person (mouse, keyboard, touch, the devices of a VNC server)
an XTEST device              ─► ours if the injector announced it (own_events.py), else another program's: a person
                                too (x11vnc gives its viewers' input so)
"""

from __future__ import annotations

from runtime.desktop.chords import KEYSYMS, MODIFIERS, parse_chord
from runtime.desktop.takeover import Holder, Signal, TakeoverRules
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.mark import Mark
from runtime.desktop.x11.own_events import OwnEvents
from runtime.desktop.x11.raw import (
    BUTTON_RELEASE,
    KEY_PRESS,
    KEY_RELEASE,
    RawEvent,
    device_names,
    opcode_of,
    raw_event,
    select_raw,
)

# The right-hand keys count as their left-hand namesakes in a person's chord.
_TWINS = {0xFFE4: 0xFFE3, 0xFFE2: 0xFFE1, 0xFFEA: 0xFFE9, 0xFFEC: 0xFFEB, 0xFF8D: KEYSYMS["enter"]}


class PersonWatch:
    """What people do on the server of `connection` (its own), as signals; `show` tells them who acts."""

    def __init__(self, connection: Connection, own: OwnEvents, rules: TakeoverRules) -> None:
        self._connection = connection
        self._own = own
        self._opcode = opcode_of(connection)
        self._xtest = self._xtest_devices()
        self._hotkeys = {
            _chord_of(text): signal
            for text, signal in (
                (rules.resume_hotkey, Signal.resume),
                (rules.stop_hotkey, Signal.stop),
                (rules.approve_hotkey, Signal.approve),
            )
            if text
        }
        self._keysyms = self._keysym_table()
        self._down: set[int] = set()
        self._mark = Mark(connection, connection.size()[0])
        select_raw(connection)

    def fileno(self) -> int:
        """Returns the socket that is readable when `drain` has something to do."""
        return self._connection.fileno()

    def drain(self) -> list[Signal]:
        """Returns what people have done since, at most one `input` and every hotkey."""
        signals: list[Signal] = []
        for event in self._connection.events():
            raw = raw_event(event, self._opcode)
            if raw is None or raw.is_repeat or self._is_ours(raw):
                continue
            hotkey = self._hotkey(raw)
            if hotkey is not None:
                signals.append(hotkey)
            elif raw.kind not in (KEY_RELEASE, BUTTON_RELEASE) and Signal.input not in signals:
                signals.append(Signal.input)  # a release ends something; after a hotkey it must not begin anything
        return signals

    def show(self, holder: Holder) -> None:
        """Shows on the screen whose hands are on it."""
        self._mark.show(holder)

    def close(self) -> None:
        """Ends the connection, and the mark with it."""
        self._connection.close()

    def _is_ours(self, raw: RawEvent) -> bool:
        if raw.source not in self._xtest:
            if raw.source > max(self._xtest, default=0):  # a device that was plugged in after we looked
                self._xtest = self._xtest_devices()
            return False
        return self._own.take(raw.kind, raw.detail)

    def _hotkey(self, raw: RawEvent) -> Signal | None:
        """Follows which keys a person holds. Returns the signal of a hotkey that this press completes."""
        keysym = self._keysyms.get(raw.detail, 0)
        if raw.kind == KEY_RELEASE:
            self._down.discard(keysym)
        elif raw.kind == KEY_PRESS:
            held = frozenset(self._down & set(MODIFIERS.values()))
            self._down.add(keysym)
            return self._hotkeys.get((held, keysym))
        return None

    def _xtest_devices(self) -> frozenset[int]:
        names = device_names(self._connection)
        return frozenset(device for device, name in names.items() if "XTEST" in name)

    def _keysym_table(self) -> dict[int, int]:
        """Returns keycode -> unshifted keysym, of the layout as it is now."""
        setup = self._connection.conn.setup
        first, count = setup.min_keycode, setup.max_keycode - setup.min_keycode + 1
        mapping = self._connection.core.GetKeyboardMapping(first, count).reply()
        columns, flat = mapping.keysyms_per_keycode, list(mapping.keysyms)
        return {first + i: _TWINS.get(flat[i * columns], flat[i * columns]) for i in range(count)}


def _chord_of(text: str) -> tuple[frozenset[int], int]:
    chord = parse_chord(text)
    return frozenset(chord.modifiers), chord.keysym
