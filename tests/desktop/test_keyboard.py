"""Typing on an X server: any character, whatever the layout, the locks, and however slow the program that reads it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import xcffib.xkb

from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.desktop.x11.keyboard import strokes_of
from runtime.desktop.x11.lending import Stroke
from runtime.wire.actions import Click, Key, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.x_client import XClient

STEP = Step(1, 1, 1)
CAPS_LOCK = "capslock"
# Cyrillic, Greek, CJK, mathematics, Hangul, an emoji, among letters that the layout has.
_BLOCKS = ((0x410, 40), (0x3B1, 20), (0x4E00, 90), (0x2200, 40), (0xAC00, 30), (0x1F600, 1))
MANY = "The quick " + " brown fox ".join("".join(chr(at + n) for n in range(size)) for at, size in _BLOCKS) + "\n"


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
    wait_until(x_desktop.rest)  # the program has not told that it read: it is given a second
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


@contextmanager
def terminal_that_keeps_a_line(display: str, folder: Path, desktop: X11Desktop) -> Iterator[tuple[int, Path]]:
    """An xterm with the focus; gives its process and the file that has its first line once that is typed."""
    out = folder / "typed"
    terminal = subprocess.Popen(
        ["xterm", "-u8", "-geometry", "40x8+0+0", "-e", "sh", "-c", f"head -n 1 > {out}.part && mv {out}.part {out}"],
        env={"DISPLAY": display, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stderr=subprocess.DEVNULL,
    )
    try:
        blank = desktop.capture(0)
        wait_until(lambda: bool(desktop.capture(blank.frame_id).changed.any()) and Path(f"{out}.part").exists())
        desktop.apply(Click(50, 50), None, STEP)
        yield terminal.pid, out
    finally:
        with suppress(ProcessLookupError):
            os.kill(terminal.pid, signal.SIGCONT)
        terminal.terminate()
        terminal.wait()


@contextmanager
def hindered(pid: int, seed: int) -> Iterator[None]:
    """A machine that lets a process run for a few ms now and then, and not at all for up to a tenth of a second."""
    luck, is_over = random.Random(seed), threading.Event()

    def hinder() -> None:
        while not is_over.is_set():
            os.kill(pid, signal.SIGSTOP)
            is_over.wait(luck.uniform(0, 0.1))
            os.kill(pid, signal.SIGCONT)
            is_over.wait(luck.uniform(0.005, 0.03))

    thread = threading.Thread(target=hinder)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        os.kill(pid, signal.SIGCONT)


@pytest.mark.desktop
def test_a_terminal_under_load_reads_far_more_unusual_characters_than_there_are_unused_keys(
    display: str, tmp_path: Path
) -> None:
    assert len(set(MANY) - set(map(chr, range(128)))) > 200
    desktop = X11Desktop(display, tmp_path)
    try:
        with terminal_that_keeps_a_line(display, tmp_path, desktop) as (pid, out), hindered(pid, seed=7):
            assert desktop.apply(Type(MANY), None, STEP).outcome is Outcome.applied
            wait_until(out.exists)
            assert out.read_text() == MANY
    finally:
        desktop.close()


@pytest.mark.desktop
def test_typing_that_waits_for_a_stalled_program_holds_nothing_and_ends_when_it_is_told_to(
    display: str, tmp_path: Path
) -> None:
    desktop = X11Desktop(display, tmp_path)
    try:
        with terminal_that_keeps_a_line(display, tmp_path, desktop) as (pid, _):
            assert desktop.is_quick(Type("я" * 64), None)
            os.kill(pid, signal.SIGSTOP)
            with ThreadPoolExecutor(1) as pool:
                typing = pool.submit(desktop.apply, Type(MANY), None, STEP)
                wait_until(lambda: len(desktop.pressed_list.lent()) > 8)
                frame = desktop.capture(0)  # the server is not held, the screen is looked at
                assert frame.pixels.shape[:2] == (200, 300)
                assert not desktop.is_quick(Type(MANY[-64:]), None)  # so no event loop waits for it
                desktop.release_all()  # as the dead man and a takeover do
                assert typing.result(timeout=20).outcome is Outcome.unknown
            assert desktop.pressed() == frozenset()
            refused = Type(MANY[-64:])
            with ThreadPoolExecutor(1) as pool:  # nothing of it was sent: it waits before its first key
                typing = pool.submit(desktop.apply, refused, None, STEP)
                while not typing.done():
                    desktop.release_all()
                    time.sleep(0.01)
                result = typing.result()
                assert (result.outcome, result.reason) == (Outcome.refused, Refusal.failed)
    finally:
        desktop.close()


def wait_until(condition: object, seconds: float = 20.0) -> None:
    """Waits for another process; a test that would need this for our own code has the clock in the wrong place."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
