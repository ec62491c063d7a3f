"""What every desktop promises, run over each of them."""

from __future__ import annotations

import select

import numpy as np
import pytest

from kernels.frames.tiles import hash_region, tile_hashes
from runtime.desktop.protocol import Mark, Phase, Step
from runtime.wire.actions import Click, Done, Drag, Hold, Key, Move, Precondition, Release, Scroll, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.conftest import HEIGHT, WIDTH, Rig

KEY = bytes(range(16))
STEP = Step(journal=7, job=8, seq=9)
RED = (0, 0, 255)


def presses(rig: Rig) -> list[str]:
    return [what for kind, what, *_ in rig.events() if kind == "press"]


def test_a_frame_shows_what_was_painted(rig: Rig) -> None:
    rig.desktop.capture(0)
    rig.paint(70, 10, 5, 6, RED)
    frame = rig.desktop.capture(0)
    assert frame.pixels.shape == (HEIGHT, WIDTH, 4)
    assert (frame.pixels[10:16, 70:75, :3] == RED).all()
    assert not (frame.pixels[16, 70, :3] == RED).all()


def test_only_the_painted_tiles_have_changed(rig: Rig) -> None:
    before = rig.desktop.capture(0)
    rig.paint(60, 60, 10, 10, RED)
    after = rig.desktop.capture(before.frame_id)
    assert after.frame_id > before.frame_id
    assert np.argwhere(after.changed).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    rig.paint(WIDTH - 1, HEIGHT - 1, 1, 1, RED)
    assert np.argwhere(rig.desktop.capture(after.frame_id).changed).tolist() == [[3, 4]]


def test_changes_are_told_against_the_frame_that_was_named(rig: Rig) -> None:
    first = rig.desktop.capture(0)
    rig.paint(0, 0, 4, 4, RED)
    second = rig.desktop.capture(first.frame_id)
    rig.paint(128, 0, 4, 4, RED)
    third = rig.desktop.capture(second.frame_id)
    assert np.argwhere(third.changed).tolist() == [[0, 2]]
    assert np.argwhere(rig.desktop.capture(first.frame_id).changed).tolist() == [[0, 0], [0, 2]]
    assert rig.desktop.capture(0).changed.all()


def test_painting_the_same_again_is_no_new_frame(rig: Rig) -> None:
    rig.paint(0, 0, 64, 64, RED)
    first = rig.desktop.capture(0)
    rig.paint(0, 0, 64, 64, RED)
    second = rig.desktop.capture(first.frame_id)
    assert second.frame_id == first.frame_id
    assert not second.changed.any()


def test_hashes_are_those_of_the_pixels_under_the_session_key(rig: Rig) -> None:
    rig.desktop.rekey(KEY)
    rig.paint(5, 5, 100, 100, RED)
    frame = rig.desktop.capture(0)
    assert (frame.hashes == tile_hashes(np.ascontiguousarray(frame.pixels), KEY)).all()


def test_a_new_key_changes_every_hash(rig: Rig) -> None:
    before = rig.desktop.capture(0)
    rig.desktop.rekey(KEY)
    after = rig.desktop.capture(before.frame_id)
    assert after.changed.all()
    assert (before.hashes != after.hashes).any(axis=2).all()


def test_the_descriptor_wakes_who_waits_for_a_change(rig: Rig) -> None:
    rig.desktop.capture(0)
    while rig.desktop.drain():
        rig.desktop.capture(0)
    assert not select.select([rig.desktop.fileno()], [], [], 0)[0]
    rig.paint(0, 0, 9, 9, RED)
    assert select.select([rig.desktop.fileno()], [], [], 5)[0]
    assert rig.desktop.drain()


def test_a_click_moves_presses_and_releases(rig: Rig) -> None:
    rig.events()
    applied = rig.desktop.apply(Click(33, 44, count=2), None, STEP)
    assert applied.outcome is Outcome.applied
    assert applied.applied_ns > 0
    button = [("press", "button 1", 33, 44), ("release", "button 1", 33, 44)]
    assert rig.events() == [("motion", "", 33, 44), *button, *button]
    assert rig.desktop.pressed() == frozenset()


def test_modifiers_are_down_around_a_click(rig: Rig) -> None:
    rig.desktop.apply(Click(33, 44, modifiers=("ctrl", "shift")), None, STEP)
    kinds = [(kind, what) for kind, what, *_ in rig.events() if kind != "motion"]
    assert [kind for kind, _ in kinds] == ["press", "press", "press", "release", "release", "release"]
    assert kinds[2] == ("press", "button 1")
    assert kinds[0][1] == kinds[5][1]
    assert kinds[1][1] == kinds[4][1]


def test_a_drag_moves_under_a_held_button(rig: Rig) -> None:
    rig.desktop.apply(Move(1, 1), None, STEP)
    rig.events()
    rig.desktop.apply(Drag(((10, 10), (100, 10), (100, 50))), None, STEP)
    events = rig.events()
    kinds = [kind for kind, *_ in events]
    press, release = kinds.index("press"), kinds.index("release")
    assert (release, kinds.count("press")) == (len(kinds) - 1, 1)
    assert events[press][2:] == (10, 10)
    assert ("motion", "", 100, 10) in events[press:release]
    assert events[release] == ("release", "button 1", 100, 50)


def test_scrolling_turns_the_wheel(rig: Rig) -> None:
    rig.events()
    rig.desktop.apply(Scroll(20, 20, -1, 2), None, STEP)
    assert presses(rig) == ["button 5", "button 5", "button 6"]


def test_text_is_typed_in_order(rig: Rig) -> None:
    text = "aZ 1é€я"
    assert rig.desktop.apply(Type(text), None, STEP).outcome is Outcome.applied
    typed = [int(what) for what in presses(rig) if what.isdigit() and int(what) not in range(0xFE00, 0x10000)]
    assert [chr(keysym - 0x01000000 if keysym >= 0x01000000 else keysym) for keysym in typed] == list(text)


def test_a_chord_is_pressed_under_its_modifiers(rig: Rig) -> None:
    assert rig.desktop.apply(Key("ctrl+Enter"), None, STEP).outcome is Outcome.applied
    events = [(kind, what) for kind, what, *_ in rig.events()]
    assert [kind for kind, _ in events] == ["press", "press", "release", "release"]
    assert events[1] == ("press", str(0xFF0D))


def test_a_held_modifier_is_told_and_let_go(rig: Rig) -> None:
    rig.desktop.apply(Hold("shift"), None, STEP)
    assert rig.desktop.pressed() == {"shift"}
    rig.desktop.apply(Click(5, 5, modifiers=("shift",)), None, STEP)
    assert rig.desktop.pressed() == {"shift"}
    rig.events()
    rig.desktop.release_all()
    assert rig.desktop.pressed() == frozenset()
    assert [kind for kind, *_ in rig.events()] == ["release"]
    assert rig.desktop.apply(Release("shift"), None, STEP).reason is Refusal.not_held


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (Click(WIDTH, 0), Refusal.out_of_bounds),
        (Move(0, -1), Refusal.out_of_bounds),
        (Drag(((0, 0), (0, HEIGHT))), Refusal.out_of_bounds),
        (Key("ctrl+nonsense"), Refusal.bad_key),
        (Key("hyper+a"), Refusal.bad_key),
        (Click(1, 1, modifiers=("a",)), Refusal.bad_key),
        (Type("a\x01"), Refusal.bad_text),
        (Hold("a"), Refusal.not_holdable),
        (Release("ctrl"), Refusal.not_held),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_happens(rig: Rig, action: object, reason: Refusal) -> None:
    rig.events()
    applied = rig.desktop.apply(action, None, STEP)
    assert (applied.outcome, applied.reason) == (Outcome.refused, reason)
    assert rig.events() == []
    assert rig.desktop.pressed() == frozenset()


def test_what_is_no_input_is_a_programming_error(rig: Rig) -> None:
    with pytest.raises(TypeError):
        rig.desktop.apply(Done(), None, STEP)


def test_an_action_is_refused_if_its_region_has_changed(rig: Rig) -> None:
    rig.desktop.rekey(KEY)
    frame = rig.desktop.capture(0)
    region = (40, 40, 50, 30)
    condition = Precondition(*region, hash_region(np.ascontiguousarray(frame.pixels), *region, KEY))
    rig.paint(200, 100, 10, 10, RED)
    assert rig.desktop.apply(Click(50, 50), condition, STEP).outcome is Outcome.applied
    rig.paint(60, 60, 1, 1, RED)
    rig.events()
    applied = rig.desktop.apply(Click(50, 50), condition, STEP)
    assert (applied.outcome, applied.reason) == (Outcome.refused, Refusal.changed_pixels)
    assert rig.events() == []


@pytest.mark.parametrize("region", [(0, 0, WIDTH + 1, 1), (0, 0, 0, 5), (-1, 0, 5, 5), (WIDTH - 4, HEIGHT - 4, 4, 5)])
def test_a_region_off_the_screen_is_refused(rig: Rig, region: tuple[int, int, int, int]) -> None:
    applied = rig.desktop.apply(Click(5, 5), Precondition(*region, bytes(16)), STEP)
    assert (applied.outcome, applied.reason) == (Outcome.refused, Refusal.out_of_bounds)


def test_the_desktop_remembers_how_far_the_last_action_came(rig: Rig) -> None:
    rig.desktop.sign_on(7)
    assert rig.desktop.last_mark().step.journal == 7
    rig.desktop.apply(Click(5, 5), None, STEP)
    assert rig.desktop.last_mark() == Mark(STEP, Phase.ENDED)
    rig.desktop.sign_on(7)
    assert rig.desktop.last_mark() == Mark(STEP, Phase.ENDED)
    rig.desktop.apply(Click(WIDTH, 5), None, Step(7, 8, 10))
    assert rig.desktop.last_mark() == Mark(STEP, Phase.ENDED)
