"""Windows of real toolkits: what is asked for can be done, the way leads back from mistakes, and it is done live."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models.screen_agent.episodes import decode, load
from models.screen_agent.toolkits import record
from models.screen_agent.toolkits.specs import TASKS, Window, window
from models.screen_agent.toolkits.steps import Steps
from runtime.wire.actions import Action, Click, Done, Key, Scroll, Type, position

SIZE = (800, 600)
FIELD, BUTTONS = [100, 100, 120, 20], {"OK": [100, 160, 50, 20], "Cancel": [160, 160, 50, 20]}


@pytest.mark.parametrize("task", TASKS)
def test_every_window_says_what_it_wants(task: str) -> None:
    for seed in range(40):
        made = window(task, random.Random(seed), SIZE)
        assert made == window(task, random.Random(seed), SIZE)
        for kind, place, *rest in made.goals:
            if kind == "menu":
                assert rest[0] in dict(made.spec["menu"])[place]
            elif kind == "press":
                part = made.spec["parts"][place]
                assert rest[0] in (
                    part["names"] if part["kind"] == "buttons" else [name for row in part["rows"] for name in row]
                )
            if kind in ("field", "area", "list", "press", "menu"):
                assert rest[-1].lower() in made.instruction.lower()
        kind, _, *rest = made.goals[-1]
        assert made.spec["last"] == f"{kind} {rest[-1]}"


def test_only_mistakes_are_made_that_can_be_made_good() -> None:
    fields = [(100, 100, 120, 20)]
    assert record.does_no_harm(Click(110, 110), fields)
    assert not record.does_no_harm(Click(110, 165), fields)
    assert record.does_no_harm(Type("a"), fields)
    assert not record.does_no_harm(Key("enter"), fields)
    assert not record.does_no_harm(Done(), fields)


def a_form(value: str = "") -> tuple[Window, dict[str, Any]]:
    goals = [("field", 0, "blue"), ("check", 1, True), ("press", 2, "OK")]
    told = {
        "parts": [
            {"box": FIELD, "value": value, "focus": False, "whole": False},
            {"box": [100, 130, 80, 16], "on": False},
            {"items": BUTTONS},
        ],
        "menu": {},
        "log": [],
        "finished": False,
    }
    return Window({}, "", goals), told


def next_label(steps: Steps, told: dict[str, Any]) -> Action | None:
    move = steps.next(told)
    if move is None:
        return None
    at = position(move.label)
    if at is not None:
        assert any(x <= at[0] < x + w and y <= at[1] < y + h for x, y, w, h in move.targets)
    steps.did(move.label)
    return move.label


def test_a_form_is_filled_ticked_and_sent() -> None:
    made, told = a_form()
    steps, parts = Steps(made, SIZE, random.Random(1)), told["parts"]
    assert isinstance(next_label(steps, told), Click)
    parts[0]["focus"] = True
    assert next_label(steps, told) == Type("blue")
    parts[0]["value"] = "blue"
    assert isinstance(next_label(steps, told), Click)
    parts[1]["on"] = True
    assert isinstance(next_label(steps, told), Click)
    told["log"] = ["press OK"]
    assert next_label(steps, told) == Done()


def test_a_wrong_text_is_selected_and_typed_over() -> None:
    made, told = a_form("red")
    steps, parts = Steps(made, SIZE, random.Random(1)), told["parts"]
    first = next_label(steps, told)
    assert isinstance(first, Click)
    assert first.count == 3
    parts[0].update(focus=True, whole=True)
    assert next_label(steps, told) == Type("blue")


def test_a_wrong_button_and_one_that_does_not_answer_end_it() -> None:
    made, told = a_form("blue")
    told["parts"][1]["on"] = True
    steps = Steps(made, SIZE, random.Random(1))
    assert [type(next_label(steps, told)) for _ in range(3)] == [Click, Click, type(None)]
    told["log"] = ["press Cancel"]
    assert Steps(made, SIZE, random.Random(1)).next(told) is None


def test_a_cell_is_edited_and_a_list_is_scrolled() -> None:
    made = Window({}, "", [("cell", 0, "1,1", "42"), ("key", -1, "ctrl+s")])
    part = {"items": {"1,1": [50, 50, 60, 20]}, "cells": [["a", "1"], ["b", "2"]], "at": "0,0", "editing": None}
    told = {"parts": [part], "menu": {}, "log": [], "finished": False}
    steps = Steps(made, SIZE, random.Random(1))
    assert isinstance(next_label(steps, told), Click)
    part["at"] = "1,1"
    assert next_label(steps, told) == Type("42")
    part["editing"] = "4"
    assert next_label(steps, told) == Key("escape")
    part["editing"] = "42"
    assert next_label(steps, told) == Key("enter")
    part.update(editing=None, cells=[["a", "1"], ["b", "42"]])
    assert next_label(steps, told) == Key("ctrl+s")
    names = ["a", "b", "c", "d"]
    listed = {"box": [0, 0, 90, 40], "items": {"a": [0, 0, 90, 20], "b": [0, 20, 90, 20]}, "value": "", "names": names}
    told = {"parts": [listed], "menu": {}, "log": [], "finished": False}
    scrolled = next_label(Steps(Window({}, "", [("list", 0, "d"), ("press", 0, "OK")]), SIZE, random.Random(1)), told)
    assert isinstance(scrolled, Scroll)
    assert scrolled.dy > 0


def has_tk() -> bool:
    if shutil.which("openbox") is None or shutil.which("Xvfb") is None:
        return False
    return subprocess.run([record.PYTHON, "-c", "import tkinter"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_tk(), reason="needs openbox, Xvfb, and Tk for the system's Python")
@pytest.mark.timeout(300)
def test_live_in_tk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "SHARD_EPISODES", 2)
    asyncio.run(record.record_shard("tk-dialog", 0, tmp_path))
    episodes = list(load(tmp_path))
    assert episodes
    for episode in episodes:
        assert decode(episode).frames.shape[1:] == (600, 800, 4)
        assert isinstance(episode.steps[-1].label, Done)
        assert episode.success
        assert all(step.is_disturbance or step.taken == step.label for step in episode.steps)
