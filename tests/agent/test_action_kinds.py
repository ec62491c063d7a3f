"""Kinds of action: every one becomes an action of the wire, and comes back as the same kind."""

from __future__ import annotations

import msgspec
import pytest

from runtime.agent.action_kinds import INDEX, KINDS, POINTED, action_at, circle_of, circle_path, drag_path, kind_of
from runtime.wire.actions import MIDDLE, Action, Ask, Click, Hold, Key, Scroll, Wait


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_becomes_an_action_and_comes_back(kind: str) -> None:
    action = action_at(kind, 30, 40, (90, 20), "Ann")
    msgspec.msgpack.decode(msgspec.msgpack.encode(action), type=Action)
    assert kind_of(action) == kind


def test_places_in_the_list_are_its_own() -> None:
    assert [INDEX[kind] for kind in KINDS] == list(range(len(KINDS)))
    assert set(KINDS) > POINTED


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (Scroll(1, 1, 0, 4), "scroll-down-3"),
        (Scroll(1, 1, -25, 2), "scroll-left-30"),
        (Wait(30), "wait-50"),
        (Wait(60_000), "wait-3000"),
        (Click(1, 1, MIDDLE), "middle-click"),
        (Key("ctrl+alt+q"), None),
        (Hold("shift"), None),
        (Ask("why?"), None),
    ],
)
def test_the_nearest_kind_is_taken(action: Action, kind: str | None) -> None:
    assert kind_of(action) == kind


def test_a_drag_begins_with_a_small_step_and_ends_where_it_should() -> None:
    path = drag_path((10, 10), (110, 10))
    assert path[0] == (10, 10)
    assert path[-1] == (110, 10)
    assert 0 < path[1][0] - 10 <= 6
    assert list(path) == sorted(path)
    assert drag_path((5, 5), (5, 5)) == ((5, 5),)


def test_a_circle_is_known_by_its_centre_and_radius() -> None:
    x, y, radius = circle_of(circle_path((60, 50), 20)) or (0, 0, 0.0)
    assert (x, y) == (60, 50)
    assert radius == pytest.approx(20, abs=0.5)
    assert min(min(point) for point in circle_path((5, 5), 48)) == 0
    assert circle_of(drag_path((10, 10), (110, 10))) is None
    assert circle_of([(5, 5)] * 12) is None
