"""Keyboards that are not American, and screens that are not one: what is typed and where is clicked stay the same."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.xserver import XServer
from runtime.wire.actions import Click, Key, Type
from runtime.wire.tables import Outcome
from tests.desktop.test_keyboard import keyboard_map, wait_until
from tests.desktop.x_client import XClient

pytestmark = pytest.mark.desktop
STEP = Step(1, 1, 1)
LAYOUTS = ["de", "fr", "ru", "us,ru", "us(dvorak)"]
TEXTS = ["Hello, World! ~`|\\@#{}[]", "äöüß€ñéÀ", "Привет, мир", "zyZYaqAQ;:0123456789", "你好 😀∀x∈ℝ"]


@pytest.fixture(scope="module")
def own_display() -> Iterator[str]:
    """A server of this module's own, whose layout it may change."""
    with XServer(300, 200) as server:
        yield server.display


def set_layout(display: str, layout: str) -> None:
    name, _, variant = layout.rstrip(")").partition("(")
    command = ["setxkbmap", "-display", display, "-layout", name, "-variant", variant]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_text_types_right_on_any_layout_and_the_layout_is_put_back(
    own_display: str, tmp_path: Path, layout: str
) -> None:
    """A program in a terminal reads it: through XKB, as programs do, not by what the test thinks of keycodes."""
    set_layout(own_display, layout)
    out = tmp_path / "typed"
    read = "while IFS= read -r line; do printf '%s\\n' \"$line\" >> " + str(out) + "; done"
    terminal = subprocess.Popen(
        ["xterm", "-u8", "-geometry", "40x8+0+0", "-e", "sh", "-c", f"touch {out}; {read}"],
        env={"DISPLAY": own_display, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    client = XClient(own_display)
    before = keyboard_map(client)
    client.close()
    desktop = X11Desktop(own_display, tmp_path)
    try:
        blank = desktop.capture(0)
        wait_until(lambda: bool(desktop.capture(blank.frame_id).changed.any()) and out.exists())
        desktop.apply(Click(50, 50), None, STEP)
        for number, text in enumerate(
            TEXTS, 1
        ):  # each is read before the next: how late a program looks is not the matter
            assert desktop.apply(Type(text + "\n"), None, STEP).outcome is Outcome.applied
            wait_until(lambda lines=number: out.read_text().count("\n") == lines)  # type: ignore[misc]
        assert out.read_text().splitlines() == TEXTS
        wait_until(desktop.rest)
    finally:
        desktop.close()
        terminal.terminate()
        terminal.wait()
    client = XClient(own_display)
    assert keyboard_map(client) == before
    client.close()


@pytest.mark.parametrize("layout", ["de", "fr", "ru"])
def test_a_chord_is_pressed_by_what_its_key_means_there(own_display: str, tmp_path: Path, layout: str) -> None:
    set_layout(own_display, layout)
    client = XClient(own_display)
    desktop = X11Desktop(own_display, tmp_path)
    assert desktop.apply(Key("ctrl+z"), None, STEP).outcome is Outcome.applied
    pressed = [int(what) for kind, what, *_ in client.events() if kind == "press"]
    assert pressed == [0xFFE3, ord("z")]
    assert desktop.pressed() == frozenset()
    desktop.close()
    client.close()


def test_two_monitors_and_another_resolution_are_one_screen_of_frame_pixels(tmp_path: Path) -> None:
    """What an agent sees at (x, y) is clicked at (x, y), on whichever monitor, at whatever dots an inch."""
    with XServer(600, 200) as server:
        layout = ["xrandr", "--display", server.display]
        left = [*layout, "--setmonitor", "left", "300/150x200/100+0+0", "screen"]
        right = [*layout, "--setmonitor", "right", "300/37x200/25+300+0", "none"]
        for command in (left, right, [*layout, "--dpi", "192"]):
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        client = XClient(server.display)
        client.paint(450, 120, 60, 40, (10, 20, 30))
        desktop = X11Desktop(server.display, tmp_path)
        assert desktop.size == (600, 200)
        pixels = desktop.capture(0).pixels
        assert pixels[121, 451, :3].tolist() == [10, 20, 30]
        for x, y in ((480, 140), (5, 5), (599, 199)):
            desktop.apply(Click(x, y), None, STEP)
            assert ("press", "button 1", x, y) in client.events()
        desktop.close()
        client.close()
