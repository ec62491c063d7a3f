"""The runner against a real connector on a desktop in memory: done, yielded and resumed, refused, cancelled, broken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.agent.protocol import Decision, Preempted
from runtime.desktop.frame import Frame
from runtime.desktop.kept import KeptStates
from runtime.desktop.memory import MemoryScreen, Widget
from runtime.desktop.remote import RemoteDesktop
from runtime.desktop.takeover import Signal
from runtime.jobs.checkpoint import Memory
from runtime.jobs.run import RunEnd
from runtime.jobs.runner import Runner, Step
from runtime.jobs.spec import CheckpointPolicy, JobSpec, Limits
from runtime.jobs.store import Claim
from runtime.transport.errors import Unreachable
from runtime.wire.actions import Action, Click, Done, Fail, Type
from runtime.wire.tables import Outcome
from tests.desktop.test_session import Place

BUTTON, FIELD = (10, 10, 80, 30), (10, 100, 200, 20)


@dataclass
class Script:
    """An agent that plays `actions` in turn; its state is how far it is. `before` runs at each decision."""

    actions: list[Action]
    region: tuple[int, int, int, int] | None = None
    before: Callable[[int], None] = lambda number: None
    kind: str = "script"
    decided: list[int] = field(default_factory=list)
    seen: list[NDArray[np.uint8]] = field(default_factory=list)

    def decide(self, view: Frame, instruction: str, state: bytes, gate: Any) -> Decision | Preempted:
        number = int(state or b"0")
        self.before(number)
        if gate is not None and not gate.is_open():
            return Preempted()
        self.decided.append(number)
        self.seen.append(view.pixels.copy())
        action = self.actions[number] if number < len(self.actions) else Done("all done")
        return Decision(action, str(number + 1).encode(), 1.0, self.region)

    def forget(self) -> None:
        self.decided.clear()


class Gate:
    """A gate that a test closes."""

    def __init__(self) -> None:
        self.open = True

    def is_open(self) -> bool:
        return self.open


@dataclass
class Bench:
    """A place, and runs on it under growing epochs."""

    place: Place
    think: ThreadPoolExecutor
    steps: list[Step] = field(default_factory=list)
    epoch: int = 0

    def runner(self, agent: Script, gate: Gate | None = None, checkpoint: Any = None, **limits: Any) -> Runner:
        self.epoch += 1

        async def dial(claim: Claim, spec: JobSpec) -> RemoteDesktop:
            return await self.place.connect(claim.job, claim.owner_epoch)

        return Runner(
            claim=Claim("job", self.epoch, checkpoint),
            spec=JobSpec(desktop="unix:/nowhere", instruction="play", limits=Limits(**limits)),
            agent=agent,
            dial=dial,
            gate=gate,  # type: ignore[arg-type]
            think=self.think,
            on_step=self.steps.append,
        )

    def clicks(self) -> int:
        return sum(event.kind == "press" and event.what == "button 1" for event in self.place.screen.events)


def on_bench(folder: Path, play: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        screen = MemoryScreen(300, 200, widgets=[Widget(*BUTTON), Widget(*FIELD, is_field=True)])
        place = Place(folder, screen)
        with ThreadPoolExecutor(1) as think:
            try:
                await play(Bench(place, think))
            finally:
                place.close()

    asyncio.run(go())


def test_a_job_is_done(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        agent = Script([Click(50, 25), Click(100, 110), Type("hello")])
        end = await bench.runner(agent).run()
        assert (end.kind, end.text, end.actions) == ("done", "all done", 3)
        assert end.released_ns > 0, "the desktop said that everything is up"
        assert bench.place.screen.widgets[1].text == "hello"
        assert [step.outcome for step in bench.steps] == [Outcome.applied] * 3
        assert all(step.total_us > 0 for step in bench.steps)

    on_bench(tmp_path, play)


def test_a_run_slower_than_a_person_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.jobs.tempo.JUDGED_AFTER_S", 0.0)
    monkeypatch.setattr("runtime.jobs.tempo.FLOOR", 1e-9)

    async def play(bench: Bench) -> None:
        end = await bench.runner(Script([Click(50, 25), Type("hello")])).run()
        assert (end.kind, end.actions) == ("asked", 1)
        assert "times as long as a person would" in end.text

    on_bench(tmp_path, play)


@pytest.mark.parametrize("close_at", [0, 1, 2])
def test_a_closed_gate_yields_and_another_owner_goes_on(tmp_path: Path, close_at: int) -> None:
    async def play(bench: Bench) -> None:
        gate = Gate()

        def before(number: int) -> None:
            if number == close_at:
                gate.open = False

        actions: list[Action] = [Click(50, 25)] * 3
        first = bench.runner(Script(actions, before=before), gate)
        end = await first.run()
        assert (end.kind, end.actions) == ("yielded", close_at)
        assert end.stopped_ns > 0
        second = bench.runner(Script(actions), Gate(), first.checkpoint())
        end = await second.run()
        assert (end.kind, end.actions) == ("done", 3 - close_at)
        assert bench.clicks() == 3, "every click once, over both owners"

    on_bench(tmp_path, play)


def test_an_action_whose_result_was_not_heard_is_not_repeated(tmp_path: Path) -> None:
    """The desktop's hello, not the checkpoint, says whether the pending action was applied."""

    async def play(bench: Bench) -> None:
        actions: list[Action] = [Click(50, 25), Click(50, 25)]
        first = bench.runner(Script(actions))
        await first.run()
        # As if the car had died between the desktop's injection of the second click and the result.
        checkpoint = msgspec.structs.replace(
            first.checkpoint(), state=msgspec.msgpack.encode(Memory(b"1", actions=1, pending_seq=2, pending_state=b"2"))
        )
        agent = Script(actions)
        end = await bench.runner(agent, None, checkpoint).run()
        assert end.kind == "done"
        assert agent.decided == [2], "it went on after the click that the desktop knows"
        assert bench.clicks() == 2

    on_bench(tmp_path, play)


def test_an_action_that_was_told_but_not_kept_is_counted_once(tmp_path: Path) -> None:
    """The last owner told of its second action and died before it kept the state after it."""

    async def play(bench: Bench) -> None:
        actions: list[Action] = [Click(50, 25)] * 3
        first = bench.runner(Script(actions[:2]))
        await first.run()
        memory = Memory(b"1", actions=1, pending_seq=2, pending_state=b"2")
        checkpoint = msgspec.structs.replace(first.checkpoint(), state=msgspec.msgpack.encode(memory))
        second = bench.runner(Script(actions), None, checkpoint)
        second.counted = 2
        end = await second.run()
        assert (end.kind, bench.clicks()) == ("done", 3)
        assert (second.memory.actions, end.actions) == (3, 1), "this run's own action alone"

    on_bench(tmp_path, play)


def test_a_pending_action_that_never_arrived_is_decided_anew(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        memory = Memory(b"0", actions=0, pending_seq=1, pending_state=b"1")
        checkpoint = msgspec.structs.replace(
            bench.runner(Script([])).checkpoint(), state=msgspec.msgpack.encode(memory)
        )
        await bench.runner(Script([Click(50, 25)]), None, checkpoint).run()
        assert bench.clicks() == 1

    on_bench(tmp_path, play)


@pytest.mark.parametrize("changes", [False, True])
def test_what_was_decided_on_a_screen_that_changed_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: bool
) -> None:
    """The second decision is begun on the first picture of the click's answer; then the screen changes once more."""
    monkeypatch.setattr("runtime.jobs.runner.SETTLE_QUIET_MS", 400)

    async def play(bench: Bench) -> None:
        loop, told = asyncio.get_running_loop(), threading.Event()

        def change() -> None:
            bench.place.screen.pixels[150:160, 250:260, :3] = 9
            bench.place.screen.changed()
            told.set()

        def before(number: int) -> None:
            if number == 1 and changes and not told.is_set():
                loop.call_soon_threadsafe(change)
                assert told.wait(10)

        agent = Script([Click(50, 25), Click(100, 110)], before=before)
        end = await bench.runner(agent).run()
        assert (end.kind, end.actions, bench.clicks()) == ("done", 2, 2)
        assert agent.decided == ([0, 1, 1, 2] if changes else [0, 1, 2])
        assert agent.seen[-2][150:160, 250:260, :3].max() == (9 if changes else bench.place.screen.pixels[0, 0, 0])

    on_bench(tmp_path, play)


def test_changed_pixels_refuse_and_the_agent_looks_again(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        painted: list[int] = []

        def before(number: int) -> None:
            if not painted:  # between the look and the act, once
                painted.append(number)
                bench.place.screen.pixels[12:20, 12:20, :3] = 7  # no damage is told: the car cannot know

        agent = Script([Click(50, 25)], region=BUTTON, before=before)
        task = asyncio.create_task(bench.runner(agent).run())
        while not bench.steps:
            await asyncio.sleep(0.01)
        bench.place.screen.changed()
        end = await task
        assert end.kind == "done"
        assert bench.steps[0].outcome is Outcome.refused
        assert bench.clicks() == 1

    on_bench(tmp_path, play)


def test_a_cancelled_run_stops(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        runner = bench.runner(Script([Click(50, 25)] * 1000), max_actions=1000)
        task = asyncio.create_task(runner.run())
        await asyncio.sleep(0.05)
        runner.cancel("no longer wanted")
        end = await task
        assert (end.kind, end.text) == ("cancelled", "no longer wanted")

    on_bench(tmp_path, play)


def test_limits_end_a_job(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        end = await bench.runner(Script([Click(50, 25)] * 10), max_actions=2).run()
        assert (end.kind, end.actions) == ("failed", 2)
        assert "limit of 2 actions" in end.text

    on_bench(tmp_path, play)


def test_the_agent_s_own_end_is_the_job_s(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        end = await bench.runner(Script([Fail("there is no such button")])).run()
        assert (end.kind, end.text) == ("failed", "there is no such button")

    on_bench(tmp_path, play)


def test_an_unreachable_desktop_breaks_the_run_and_keeps_the_state(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        runner = bench.runner(Script([Click(50, 25)]))

        async def nobody(claim: Claim, spec: JobSpec) -> RemoteDesktop:
            raise Unreachable("nobody answers")

        runner.dial = nobody
        end: RunEnd = await runner.run()
        assert end.kind == "broken"
        assert "nobody answers" in end.text
        assert msgspec.msgpack.decode(runner.checkpoint().state, type=Memory) == Memory()

    on_bench(tmp_path, play)


def test_a_person_takes_the_desktop_and_the_run_waits_for_them(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        connector = bench.place.connector

        def hands(signal: Signal) -> None:
            connector.takeover.hear(signal, connector.clock())
            connector._change_hands()

        task = asyncio.create_task(bench.runner(Script([Click(50, 25)] * 3)).run())
        while not bench.steps:
            await asyncio.sleep(0.005)
        hands(Signal.input)
        so_far = bench.clicks()
        await asyncio.sleep(0.3)
        assert bench.clicks() == so_far
        assert not task.done()
        hands(Signal.resume)
        end = await task
        assert (end.kind, end.actions) == ("done", 3)
        assert bench.clicks() == 3

    on_bench(tmp_path, play)


def test_a_car_that_dies_leaves_its_state_with_the_desktop(tmp_path: Path) -> None:
    """The store has nothing of it; who goes on has the state from the desktop all the same."""

    async def play(bench: Bench) -> None:
        told: list[object] = []
        actions: list[Action] = [Click(50, 25)] * 5

        async def remember(checkpoint: object, elsewhere: bool) -> None:
            told.append(elsewhere)

        def before(number: int) -> None:
            if number == 3:
                raise ConnectionAbortedError("as if the process had been killed here")

        first = bench.runner(Script(actions, before=before))
        first.remember = remember
        with pytest.raises(ConnectionAbortedError):
            await first.run()
        assert (told, bench.clicks()) == ([True] * 3, 3), "a fleet need not be told: the desktop knows"
        agent = Script(actions)
        second = bench.runner(agent)
        end = await second.run()
        assert (end.kind, end.actions) == ("done", 5), "its own two, and those of the other that nobody heard of"
        assert agent.decided == [3, 4, 5]
        assert bench.clicks() == 5
        assert second.memory.actions == 5
        assert not any((tmp_path / "kept").iterdir()), "the job is over: nothing is kept of it"

    on_bench(tmp_path, play)


def test_with_no_time_between_checkpoints_the_store_hears_of_every_action(tmp_path: Path) -> None:
    async def play(bench: Bench) -> None:
        told: list[object] = []

        async def remember(checkpoint: object, elsewhere: bool) -> None:
            told.append(elsewhere)

        runner = bench.runner(Script([Click(50, 25)] * 3))
        runner.remember = remember
        runner.spec = msgspec.structs.replace(runner.spec, checkpoint=CheckpointPolicy(every_s=0))
        assert (await runner.run()).kind == "done"
        assert told == [False] * 3

    on_bench(tmp_path, play)


@pytest.mark.parametrize("kept", [b"", b"\xc1 no msgpack", b"x" * 60_000])
def test_what_a_desktop_makes_up_is_not_believed(tmp_path: Path, kept: bytes) -> None:
    async def play(bench: Bench) -> None:
        KeptStates(tmp_path).put("job", kept)
        end = await bench.runner(Script([Click(50, 25)] * 2)).run()
        assert (end.kind, end.text, end.actions) == ("done", "all done", 2)

    on_bench(tmp_path, play)
