"""Sessions under fire: thousands of actions over bad links, with kills, and three witnesses that were not asked.

    car(s) ─► proxy: delays, duplicates, cuts, goes deaf ─► connector (kill -9 at random moments) ─► Xvfb
    witnesses: a recorder of every input event · the program on the screen (what was shown when it was clicked) · clocks

Every action is a click on a pixel of its own, so that each recorded press names its action. The program repaints a
target now and then; an action carries the hash of the target as its car saw it. One seed is one story; the same seed
tells it again, up to the scheduler's part in it.

    python -m tests.faults.sessions --seed 7 --actions 20000
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import xcffib.xproto

from kernels.gate.word import boottime_ns
from runtime.desktop.errors import SessionError
from runtime.desktop.remote import RemoteDesktop
from runtime.evaluation.recorder import Recorded, Recorder
from runtime.evaluation.xserver import XServer
from runtime.transport.dial import dial
from runtime.transport.errors import TransportError
from runtime.wire.actions import Click, Hold, Precondition
from runtime.wire.tables import Outcome, Refusal
from tests.desktop.x_client import XClient
from tests.faults.connector import ConnectorProcess
from tests.faults.proxy import Counts, Proxy
from tests.faults.telling import tell

WIDTH, HEIGHT = 320, 200
TARGET = (0, HEIGHT - 8, 8, 8)  # what every action depends on; clicks lie above it
ACTIONS_MAX = WIDTH * (HEIGHT - 8)
HELD_MAX_NS = 1_200_000_000
TELL_EVERY = 500


@dataclass
class Report:
    """What was found. Everything from `doubled` to `died` must be 0, and `broke_off` empty.

    `cut_off` counts what a stalled machine did: the watchdog ended a connection that held the server for a second, and
    the connector with it. That is no fault, as long as nothing else is found."""

    seed: int
    actions: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    links: Counts = field(default_factory=Counts)
    owners: int = 0
    doubled: int = 0
    by_old_owner: int = 0
    on_changed_pixels: int = 0
    untrue: int = 0
    held_too_long: int = 0
    lost: int = 0
    died: int = 0
    broke_off: str = ""
    cut_off: int = 0
    failed_starts: int = 0
    longest_hold_after_silence_ms: float = 0.0

    def is_clean(self) -> bool:
        """Returns whether everything that must be 0 is, and *unknown* was rare: at most one in a thousand."""
        found = self.doubled + self.by_old_owner + self.on_changed_pixels + self.untrue + self.held_too_long
        return (
            found + self.lost + self.died == 0
            and not self.broke_off
            and self.outcomes.get("unknown", 0) <= max(1, self.actions // 1000)
        )


@dataclass
class Done:
    """One action: by which owner, on which version of the target, and what became of it."""

    owner: int
    seq: int
    version: int
    outcome: Outcome | None = None
    reason: int = 0


class Story:
    """One run."""

    def __init__(self, seed: int, actions: int, folder: Path, server: XServer) -> None:
        self.luck, self.folder, self.server = random.Random(seed), folder, server
        self.wanted, self.report = actions, Report(seed)
        self.client = XClient(server.display)
        self.versions: dict[int, int] = {}  # request number of the paint -> version
        self.version = 0
        self.presses: list[tuple[int, int, int]] = []  # x, y, version shown
        self.actions: list[Done] = []
        self.owner = 0
        self.silences: list[int] = []
        self.began_ns, self.told = boottime_ns(), 0
        self.connector = ConnectorProcess(server.display, folder)
        self.proxy = Proxy(str(folder / "car"), str(folder / "desktop"), self.luck, self.report.links)

    async def run(self) -> None:
        await self.proxy.start()
        self.paint()
        await self.connector.start()
        try:
            while len(self.actions) < self.wanted:
                await self.session()
                self.tell_progress()
            self.owner += 1
            await self.settle_last()
        except Exception as error:  # noqa: BLE001 - what was seen until then is judged and told all the same
            self.report.broke_off = f"after {len(self.actions)} actions: {type(error).__name__}: {error}"
        finally:
            self.note_ends()
            await self.connector.kill()
            self.read_program()
            await self.proxy.close()
            self.client.close()

    async def session(self) -> None:
        """One owner's session, to its more or less violent end; every second one keeps a zombie of itself about."""
        self.owner += 1
        self.report.owners += 1
        if self.connector.has_died():
            await self.connector.again()
            self.report.died += 1  # by itself; `note_ends` takes off those that the watchdog cut off
        try:
            remote = await self.connect(self.owner)
            self.believe(remote)
            end_after = self.luck.randint(20, 150)
            for _ in range(end_after):
                if len(self.actions) >= self.wanted:
                    break
                await self.act(remote)
            await self.end_badly(remote)
        except (SessionError, TransportError, OSError, TimeoutError, asyncio.TimeoutError):
            return

    def note_ends(self) -> None:
        """A connector that was cut off for holding the server, and ended by that, has not died of itself."""
        self.report.cut_off = self.connector.cut_off()
        self.report.died = max(0, self.report.died - self.report.cut_off)
        self.report.failed_starts = self.connector.failed_starts

    def tell_progress(self) -> None:
        done = len(self.actions)
        if done // TELL_EVERY > self.told:
            self.told = done // TELL_EVERY
            rate = done / ((boottime_ns() - self.began_ns) / 1e9)
            print(f"{done} of {self.wanted} actions, {rate:.0f} a second, {self.report.kills} kills", file=sys.stderr)

    async def act(self, remote: RemoteDesktop) -> None:
        if self.luck.random() < 0.1:
            self.paint()
            if self.luck.random() < 0.5:
                await remote.settle(quiet_ms=1, at_most_ms=30)
        number = len(self.actions)
        shown = int(remote.frame.pixels[HEIGHT - 4, 4, 0]) | int(remote.frame.pixels[HEIGHT - 4, 4, 1]) << 8
        condition = Precondition(*TARGET, remote.hash_region(*TARGET))
        done = Done(remote.hello.owner_epoch, remote.next_seq, shown)
        self.actions.append(done)
        result = await asyncio.wait_for(remote.act(Click(number % WIDTH, number // WIDTH), condition), 10)
        done.outcome, done.reason = result.outcome, result.reason
        if result.reason == Refusal.changed_pixels:
            await remote.settle(quiet_ms=1, at_most_ms=30)

    async def end_badly(self, remote: RemoteDesktop) -> None:
        """Ends the session as sessions end in the field, often with a modifier held and an action under way."""
        if self.luck.random() < 0.5:
            await remote.act(Hold("shift"))
        way = self.luck.choice(["kill", "cut", "deaf", "bye", "zombie"])
        under_way = asyncio.ensure_future(self.act(remote)) if len(self.actions) < self.wanted else None
        await asyncio.sleep(self.luck.uniform(0, 0.004))
        self.silences.append(boottime_ns())
        if way == "kill":
            self.report.kills += 1
            await self.connector.again()
        elif way == "cut":
            self.proxy.cut()
        elif way == "deaf":
            self.proxy.go_deaf(1.3)
            await asyncio.sleep(1.4)
        elif way == "zombie":
            await self.zombie(remote)
        if under_way is not None:
            await asyncio.gather(under_way, return_exceptions=True)
        if way == "bye":
            await remote.bye()
        await remote._end()

    async def zombie(self, old: RemoteDesktop) -> None:
        """A newer owner comes while the old one still believes that it may act."""
        self.owner += 1
        new = await self.connect(self.owner)
        self.believe(new)
        late = len(self.actions)
        try:
            await self.act(old)
        except SessionError:
            if len(self.actions) > late:  # it was sent, after the new owner's hello was answered; or not even that
                self.actions[late].outcome = Outcome.refused
        await self.act(new)
        await new.bye()

    async def connect(self, owner: int) -> RemoteDesktop:
        stream = await dial(f"unix:{self.folder / 'car'}")
        remote = await RemoteDesktop.connect(stream, job="job", owner_epoch=owner)
        await remote.next_frame(timeout_s=5)
        return remote

    def believe(self, remote: RemoteDesktop) -> None:
        """Takes the desktop's word for every action whose result never came."""
        hello = remote.hello
        for done in self.actions:
            if done.outcome is not None:
                continue
            if done.seq > hello.last_seq:
                done.outcome = Outcome.refused  # it was never begun
            elif done.seq == hello.last_seq:
                done.outcome = hello.last_outcome

    async def settle_last(self) -> None:
        remote = await self.connect(self.owner)
        self.believe(remote)
        await remote.bye()

    def paint(self) -> None:
        """Shows another version of the target; remembers from which of our requests on it is to be seen."""
        self.version += 1
        core, client = self.client.core, self.client
        colour = (self.version >> 8 & 0xFF) << 8 | self.version & 0xFF
        core.ChangeGC(client.gc, xcffib.xproto.GC.Foreground, [colour])
        cookie = core.PolyFillRectangle(client.window, client.gc, 1, [xcffib.xproto.RECTANGLE.synthetic(*TARGET)])
        self.versions[cookie.sequence] = self.version
        client.sync()
        self.read_program()

    def read_program(self) -> None:
        """Notes what the program was told. An event names the program's last request before it: what was shown."""
        asked = self.client.core.GetInputFocus()
        asked.reply()
        while (event := self.client.connection.poll_for_event()) is not None:
            if isinstance(event, xcffib.xproto.ButtonPressEvent):
                sequence = asked.sequence - ((asked.sequence - event.sequence) & 0xFFFF)  # events carry 16 bits of it
                painted = max((number for number in self.versions if number <= sequence), default=0)
                self.presses.append((event.event_x, event.event_y, self.versions.get(painted, 0)))

    def judge(self, recorded: list[Recorded]) -> Report:
        """Compares what the cars were told with what the witnesses saw."""
        report = self.report
        report.actions = len(self.actions)
        pressed = Counter((event.x, event.y) for event in recorded if event.kind == "button_press")
        for number, done in enumerate(self.actions):
            times = pressed.pop((number % WIDTH, number // WIDTH), 0)
            report.doubled += times > 1
            if done.outcome is None:
                report.lost += 1
            elif done.outcome is not Outcome.unknown:
                report.untrue += times != (done.outcome is Outcome.applied)
        report.untrue += sum(pressed.values())
        report.outcomes = dict(Counter(done.outcome.name if done.outcome else "lost" for done in self.actions))
        for x, y, version in self.presses:
            done = self.actions[y * WIDTH + x]
            report.on_changed_pixels += done.version != version & 0xFFFF
        self._judge_owners(recorded)
        self._judge_holds(recorded)
        return report

    def _judge_owners(self, recorded: list[Recorded]) -> None:
        """After the first press of an owner there must be none of an older one."""
        newest = 0
        for event in recorded:
            if event.kind == "button_press":
                owner = self.actions[event.y * WIDTH + event.x].owner
                self.report.by_old_owner += owner < newest
                newest = max(newest, owner)

    def _judge_holds(self, recorded: list[Recorded]) -> None:
        """No modifier is down longer than 1.2 s after its car fell silent."""
        down_ns = 0
        for event in recorded:
            if event.kind == "key_press" and event.is_modifier:
                down_ns = event.t_ns
            elif event.kind == "key_release" and event.is_modifier and down_ns:
                silent_ns = next((at for at in self.silences if down_ns <= at <= event.t_ns), None)
                if silent_ns is not None:
                    held_ns = event.t_ns - silent_ns
                    self.report.held_too_long += held_ns > HELD_MAX_NS
                    longest = max(self.report.longest_hold_after_silence_ms, held_ns / 1e6)
                    self.report.longest_hold_after_silence_ms = round(longest, 1)
                down_ns = 0
        self.report.held_too_long += bool(down_ns)


def run(seed: int, actions: int) -> Report:
    """Tells the story of `seed` with so many actions (at most 61,440). Returns what was found."""
    if not 0 < actions <= ACTIONS_MAX:
        raise ValueError(f"actions must be in 1..{ACTIONS_MAX}: each has a pixel of its own, got {actions}")
    with tempfile.TemporaryDirectory() as name, XServer(WIDTH, HEIGHT) as server:
        folder = Path(name)
        with Recorder(server.display, folder / "events.jsonl") as recorder:
            story = Story(seed, actions, folder, server)
            asyncio.run(story.run())
            return story.judge(recorder.stop())


if __name__ == "__main__":
    raise SystemExit(tell("tests.faults.sessions", __doc__, run, "actions", 20_000, sys.argv[1:]))
