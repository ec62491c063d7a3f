"""A person wins: the rules as a machine, and on a real X server with a second program's input."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xcffib.xtest
from hypothesis import given
from hypothesis import strategies as st

from runtime.desktop.connector import Connector
from runtime.desktop.errors import SessionLost, SessionRefused
from runtime.desktop.guard import NoGuard
from runtime.desktop.journal import Journal
from runtime.desktop.remote import RemoteDesktop
from runtime.desktop.takeover import Holder, S, Signal, Takeover, TakeoverRules
from runtime.desktop.x11.connection import Connection
from runtime.desktop.x11.desktop import X11Desktop
from runtime.desktop.x11.person import PersonWatch
from runtime.transport.memory import pair
from runtime.wire.actions import Click, Drag, Hold, Key, Type
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.x_client import XClient

RULES = TakeoverRules(quiet_s=3, stop_s=600)
KEY_PRESS, KEY_RELEASE, BUTTON_PRESS, BUTTON_RELEASE, MOTION = 2, 3, 4, 5, 6
CTRL, ALT, ENTER, ESCAPE = 37, 64, 36, 9


def test_input_takes_the_desktop_and_quiet_gives_it_back() -> None:
    takeover = Takeover(RULES)
    assert takeover.hear(Signal.input, 0)
    assert not takeover.hear(Signal.input, 2 * S)
    assert not takeover.tick(3 * S)
    assert takeover.deadline_ns == 5 * S
    assert takeover.tick(5 * S)
    assert takeover.holder is Holder.agent


def test_the_resume_hotkey_gives_it_back_at_once() -> None:
    takeover = Takeover(RULES)
    takeover.hear(Signal.input, 0)
    assert takeover.hear(Signal.resume, 1)
    assert takeover.holder is Holder.agent


def test_stopped_stays_stopped_whatever_is_typed() -> None:
    takeover = Takeover(RULES)
    assert takeover.hear(Signal.stop, 0)
    assert not takeover.hear(Signal.input, 1 * S)
    assert not takeover.tick(599 * S)
    assert takeover.holder is Holder.stopped
    assert takeover.tick(600 * S)


@given(st.lists(st.tuples(st.sampled_from(list(Signal)), st.integers(0, 10 * S))))
def test_an_agent_never_acts_within_the_quiet_time_after_input(story: list[tuple[Signal, int]]) -> None:
    takeover, now_ns, last_input_ns = Takeover(RULES), 0, None
    for signal, later_ns in story:
        now_ns += later_ns
        takeover.tick(now_ns)
        takeover.hear(signal, now_ns)
        last_input_ns = now_ns if signal is Signal.input else None if signal is Signal.resume else last_input_ns
        if last_input_ns is not None and now_ns - last_input_ns < RULES.quiet_s * S:
            assert takeover.holder is not Holder.agent


class Person:
    """Another program's XTest input, as x11vnc gives its viewers'."""

    def __init__(self, client: XClient) -> None:
        self._client = client
        self._xtest = client.connection(xcffib.xtest.key)

    def move(self, x: int, y: int) -> None:
        self._xtest.FakeInput(MOTION, 0, 0, self._client.root, x, y, 0)
        self._client.sync()

    def chord(self, *keycodes: int) -> None:
        for keycode in keycodes:
            self._xtest.FakeInput(KEY_PRESS, keycode, 0, 0, 0, 0, 0)
        for keycode in reversed(keycodes):
            self._xtest.FakeInput(KEY_RELEASE, keycode, 0, 0, 0, 0, 0)
        self._client.sync()


class Shared:
    """A desktop that an agent and a person share."""

    def __init__(self, display: str, desktop: X11Desktop, client: XClient, folder: Path) -> None:
        self.desktop, self.client, self.person = desktop, client, Person(client)
        self.events: list[dict[str, Any]] = []
        self.people = PersonWatch(Connection(display), desktop.own_events, RULES)
        self.added_ns = 0
        self.journal = Journal(folder)
        self.connector = Connector(
            desktop, self.journal, self.events.append, NoGuard(), self.people, Takeover(RULES), clock=self._clock
        )
        self.connector.settle()

    def _clock(self) -> int:
        from kernels.gate.word import boottime_ns

        return boottime_ns() + self.added_ns

    async def connect(self, owner_epoch: int = 1) -> RemoteDesktop:
        ours, theirs = pair()
        self.handler = asyncio.create_task(self.connector.handle(theirs))
        remote = await RemoteDesktop.connect(ours, job="job", owner_epoch=owner_epoch)
        await remote.next_frame()
        return remote

    def run(self, story: Callable[[Shared], Awaitable[None]]) -> None:
        async def tell() -> None:
            self.connector.watch_people()
            await asyncio.wait_for(story(self), 20)
            await self.connector.close()

        asyncio.run(tell())

    async def holder(self, holder: Holder) -> None:
        while self.connector.takeover.holder is not holder:
            await asyncio.sleep(0.001)


async def act_for_ever(remote: RemoteDesktop) -> None:
    while True:
        await remote.act(Click(1, 1))


@pytest.fixture
def shared(display: str, x_desktop: X11Desktop, x_client: XClient, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(display, x_desktop, x_client, tmp_path)
    yield shared
    shared.people.close()
    shared.journal.close()


@pytest.mark.desktop
def test_our_own_input_is_not_a_person(shared: Shared) -> None:
    async def story(shared: Shared) -> None:
        remote = await shared.connect()
        for action in (Click(5, 5, count=2), Type("aBé" * 50), Hold("shift"), Key("ctrl+a"), Drag(((1, 1), (200, 90)))):
            assert (await remote.act(action)).outcome is Outcome.applied
        await remote.bye()
        await shared.handler
        await asyncio.sleep(0.05)
        assert shared.connector.takeover.holder is Holder.agent
        assert not [event for event in shared.events if event["event"] == "holder"]

    shared.run(story)


@pytest.mark.desktop
def test_a_person_takes_the_desktop_and_the_agent_gets_it_back(shared: Shared) -> None:
    async def story(shared: Shared) -> None:
        remote = await shared.connect()
        await remote.act(Hold("shift"))
        shared.person.move(77, 88)
        await shared.holder(Holder.person)
        assert shared.desktop.pressed() == frozenset()
        result = await remote.act(Click(5, 5))
        assert (result.outcome, result.reason) == (Outcome.refused, Refusal.taken_over)
        assert remote.is_taken_over
        marked = await remote.settle(quiet_ms=30, at_most_ms=500)
        assert (marked.pixels[2, 150, :3] == (0x00, 0x8A, 0xE0)).all()
        shared.added_ns = 4 * S
        shared.connector._wait_for_quiet()
        await shared.holder(Holder.agent)
        while remote.is_taken_over:
            await asyncio.sleep(0.001)
        assert (await remote.act(Click(5, 5))).outcome is Outcome.applied
        await remote.bye()

    shared.run(story)


@pytest.mark.desktop
def test_clicks_of_a_person_go_through_the_mark(shared: Shared) -> None:
    async def story(shared: Shared) -> None:
        shared.person.move(150, 5)
        await shared.holder(Holder.person)
        shared.client.events()
        xtest = shared.client.connection(xcffib.xtest.key)
        xtest.FakeInput(BUTTON_PRESS, 1, 0, 0, 0, 0, 0)
        xtest.FakeInput(BUTTON_RELEASE, 1, 0, 0, 0, 0, 0)
        assert ("press", "button 1", 150, 5) in shared.client.events()

    shared.run(story)


@pytest.mark.desktop
def test_hotkeys_resume_and_stop(shared: Shared) -> None:
    async def story(shared: Shared) -> None:
        remote = await shared.connect()
        shared.person.move(1, 1)
        await shared.holder(Holder.person)
        shared.person.chord(CTRL, ALT, ENTER)
        await shared.holder(Holder.agent)
        shared.person.chord(CTRL, ALT, ESCAPE)
        await shared.holder(Holder.stopped)
        with pytest.raises(SessionLost, match="stopped"):
            await act_for_ever(remote)
        with pytest.raises(SessionRefused, match="stopped"):
            await shared.connect(owner_epoch=2)
        shared.person.chord(CTRL, ALT, ENTER)
        await shared.holder(Holder.agent)
        await (await shared.connect(owner_epoch=3)).bye()

    shared.run(story)


@pytest.mark.desktop
def test_who_comes_while_a_person_works_may_look_but_not_act(shared: Shared) -> None:
    async def story(shared: Shared) -> None:
        shared.person.move(9, 9)
        await shared.holder(Holder.person)
        remote = await shared.connect()
        assert (await remote.act(Click(5, 5))).reason == Refusal.taken_over
        await remote.bye()

    shared.run(story)
