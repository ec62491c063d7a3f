"""Typing on an X server: any character, whatever the layout, the locks, and however slow the program that reads it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
import xcffib.xkb

from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.desktop.x11.keyboard import Stroke, strokes_of
from runtime.wire.actions import Click, Key, Type
from runtime.wire.tables import Outcome
from tests.desktop.x_client import XClient

STEP = Step(1, 1, 1)
CAPS_LOCK = "capslock"


def keyboard_map(client: XClient) -> list[int]:
    return list(client.core.GetKeyboardMapping(8, 248).reply().keysyms)


def test_an_unshifted_place_wins_and_a_lone_letter_has_both_cases() -> None:
    table = {10: [0x31, 0x21], 11: [0x61, 0], 12: [0x21, 0x31]}
    assert strokes_of(table) == {
        0x31: Stroke(10, False),
        0x21: Stroke(12, False),
        0x61: Stroke(11, False),
        0x41: Stroke(11, True),
    }


@pytest.mark.desktop
@pytest.mark.parametrize("text", ["Hello, World! ~`|\\", "äöüß€ñ", "Привет, мир", "你好 😀∀x∈ℝ", "\"'\n\t"])
def test_any_text_types_right(x_client: XClient, x_desktop: X11Desktop, text: str) -> None:
    assert x_desktop.apply(Type(text), None, STEP).outcome is Outcome.applied
    pressed = {"\n": "", "\t": ""}
    assert x_client.typed() == "".join(pressed.get(char, char) for char in text)


@pytest.mark.desktop
def test_caps_lock_does_not_change_what_is_typed(x_client: XClient, x_desktop: X11Desktop) -> None:
    x_desktop.apply(Key(CAPS_LOCK), None, STEP)
    try:
        x_client.events()
        x_desktop.apply(Type("aBcé"), None, STEP)
        assert x_client.typed() == "aBcé"
        state = x_client.connection(xcffib.xkb.key)
        state.UseExtension(1, 0).reply()
        assert state.GetState(0x100).reply().lockedMods & 2
    finally:
        x_desktop.apply(Key(CAPS_LOCK), None, STEP)


@pytest.mark.desktop
def test_the_keyboard_map_is_put_back(x_client: XClient, x_desktop: X11Desktop) -> None:
    before = keyboard_map(x_client)
    x_desktop.apply(Type("Жук"), None, STEP)
    assert keyboard_map(x_client) != before
    x_desktop.rest()
    assert keyboard_map(x_client) == before


@pytest.mark.desktop
def test_a_character_keeps_its_keycode_while_there_are_others(x_client: XClient, x_desktop: X11Desktop) -> None:
    x_desktop.apply(Type("абв"), None, STEP)
    x_desktop.apply(Type("где"), None, STEP)
    assert x_client.typed() == "абвгде"  # looked up only now, after both


@pytest.mark.desktop
def test_a_changed_layout_is_noticed(x_client: XClient, x_desktop: X11Desktop) -> None:
    x_desktop.apply(Type("a"), None, STEP)
    row = list(x_client.core.GetKeyboardMapping(38, 1).reply().keysyms)
    try:
        x_client.core.ChangeKeyboardMapping(1, 38, 2, [0x78, 0x58])
        x_client.sync()
        x_client.events()
        x_desktop.apply(Type("a"), None, STEP)
        assert x_client.typed() == "a"
    finally:
        x_client.core.ChangeKeyboardMapping(1, 38, len(row), row)
        x_client.sync()


@pytest.mark.desktop
def test_a_terminal_reads_more_unusual_characters_than_there_are_unused_keys(display: str, tmp_path: Path) -> None:
    text = "The quick brown fox; абвгдежзийклмнопрстуфхцчшщъыьэюя — 你好 😀 €\n"
    out = tmp_path / "typed"
    terminal = subprocess.Popen(
        ["xterm", "-u8", "-geometry", "40x8+0+0", "-e", "sh", "-c", f"head -n 1 > {out}.part && mv {out}.part {out}"],
        env={"DISPLAY": display, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    desktop = X11Desktop(display, tmp_path)
    try:
        blank = desktop.capture(0)
        wait_until(lambda: bool(desktop.capture(blank.frame_id).changed.any()) and Path(f"{out}.part").exists())
        desktop.apply(Click(50, 50), None, STEP)
        assert desktop.apply(Type(text), None, STEP).outcome is Outcome.applied
        wait_until(out.exists)
        assert out.read_text() == text
    finally:
        desktop.close()
        terminal.terminate()
        terminal.wait()


def wait_until(condition: object, seconds: float = 20.0) -> None:
    """Waits for another process; a test that would need this for our own code has the clock in the wrong place."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
