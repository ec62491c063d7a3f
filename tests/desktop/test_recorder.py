"""The independent recorder: hears every device, and its comparison finds what was done twice or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.desktop.protocol import Step
from runtime.desktop.x11.desktop import X11Desktop
from runtime.evaluation.recorder import Comparison, Recorded, Recorder, RecorderError, compare, read_recording
from runtime.wire.actions import Action, Click, Drag, Hold, Key, Move, Scroll, Type

STEP = Step(1, 1, 1)
ACTIONS: list[Action] = [
    Move(3, 4),
    Click(10, 11, count=2, modifiers=("ctrl",)),
    Type("Añ!"),
    Hold("shift"),
    Key("ctrl+a"),
    Scroll(20, 21, 1, -3),
    Drag(((1, 1), (50, 60))),
]


def press(what: str) -> Recorded:
    kind, _, detail = what.partition(" ")
    return Recorded(0, 0, f"{kind}_press", int(detail or 38), False, 0, 0, "")


@pytest.mark.desktop
def test_what_was_injected_is_what_is_recorded(x_desktop: X11Desktop, display: str, tmp_path: Path) -> None:
    with Recorder(display, tmp_path / "events.jsonl") as recorder:
        for action in ACTIONS:
            x_desktop.apply(action, None, STEP)
        x_desktop.release_all()
        recorded = recorder.stop()
    assert compare(recorded, ACTIONS) == Comparison(recorded=11, asked=11, doubled=0, missing=0)
    assert compare(recorded, ACTIONS[:-1]).doubled == 1
    assert compare(recorded, [*ACTIONS, Key("b")]).missing == 1
    click = next(event for event in recorded if event.kind == "button_press")
    assert (click.x, click.y, click.detail, click.device) == (10, 11, 1, "Virtual core XTEST pointer")
    assert [event.t_ns for event in recorded] == sorted(event.t_ns for event in recorded)


@pytest.mark.parametrize(
    ("recorded", "applied", "unknown", "doubled", "missing"),
    [
        (["button 1", "button 1"], [Click(1, 1)], [], 1, 0),
        (["button 1"], [Click(1, 1), Click(2, 2)], [], 0, 1),
        (["key", "button 1", "key"], [Key("a"), Click(1, 1)], [], 1, 0),
        (["button 3"], [Click(1, 1)], [], 1, 1),
        (["key", "key"], [Key("a")], [Type("xyz")], 0, 0),
        ([], [], [Click(1, 1)], 0, 0),
        (["button 1", "button 1"], [], [Click(1, 1)], 1, 0),
    ],
)
def test_what_is_too_many_and_what_is_missing(
    recorded: list[str], applied: list[Action], unknown: list[Action], doubled: int, missing: int
) -> None:
    found = compare([press(what) for what in recorded], applied, unknown)
    assert (found.doubled, found.missing) == (doubled, missing)


def test_a_damaged_recording_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"t_ns": 1}\n')
    with pytest.raises(RecorderError, match="line 1"):
        read_recording(tmp_path / "events.jsonl")


def test_a_recorder_without_a_display_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecorderError, match="at its start"), Recorder(":9999", tmp_path / "events.jsonl"):
        pass
    assert "no X server answers" in capfd.readouterr().err
