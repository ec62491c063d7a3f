"""A whole car under fire: daemon, worker and connector are killed, the link does not mean well, the driver comes back.

    daemon ── worker ─► proxy: delays, reorders, doubles, cuts, goes deaf ─► connector ─► Xvfb
       └─ kill -9 ─┴──────────────── kill -9 ──────────────────────────────────┘
    witness: a recorder of every input event

A job is a screen of boxes that answer nothing: the agent clicks each of them, once, in reading order, whoever it has to
be that goes on. Each press that was recorded belongs to the job whose screen was shown then. One seed is one story, up
to the scheduler's part in it.

    python -m tests.faults.cars --seed 7 --jobs 20
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from kernels.gate.word import boottime_ns
from runtime.daemon.control import JobView
from runtime.errors import RuntimeFault
from runtime.evaluation.recorder import Recorded, Recorder
from runtime.evaluation.xserver import XServer
from tests.daemon.car import Car
from tests.desktop.x_client import XClient
from tests.faults.connector import SOCKET, ConnectorProcess
from tests.faults.proxy import Counts, Proxy
from tests.faults.telling import tell

WIDTH, HEIGHT = 520, 160
COLUMNS, ROWS = 8, 3
BOXES = COLUMNS * ROWS
CALM_CLICKS = (1, 12)  # between two blows: what was struck has to come up again and get somewhere
JOB_S = 600.0  # a busy machine takes seconds to start a daemon


@dataclass
class Report:
    """What was found. Everything from `doubled` to `unfinished` must be 0."""

    seed: int
    jobs: int = 0
    clicks: int = 0
    blows: dict[str, int] = field(default_factory=dict)
    links: Counts = field(default_factory=Counts)
    doubled: int = 0
    missed: int = 0
    elsewhere: int = 0
    miscounted: int = 0  # jobs whose own count of their actions is another than the recorder's
    unfinished: int = 0

    def is_clean(self) -> bool:
        """Returns whether everything that must be 0 is."""
        return not (self.doubled or self.missed or self.elsewhere or self.miscounted or self.unfinished)


class Story:
    """One run."""

    def __init__(self, seed: int, folder: Path, display: str) -> None:
        self.luck, self.report = random.Random(seed), Report(seed)
        self.client = XClient(display)
        self.car = Car(folder, **{"daemon.max_attempts": 100, "daemon.lease_s": 1})
        self.connector = ConnectorProcess(display, folder / "desk")
        self.proxy = Proxy(f"{folder}/desk.socket", str(folder / "desk" / SOCKET), self.luck, self.report.links)
        self.clicked = 0
        self.windows: list[tuple[int, int, int]] = []  # from when to when a job's screen was shown, its own count
        self.blows: dict[str, Callable[[], Awaitable[None]]] = {
            "worker": self.kill_worker,
            "daemon": self.kill_daemon,
            "connector": self.connector.again,
            "cut": self.cut,
            "deaf": self.go_deaf,
            "driver": self.driver,
        }

    async def run(self, jobs: int) -> None:
        await self.proxy.start()
        await self.connector.start()
        try:
            await self.car.start()
            self.car.gate.open()
            for _ in range(jobs):
                await self.job()
        finally:
            self.car.end()
            await self.connector.kill()
            await self.proxy.close()
            self.client.close()

    async def job(self) -> None:
        self.paint()
        began_ns = boottime_ns()
        job = await self.car.submit()
        over = asyncio.Event()
        striking = asyncio.ensure_future(self.strike(over))
        try:
            ended = await asyncio.wait_for(self.ended(job), JOB_S)
        except asyncio.TimeoutError:
            self.report.unfinished += 1
            return
        finally:
            over.set()
            await striking
        self.windows.append((began_ns, boottime_ns(), ended.actions))
        self.report.jobs += 1
        self.report.unfinished += "nothing on the screen answered" not in ended.answer + ended.reason

    async def strike(self, over: asyncio.Event) -> None:
        """Deals one blow after another, and puts right what it has struck, until the job is over."""
        while True:
            after = self.clicks() + self.luck.randint(*CALM_CLICKS)
            moment_s = self.luck.uniform(0, 0.05)
            while self.clicks() < after and not over.is_set():
                await asyncio.sleep(0.01)
            await asyncio.sleep(moment_s)
            if over.is_set():
                return
            name = self.luck.choice(list(self.blows))
            self.report.blows[name] = self.report.blows.get(name, 0) + 1
            await self.blows[name]()

    def clicks(self) -> int:
        """Returns how often the program on the screen was clicked so far."""
        self.clicked += sum(kind == "press" for kind, *_ in self.client.events())
        return self.clicked

    async def ended(self, job: str) -> JobView:
        """Returns the job once it is over, asking whichever daemon there is."""
        while True:
            with contextlib.suppress(RuntimeFault, OSError, EOFError):  # it is down, or went down while it was asked
                seen = await self.car.job(job)
                if seen.state not in ("queued", "claimed"):
                    return seen
            await asyncio.sleep(0.05)

    # What befalls it.

    async def kill_worker(self) -> None:
        self.car.kill_worker()

    async def kill_daemon(self) -> None:
        self.car.kill()
        await self.car.start()

    async def cut(self) -> None:
        self.proxy.cut()

    async def go_deaf(self) -> None:
        self.proxy.go_deaf(1.3)
        await asyncio.sleep(1.4)

    async def driver(self) -> None:
        self.car.gate.close("moving")
        await asyncio.sleep(self.luck.uniform(0.05, 0.5))
        self.car.gate.open()

    # What is shown, and what was seen of it.

    def paint(self) -> None:
        self.client.paint(0, 0, WIDTH, HEIGHT, (230, 230, 230))
        for number in range(BOXES):
            x, y = corner(number)
            self.client.paint(x, y, 40, 20, (40, 40, 40))
            self.client.paint(x + 2, y + 2, 36, 16, (250, 250, 250))

    def judge(self, recorded: list[Recorded]) -> Report:
        """Compares what should have been clicked with what the recorder saw."""
        report = self.report
        presses = [event for event in recorded if event.kind == "button_press"]
        report.clicks = len(presses)
        for began_ns, ended_ns, counted in self.windows:
            here = Counter(box_at(one.x, one.y) for one in presses if began_ns <= one.t_ns < ended_ns)
            report.elsewhere += here.pop(None, 0)
            report.doubled += sum(times - 1 for times in here.values())
            report.missed += BOXES - len(here)
            report.miscounted += counted != sum(here.values())
        inside = sum(any(began <= one.t_ns < ended for began, ended, _ in self.windows) for one in presses)
        report.elsewhere += len(presses) - inside  # a click after its job had ended
        return report


def corner(number: int) -> tuple[int, int]:
    """Returns where box `number` stands."""
    return 15 + number % COLUMNS * 62, 15 + number // COLUMNS * 46


def box_at(x: int, y: int) -> int | None:
    """Returns the box at a point, None for the ground between them."""
    for number in range(BOXES):
        left, top = corner(number)
        if left <= x < left + 40 and top <= y < top + 20:
            return number
    return None


def run(seed: int, jobs: int) -> Report:
    """Tells the story of `seed` with so many jobs. Returns what was found."""
    with tempfile.TemporaryDirectory() as name, XServer(WIDTH, HEIGHT) as server:
        folder = Path(name)
        with Recorder(server.display, folder / "events.jsonl") as recorder:
            story = Story(seed, folder, server.display)
            asyncio.run(story.run(jobs))
            return story.judge(recorder.stop())


if __name__ == "__main__":
    raise SystemExit(tell("tests.faults.cars", __doc__, run, "jobs", 20, sys.argv[1:]))
