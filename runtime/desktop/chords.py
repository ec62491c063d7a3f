"""Chords as text: "ctrl+shift+a" becomes modifiers and one key, by one table of names.

    chord    = modifier "+" … key
    modifier = ctrl | shift | alt | altgr | super          (and their common other names)
    key      = a name of KEYSYMS, f1 … f24, or any one character

A key's number is an X keysym: the table is the X11 protocol's appendix A, and a character beyond Latin-1 is
0x01000000 + its code point. Every desktop of this folder speaks keysyms; RFB sends them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

_UNICODE = 0x01000000

MODIFIERS: dict[str, int] = {
    "ctrl": 0xFFE3,
    "shift": 0xFFE1,
    "alt": 0xFFE9,
    "altgr": 0xFE03,
    "super": 0xFFEB,
}
_MODIFIER_ALIASES = {
    "control": "ctrl",
    "control_l": "ctrl",
    "shift_l": "shift",
    "alt_l": "alt",
    "option": "alt",
    "iso_level3_shift": "altgr",
    "super_l": "super",
    "win": "super",
    "cmd": "super",
    "command": "super",
    "meta": "super",
}
KEYSYMS: dict[str, int] = {
    "backspace": 0xFF08,
    "tab": 0xFF09,
    "enter": 0xFF0D,
    "pause": 0xFF13,
    "scrolllock": 0xFF14,
    "escape": 0xFF1B,
    "home": 0xFF50,
    "left": 0xFF51,
    "up": 0xFF52,
    "right": 0xFF53,
    "down": 0xFF54,
    "pageup": 0xFF55,
    "pagedown": 0xFF56,
    "end": 0xFF57,
    "print": 0xFF61,
    "insert": 0xFF63,
    "menu": 0xFF67,
    "numlock": 0xFF7F,
    "capslock": 0xFFE5,
    "delete": 0xFFFF,
    "space": 0x20,
    "plus": 0x2B,
    "minus": 0x2D,
    "comma": 0x2C,
    "period": 0x2E,
    **{f"f{number}": 0xFFBD + number for number in range(1, 25)},
}
_KEY_ALIASES = {
    "return": "enter",
    "kp_enter": "enter",
    "esc": "escape",
    "del": "delete",
    "ins": "insert",
    "bksp": "backspace",
    "page_up": "pageup",
    "pgup": "pageup",
    "page_down": "pagedown",
    "pgdn": "pagedown",
    "arrowleft": "left",
    "arrowright": "right",
    "arrowup": "up",
    "arrowdown": "down",
    "caps_lock": "capslock",
    "num_lock": "numlock",
    "printscreen": "print",
}
# What a text may hold besides printing characters, and the key that types it.
_CONTROLS = {"\n": KEYSYMS["enter"], "\r": KEYSYMS["enter"], "\t": KEYSYMS["tab"], "\b": KEYSYMS["backspace"]}


@dataclass(frozen=True, slots=True)
class Chord:
    """Modifiers to hold, in order, and the key to press under them. Both are keysyms; `name` is the canonical text."""

    modifiers: tuple[int, ...]
    keysym: int
    name: str


def parse_chord(text: str) -> Chord:
    """Returns the chord that `text` names ("ctrl+shift+a", "Enter", "ctrl++", "A").

    Names are case-blind. A single letter keeps its case when it stands alone ("A" is Shift and a) and is lower-case
    under modifiers, as it is printed in menus ("Ctrl+S" does not mean Shift). A modifier may stand alone.
    Raises ValueError for a key or modifier that the tables do not have.
    """
    *before, last = _split(text)
    names = [modifier_name(part) for part in before]
    if len(set(names)) < len(names):
        raise ValueError(f"chord {text!r} names a modifier twice")
    if len(last) == 1:
        key = last.lower() if names else last
        keysym = char_keysym(key)
    else:
        key = last.lower()
        key = _KEY_ALIASES.get(key, _MODIFIER_ALIASES.get(key, key))
        found = KEYSYMS.get(key, MODIFIERS.get(key))
        if found is None:
            raise ValueError(f"chord {text!r}: there is no key called {last!r}")
        keysym = found
    return Chord(tuple(MODIFIERS[name] for name in names), keysym, "+".join([*names, key]))


def modifier_name(text: str) -> str:
    """Returns the canonical name of the modifier `text`. Raises ValueError if it is not one."""
    name = _MODIFIER_ALIASES.get(text.lower(), text.lower())
    if name not in MODIFIERS:
        raise ValueError(f"{text!r} is not a modifier; there are: {', '.join(MODIFIERS)}")
    return name


def char_keysym(char: str) -> int:
    """Returns the keysym that types `char`. ValueError for control characters and lone surrogates."""
    if char in _CONTROLS:
        return _CONTROLS[char]
    code = ord(char)
    if 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xFF:
        return code
    if code < 0xA0 or 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE:
        raise ValueError(f"no key types the character U+{code:04X}")
    return _UNICODE + code


def _split(text: str) -> list[str]:
    """Splits at "+", where a "+" at the end is the key itself: "ctrl++" is ctrl and plus."""
    if not text:
        raise ValueError("the chord is empty")
    if text == "+":
        return ["+"]
    if text.endswith("++"):
        return [*text[:-2].split("+"), "+"]
    parts = text.split("+")
    if not all(parts):
        raise ValueError(f"chord {text!r} has an empty part")
    return parts
