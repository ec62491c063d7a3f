"""The limits of a desktop's owner: what is refused and why, and what a car could try to get around them."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.desktop.errors import LimitsError
from runtime.desktop.limits import LimitKeeper, Limits, is_within, load_rules, parse_hours
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.windows import Windows
from runtime.wire.actions import Action, Click, Drag, Hold, Key, Move, Release, Scroll, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.test_session import Place, run
from tests.desktop.x_client import XClient

NOON = datetime.datetime(2026, 11, 23, 12, 0)  # a Monday
S = 1_000_000_000


class Kept:
    """A keeper with clocks that the test moves."""

    def __init__(self, window: str = "", **limits: object) -> None:
        self.now_ns = 0
        self.local = NOON
        self.keeper = LimitKeeper(
            Limits(**limits),  # type: ignore[arg-type]
            lambda: self.now_ns,
            local_time=lambda: self.local,
            window_of=lambda point: frozenset({window}),
        )

    def __call__(self, *actions: Action) -> list[Refusal]:
        return [self.keeper.check(action) for action in actions]


def test_without_limits_everything_goes() -> None:
    assert set(Kept()(Click(1, 1), Type("rm -rf /\n"), Key("ctrl+alt+delete"), Hold("super"))) == {Refusal.none}


@pytest.mark.parametrize(
    ("action", "refusal"),
    [
        (Click(10, 10), Refusal.none),
        (Click(100, 10), Refusal.limits_region),
        (Move(10, 100), Refusal.limits_region),
        (Scroll(-1, 10, 0, 1), Refusal.limits_region),
        (Drag(((10, 10), (99, 99), (250, 250))), Refusal.none),
        (Drag(((10, 10), (150, 150), (99, 99))), Refusal.limits_region),
        (Type("x"), Refusal.none),
    ],
)
def test_regions(action: Action, refusal: Refusal) -> None:
    assert Kept(regions=("0,0,100,100", "200,200,100,100"))(action) == [refusal]


@pytest.mark.parametrize(
    "actions",
    [
        [Key("ctrl+alt+delete")],
        [Key("Alt+Control+Del")],
        [Key("ctrl+shift+alt+delete")],
        [Hold("ctrl"), Hold("alt"), Key("delete")],
        [Hold("alt"), Key("ctrl+delete")],
        [Key("super+r")],
        [Hold("win")],
        [Click(1, 1, modifiers=("cmd",))],
        [Key("enter")],
        [Type("two lines\nare one too many")],
    ],
)
def test_forbidden_keys_are_found_however_they_are_pressed(actions: list[Action]) -> None:
    kept = Kept(forbidden_keys=("ctrl+alt+delete", "super", "enter"))
    assert kept(*actions)[-1] is Refusal.limits_key


def test_keys_that_were_let_go_of_are_not_held() -> None:
    kept = Kept(forbidden_keys=("ctrl+c",))
    assert kept(Hold("ctrl"), Key("c"), Release("ctrl"), Key("c")) == [
        Refusal.none,
        Refusal.limits_key,
        Refusal.none,
        Refusal.none,
    ]
    kept(Hold("ctrl"))
    kept.keeper.session_opened()
    assert kept(Key("c")) == [Refusal.none]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_a_forbidden_text_is_found_in_any_pieces(cuts: list[int]) -> None:
    text, pieces = "sudo rm -rf /", []
    for cut in cuts:
        pieces.append(text[:cut])
        text = text[cut:]
    actions: list[Action] = [Key(piece) if len(piece) == 1 else Type(piece) for piece in [*pieces, text] if piece]
    actions = [Key("space") if action == Key(" ") else action for action in actions]
    assert Refusal.limits_text in Kept(forbidden_text=("rm -rf",))(*actions)


def test_what_was_refused_was_not_typed() -> None:
    kept = Kept(forbidden_text=("secret",))
    assert kept(Type("sec"), Type("ret"), Type("ond")) == [Refusal.none, Refusal.limits_text, Refusal.none]


def test_rates() -> None:
    kept = Kept(actions_per_s=2)
    assert kept(Click(1, 1), Click(1, 1), Click(1, 1)) == [Refusal.none, Refusal.none, Refusal.limits_rate]
    assert kept(Release("ctrl")) == [Refusal.none]
    kept.now_ns = 1 * S
    assert kept(Click(1, 1)) == [Refusal.none]


def test_a_long_text_is_paid_for_by_waiting() -> None:
    kept = Kept(characters_per_s=10)
    assert kept(Type("x" * 30), Type("y")) == [Refusal.none, Refusal.limits_rate]
    kept.now_ns = 2 * S
    assert kept(Type("y")) == [Refusal.limits_rate]
    kept.now_ns = 3 * S
    assert kept(Type("y")) == [Refusal.none]


@pytest.mark.parametrize(
    ("hours", "when", "inside"),
    [
        ("08:00-18:00", NOON, True),
        ("08:00-12:00", NOON, False),
        ("12:00-24:00", NOON, True),
        ("mon-fri 08:00-18:00", NOON + datetime.timedelta(days=4), True),
        ("mon-fri 08:00-18:00", NOON + datetime.timedelta(days=5), False),
        ("sat-mon 08:00-18:00", NOON, True),
        ("tue 08:00-18:00", NOON, False),
        ("22:00-06:00", NOON.replace(hour=23), True),
        ("sun 22:00-06:00", NOON.replace(hour=5), True),
        ("mon 22:00-06:00", NOON.replace(hour=5), False),
    ],
)
def test_hours(hours: str, when: datetime.datetime, inside: bool) -> None:
    assert is_within(parse_hours(hours), when) is inside


def test_outside_of_the_hours_nothing_goes_but_letting_go() -> None:
    kept = Kept(hours=("13:00-14:00",))
    assert kept(Click(1, 1), Release("ctrl")) == [Refusal.limits_hours, Refusal.none]


def test_windows() -> None:
    assert Kept(window="Navigator", windows=("^Navigator$",))(Click(1, 1), Type("x")) == [Refusal.none] * 2
    assert Kept(window="xterm", windows=("^Navigator$",))(Click(1, 1)) == [Refusal.limits_window]


@pytest.mark.parametrize("action", [Click(15, 15), Key("ctrl+enter"), Type("please PAY now")])
def test_a_consequential_action_needs_a_person_each_time(action: Action) -> None:
    kept = Kept(ask_regions=("10,10,10,10",), ask_keys=("enter",), ask_text=("(?i)pay",))
    assert not kept.keeper.approve()
    assert kept(action) == [Refusal.needs_ask]
    assert kept.keeper.approve()
    assert kept(Click(16, 16)) == [Refusal.needs_ask]  # another action than the one that was approved
    assert kept(action, action) == [Refusal.none, Refusal.needs_ask]
    kept.keeper.approve()
    kept.now_ns = 61 * S
    assert kept(action) == [Refusal.needs_ask]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nregionz = []", "did you mean regions"),
        ("[limits]\nregions = ['1,2,3']", "is not a region"),
        ("[limits]\nforbidden_text = ['(']", "is not a pattern"),
        ("[limits]\nforbidden_keys = ['ctrl+nokey']", "no key called"),
        ("[limits]\nhours = ['8-18']", "is not of the form"),
        ("[limits]\nactions_per_s = -1", "from 0 to 1000"),
        ("[takeover]\nquiet_s = 'long'", "a number"),
        ("limits = 3", "must be a section"),
        ("= x", "is not TOML"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(LimitsError, match=message) as error:
        load_rules(path)
    assert str(path) in str(error.value)


def test_a_refusal_has_its_reason_on_the_wire(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.connector.keeper = LimitKeeper(Limits(forbidden_text=("rm -rf",)), place.clock)
        remote = await place.connect()
        await remote.act(Click(20, 110))
        result = await remote.act(Type("rm -rf /"))
        assert (result.outcome, result.reason) == (Outcome.refused, Refusal.limits_text)
        long = await asyncio.gather(remote.act(Type("a" * 100)), remote.act(Type("rm -rf " * 20)))
        assert [one.outcome for one in long] == [Outcome.applied, Outcome.refused]
        assert place.screen.widgets[1].text == "a" * 100
        assert place.journal.record("job").last_refusal is Refusal.limits_text
        await remote.bye()

    run(tmp_path, story)


@pytest.mark.desktop
def test_windows_are_named_by_class_and_title(display: str, x_client: XClient) -> None:
    connection = Connection(display)
    windows = Windows(connection)
    name = b"editor\0Editor\0"
    x_client.core.ChangeProperty(0, x_client.window, 67, 31, 8, len(name), name)  # WM_CLASS, STRING
    x_client.sync()
    assert windows.at((5, 5)) == {"editor", "Editor"}
    assert windows.at(None) == {"editor", "Editor"}
    connection.close()
