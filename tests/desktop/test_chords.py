"""Chords as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.desktop.chords import MODIFIERS, char_keysym, parse_chord


@pytest.mark.parametrize(
    ("text", "modifiers", "keysym", "name"),
    [
        ("a", [], 0x61, "a"),
        ("A", [], 0x41, "A"),
        ("ctrl+shift+a", ["ctrl", "shift"], 0x61, "ctrl+shift+a"),
        ("Ctrl+S", ["ctrl"], 0x73, "ctrl+s"),
        ("Return", [], 0xFF0D, "enter"),
        ("ctrl++", ["ctrl"], 0x2B, "ctrl++"),
        ("+", [], 0x2B, "+"),
        ("cmd+F5", ["super"], 0xFFC2, "super+f5"),
        ("shift", [], 0xFFE1, "shift"),
        ("alt+€", ["alt"], 0x010020AC, "alt+€"),
    ],
)
def test_what_a_chord_means(text: str, modifiers: list[str], keysym: int, name: str) -> None:
    chord = parse_chord(text)
    assert (chord.modifiers, chord.keysym, chord.name) == (tuple(MODIFIERS[m] for m in modifiers), keysym, name)


@pytest.mark.parametrize("text", ["", "ctrl+", "+a", "ctrl+ctrl+a", "a+b", "nokey", "ctrl+nokey", "\x01", "f25"])
def test_what_is_no_chord(text: str) -> None:
    with pytest.raises(ValueError, match=r"chord|modifier|key"):
        parse_chord(text)


@given(st.text(max_size=20))
def test_any_text_is_a_chord_or_an_error(text: str) -> None:
    try:
        chord = parse_chord(text)
    except ValueError:
        return
    assert parse_chord(chord.name) == chord


@given(st.characters(exclude_categories=["Cc", "Cs", "Cn"]))
def test_every_character_has_a_keysym_of_its_own(char: str) -> None:
    keysym = char_keysym(char)
    assert chr(keysym & 0xFFFFFF) == char
