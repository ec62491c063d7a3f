"""A session from end to end over a link in memory: the fence, the journal, the release of what is held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.gate.word import boottime_ns
from runtime.desktop.connector import Connector
from runtime.desktop.errors import DesktopLost, SessionLost, SessionRefused
from runtime.desktop.guard import NoGuard
from runtime.desktop.journal import Journal
from runtime.desktop.memory import MemoryDesktop, MemoryScreen, Widget
from runtime.desktop.remote import RemoteDesktop
from runtime.transport.memory import MemoryStream, pair
from runtime.wire.actions import Click, Done, Hold, Precondition, Type
from runtime.wire.tables import CloseReason, Outcome, Refusal

RED = (0, 0, 255)


class ManualClock:
    """CLOCK_BOOTTIME, plus what a test adds."""

    def __init__(self) -> None:
        self.added_ns = 0

    def __call__(self) -> int:
        return boottime_ns() + self.added_ns


class Place:
    """A desktop in memory with its connector; `dial` gives a car's end of a new link."""

    def __init__(self, folder: Path, screen: MemoryScreen | None = None, dies_after: int | None = None) -> None:
        self.folder = folder
        self.screen = screen or MemoryScreen(
            300, 200, widgets=[Widget(10, 10, 80, 30), Widget(10, 100, 200, 20, is_field=True)]
        )
        self.desktop = MemoryDesktop(self.screen, dies_after=dies_after)
        self.journal = Journal(folder)
        self.events: list[dict[str, Any]] = []
        self.clock = ManualClock()
        self.connector = Connector(self.desktop, self.journal, self._hear, NoGuard(), clock=self.clock)
        self.connector.settle()
        self.handlers: list[asyncio.Task[None]] = []

    def dial(self) -> MemoryStream:
        ours, theirs = pair()
        self.handlers.append(asyncio.create_task(self.connector.handle(theirs)))
        return ours

    async def connect(self, job: str = "job", owner_epoch: int = 1) -> RemoteDesktop:
        remote = await RemoteDesktop.connect(self.dial(), job=job, owner_epoch=owner_epoch)
        await remote.next_frame()
        return remote

    def heard(self, event: str) -> list[dict[str, Any]]:
        return [told for told in self.events if told["event"] == event]

    async def ended(self) -> None:
        await asyncio.gather(*self.handlers)

    def close(self) -> None:
        self.desktop.close()
        self.journal.close()

    def _hear(self, event: dict[str, Any]) -> None:
        json.dumps(event)
        self.events.append(event)


def run(folder: Path, story: Callable[[Place], Awaitable[None]], **options: Any) -> Place:
    async def tell() -> Place:
        place = Place(folder, **options)
        try:
            await asyncio.wait_for(story(place), 20)
        finally:
            place.close()
        return place

    return asyncio.run(tell())


def test_the_car_sees_what_is_on_the_screen(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        assert (remote.frame.pixels[..., :3] == place.screen.pixels[..., :3]).all()
        assert remote.frame.changed.all()
        held = remote.frame
        before = held.pixels.copy()
        place.screen.paint(70, 70, 10, 10, RED)
        after = await remote.next_frame(held.frame_id)
        assert np.argwhere(after.changed).tolist() == [[1, 1]]
        assert (after.pixels[70:80, 70:80, :3] == RED).all()
        assert not (before[70:80, 70:80, :3] == RED).any()
        await remote.bye()

    run(tmp_path, story)


def test_a_frame_stands_still_while_the_screen_goes_on(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        before = remote.frame.pixels.copy()
        place.screen.paint(0, 0, 300, 200, RED)
        await asyncio.sleep(0)
        while remote._mirror.newest is not None and remote._mirror.newest.frame == remote.frame.frame_id:
            await asyncio.sleep(0)
        assert (remote.frame.pixels == before).all()
        await remote.bye()

    run(tmp_path, story)


def test_an_action_is_applied_and_told(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        result = await remote.act(Click(20, 20))
        assert (result.seq, result.outcome) == (1, Outcome.applied)
        assert 0 < result.received_ns <= result.applied_ns
        await remote.bye()
        assert place.screen.widgets[0].clicks == 1

    place = run(tmp_path, story)
    told = place.heard("action")
    assert [(one["seq"], one["outcome"], one["kind"]) for one in told] == [(1, "applied", "click")]
    assert place.heard("session_closed")[0]["applied"] == 1


def test_a_precondition_is_checked_against_the_screen_of_now(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        condition = Precondition(10, 10, 80, 30, remote.hash_region(10, 10, 80, 30))
        place.screen.paint(200, 150, 5, 5, RED)
        assert (await remote.act(Click(20, 20), condition)).outcome is Outcome.applied
        result = await remote.act(Click(20, 20), condition)  # the button has another colour now
        assert (result.outcome, result.reason) == (Outcome.refused, Refusal.changed_pixels)
        assert place.screen.widgets[0].clicks == 1
        await remote.bye()

    run(tmp_path, story)


def test_settling_waits_for_a_change_and_then_for_rest(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        known = remote.frame.frame_id

        async def animate() -> None:
            for shade in range(5):
                await asyncio.sleep(0.01)
                place.screen.paint(0, 0, 9, 9, (shade, 0, 200))

        animation = asyncio.create_task(animate())
        frame = await remote.settle(quiet_ms=200, at_most_ms=5000, after_id=known)
        assert animation.done()
        assert frame.pixels[0, 0, 0] == 4
        still = await remote.settle(quiet_ms=5, at_most_ms=30)
        assert still.frame_id == frame.frame_id
        assert not still.changed.any()
        await remote.bye()

    run(tmp_path, story)


def test_a_screen_rests_or_tells_at_once_that_it_changed(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        assert await remote.rests(quiet_ms=5)
        waiting = asyncio.create_task(remote.rests(quiet_ms=60_000))
        await asyncio.sleep(0)
        place.screen.paint(0, 0, 9, 9, RED)
        assert not await asyncio.wait_for(waiting, 20)
        assert remote.frame.pixels[0, 0, 2] != RED[2], "the frame stands still meanwhile"
        assert (await remote.settle(quiet_ms=0, at_most_ms=5000)).pixels[0, 0, 2] == RED[2]
        assert await remote.rests(quiet_ms=5)
        await remote.bye()

    run(tmp_path, story)


def test_no_frame_in_time_is_a_timeout(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        with pytest.raises(TimeoutError, match="showed no frame"):
            await remote.next_frame(remote.frame.frame_id, timeout_s=0.01)
        await remote.bye()

    run(tmp_path, story)


@pytest.mark.parametrize("way", ["bye", "cut", "close", "silence", "takeover"])
def test_however_a_session_ends_nothing_stays_pressed(tmp_path: Path, way: str) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        await remote.act(Hold("ctrl"))
        assert place.desktop.pressed() == {"ctrl"}
        stream = remote._stream
        assert isinstance(stream, MemoryStream)
        if way == "bye":
            await remote.bye()
        elif way == "cut":
            stream.cut()
        elif way == "close":
            stream.close()
        elif way == "silence":
            place.clock.added_ns = 1_100_000_000
        else:
            await place.connect(owner_epoch=2)
        while place.desktop.pressed():
            await asyncio.sleep(0.001)
        if way not in ("bye",):
            with pytest.raises(SessionLost):
                await remote.act(Click(1, 1))
        await remote._end()
        await place.connector.close()
        await place.ended()

    place = run(tmp_path, story)
    assert place.heard("released")[0]["held"] == ["ctrl"]
    assert place.screen.events[-1].kind == "release"


def test_an_older_owner_is_refused_and_a_newer_one_takes_over(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        first = await place.connect(owner_epoch=5)
        second = await place.connect(owner_epoch=6)
        with pytest.raises(SessionLost, match="superseded"):
            await first.act(Click(1, 1))
        with pytest.raises(SessionRefused, match="old_owner"):
            await place.connect(owner_epoch=5)
        assert (await second.act(Click(20, 20))).outcome is Outcome.applied
        await second.bye()
        with pytest.raises(SessionRefused, match="old_owner"):
            await place.connect(owner_epoch=5)

    run(tmp_path, story)


def test_another_job_waits_until_the_desktop_is_free(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect("one")
        with pytest.raises(SessionRefused, match="busy"):
            await place.connect("two")
        await remote.bye()
        await place.ended()
        await (await place.connect("two")).bye()

    run(tmp_path, story)


def test_the_hello_tells_what_became_of_the_last_action(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        await remote.act(Click(20, 20))
        await remote.act(Click(300, 20))
        await remote.bye()
        again = await place.connect(owner_epoch=2)
        assert (again.hello.owner_epoch, again.hello.last_seq, again.hello.last_outcome) == (2, 2, Outcome.refused)
        assert again.next_seq == 3
        await again.bye()

    run(tmp_path, story)


def test_what_is_no_input_is_refused_and_uses_its_seq_up(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        result = await remote.act(Done())
        assert (result.outcome, result.reason) == (Outcome.refused, Refusal.not_an_input)
        await remote.bye()
        assert place.journal.record("job").last_seq == 1

    run(tmp_path, story)


def test_long_texts_are_typed_in_their_turn(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        await remote.act(Click(20, 110))
        results = await asyncio.gather(*(remote.act(Type(char * 100)) for char in "abc"), remote.act(Type("!")))
        assert [result.outcome for result in results] == [Outcome.applied] * 4
        assert place.screen.widgets[1].text == "a" * 100 + "b" * 100 + "c" * 100 + "!"
        await remote.bye()

    run(tmp_path, story)


@pytest.mark.parametrize("dies_after", range(12))
def test_a_connector_that_dies_at_any_event_leaves_an_outcome_that_is_true(tmp_path: Path, dies_after: int) -> None:
    """Five characters are ten events; the click before them two and a motion."""
    screen = MemoryScreen(300, 200, widgets=[Widget(10, 100, 200, 20, is_field=True)])

    async def before(place: Place) -> None:
        remote = await place.connect()
        try:
            await remote.act(Click(20, 110))
            await remote.act(Type("abcde"))
            raise AssertionError("it was to die")
        except SessionLost:
            await remote._end()
        await place.ended()
        assert place.connector.lost is not None

    run(tmp_path, before, screen=screen, dies_after=dies_after)
    done = [event for event in screen.events if event.kind == "press"]

    async def after(place: Place) -> None:
        remote = await place.connect(owner_epoch=2)
        assert place.desktop.pressed() == frozenset()
        hello = remote.hello
        if dies_after < 3:
            assert (hello.last_seq, hello.last_outcome) == (1, Outcome.unknown)
        else:
            assert (hello.last_seq, hello.last_outcome) == (2, Outcome.unknown)
        assert [event for event in screen.events if event.kind == "press"] == done  # nothing was repeated
        await remote.bye()

    run(tmp_path, after, screen=screen)


def test_a_lost_desktop_ends_the_session_with_its_reason(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        remote = await place.connect()
        with pytest.raises(SessionLost, match="desktop_lost"):
            await remote.act(Click(20, 20))
        await place.connector.gone.wait()
        assert isinstance(place.connector.lost, DesktopLost)
        await place.ended()

    run(tmp_path, story, dies_after=1)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x05\0\0\0hello", b"GET / HTTP/1.1\r\n\r\n"])
def test_garbage_ends_one_link_and_nothing_else(tmp_path: Path, garbage: bytes) -> None:
    async def story(place: Place) -> None:
        stranger = place.dial()
        await stranger.send(garbage)
        while await stranger.receive():
            pass
        remote = await place.connect()
        other = place.dial()
        await other.send(garbage)
        while await other.receive():
            pass
        assert (await remote.act(Click(20, 20))).outcome is Outcome.applied
        await remote.bye(CloseReason.yielded)

    place = run(tmp_path, story)
    assert place.heard("session_closed")[0]["reason"] == "yielded"
