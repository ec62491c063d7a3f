"""What a person shows: steps from raw input, the format that training reads, and a recording on a real X server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.screen_agent.episodes import decode, load
from runtime.desktop.demonstration import Input, Listener, Pixels
from runtime.desktop.episodes import Episode, write_shard
from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.wire.actions import Action, Button, Click, Drag, Key, Scroll, Type, describe

ENTER, CTRL, SHIFT, EURO = 0xFF0D, 0xFFE3, 0xFFE1, 0x10020AC


class Person:
    """Does things at a pace, on a screen whose every look is another grey."""

    def __init__(self, instruction: str = "type abc") -> None:
        self.now_ms, self.looks = 1000, 0
        self.listener = Listener(instruction, self.look)
        self.listener.settle()

    def look(self) -> Pixels:
        self.looks += 1
        return np.full((60, 80, 4), self.looks, np.uint8)

    def do(self, kind: str, code: int, x: int = 40, y: int = 30, after_ms: int = 30) -> None:
        self.now_ms += after_ms
        self.listener.hear(Input(kind, code, x, y, self.now_ms))

    def click(self, x: int = 40, y: int = 30, button: int = 1, after_ms: int = 1000) -> None:
        self.do("button_press", button, x, y, after_ms)
        self.do("button_release", button, x + 1, y)

    def key(self, code: int, after_ms: int = 80) -> None:
        self.do("key_press", code, after_ms=after_ms)
        self.do("key_release", code)

    def shown(self) -> list[Action]:
        return [step.taken for step in self.listener.finish()]


def test_clicks_drags_wheel_text_and_chords() -> None:
    person = Person()
    person.click()
    person.click(button=3)
    person.do("button_press", 1, 5, 5)
    person.do("button_release", 1, 50, 40)
    for _ in range(3):
        person.do("button_press", 5)
        person.do("button_release", 5)
    for character in "abc":
        person.key(ord(character))
    person.key(ENTER)
    person.do("key_press", CTRL)
    person.key(ord("s"))
    person.do("key_release", CTRL)
    person.do("key_press", SHIFT)
    person.key(ord("A"))
    person.do("key_release", SHIFT)
    person.key(EURO)
    assert person.shown() == [
        Click(40, 30),
        Click(40, 30, Button.right),
        Drag(((5, 5), (50, 40))),
        Scroll(40, 30, 0, 3),
        Type("abc"),
        Key("enter"),
        Key("ctrl+s"),
        Type("A€"),
    ]


def test_what_is_one_step_and_what_is_two() -> None:
    person = Person()
    person.click()
    person.click(after_ms=150)
    person.click(after_ms=150)
    person.click(after_ms=900)
    person.click(x=60, after_ms=100)
    person.key(ord("a"))
    person.key(ord("b"), after_ms=1500)
    person.do("button_press", 1)  # and the recording ends: it was no click yet
    assert person.shown() == [Click(40, 30, count=3), Click(40, 30), Click(60, 30), Type("a"), Type("b")]


def test_a_step_has_the_screen_before_it_and_what_was_meant(tmp_path: Path) -> None:
    person = Person("type abc")
    person.click(2, 30)
    person.listener.settle()
    person.key(ord("a"))
    person.listener.settle()
    person.key(ord("b"))
    steps = person.listener.finish()
    shown = Episode("fill-form", "train-person-1", "type abc", 1.0, 80, 60, 1.0, True, steps)
    path = write_shard(tmp_path, shown.task, shown.seed, [shown])
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    (episode,) = load(tmp_path)
    assert (episode.task, episode.instruction, episode.success) == ("fill-form", "type abc", True)
    assert [step.taken for step in episode.steps] == [Click(2, 30), Type("ab")]
    assert episode.steps[0].targets == [[0, 22, 10, 16]] or episode.steps[0].targets == [(0, 22, 10, 16)]
    assert [step.text_source for step in episode.steps] == ["", "instruction"]
    frames = decode(episode).frames
    assert [int(frame[0, 0, 0]) for frame in frames] == [1, 2], "as it was when the step began"
    assert not frames[..., 3].any()


@pytest.mark.desktop
def test_a_person_on_a_real_server(x_desktop: X11Desktop, display: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runtime.cli.main", "desktop", "record", "shown", "--instruction", "say Hi!"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    given = [*command, "--display", display, "--out", str(tmp_path), "--seconds", "60"]
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert "do it now" in process.stdout.readline()
        for actions in ((Click(20, 30),), (Type("Hi!"), Key("ctrl+a")), (Drag(((1, 1), (50, 60))),)):
            for action in actions:
                x_desktop.apply(action, None, Step(1, 1, 1))
            for action in actions:
                assert process.stdout.readline().split()[:1] == describe(action).split()[:1]
        process.send_signal(signal.SIGINT)
        assert "kept 4 steps in" in process.stdout.read()
        assert process.wait(30) == 0
    (episode,) = load(tmp_path)
    *taken, drag = [step.taken for step in episode.steps]
    assert taken == [Click(20, 30), Type("Hi!"), Key("ctrl+a")]
    assert isinstance(drag, Drag)
    assert drag.path[-1] == (50, 60)
    assert (episode.width, episode.height) == decode(episode).frames.shape[2:0:-1]
