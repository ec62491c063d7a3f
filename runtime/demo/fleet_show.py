"""Two cars, one desktop: the first is driven off in the middle of a task, the second finishes it.

    fleet's server ◄── a submitter               Chromium (a page) on Xvfb ◄── a witness of every input event
      ▲        ▲                                        ▲
     car-1   car-2   (each: bridge, gate word, daemon) ─┴─ idlehands desktop

Everything is started as a person would start it. The page's own reward says whether the task was done; the desktop's
signed log, and the witness, say whether every action happened once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.sources.cues import give_cue
from runtime.config.config import Config, Daemon, Desktop, Fleet, Worker
from runtime.demo.drive import RETURN_CUE, write_trace
from runtime.demo.play import RAISED_TIMER_S
from runtime.demo.show import BUNDLES, HEIGHT, POLICY, TRACE, WIDTH
from runtime.desktop.log import LOG_FILE, read_log, verify
from runtime.evaluation.chromium import Chromium
from runtime.evaluation.miniwob import MiniwobDriver, is_success, page_path, task_lists
from runtime.evaluation.recorder import compare_presses
from runtime.evaluation.stage import Stage, StageFailed
from runtime.evaluation.watch import Watch, following
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.server import FleetServer
from runtime.fleet.store import NatsJobStore
from runtime.jobs.job_file import parse_jobs
from runtime.jobs.life import Job, JobEvent, JobState
from runtime.wire.tables import Outcome

CARS = ("car-1", "car-2")
PLAY_S = 60.0
TRIES = 4


@dataclass(frozen=True)
class FleetBill:
    """What is played: the page, its seed, who acts, and where everything is kept."""

    task: str
    seed: str
    agent: str
    folder: Path
    say: Callable[[str], None] = lambda text: None


async def show_fleet(bill: FleetBill) -> dict[str, Any]:
    """Plays it and returns the report, which is also at fleet.json in the folder."""
    page_path(bill.task)
    shutil.rmtree(bill.folder, ignore_errors=True)
    began_s = time.monotonic()
    server = FleetServer(bill.folder / "nats")
    server.start()
    connection = Connection(FleetAddress(server.url, name="submitter"))
    watch = Watch()
    try:
        await connection.open()
        await connection.set_up()
        async with (
            Stage(bill.folder, _config(bill.folder, "desk", ""), WIDTH, HEIGHT) as desk,
            _cars(bill, server.url) as cars,
        ):
            bill.say("one desktop, two parked cars, one fleet")
            for car in cars.values():
                car.pair()
                car.install_models(BUNDLES)
            await desk.start_desktop()
            for name, car in cars.items():
                await _park(bill, name, car)
            store = NatsJobStore(connection)
            async with contextlib.AsyncExitStack() as followed:
                for car in cars.values():
                    await followed.enter_async_context(following(car.config, watch))
                report = await _play(bill, desk, cars, watch, store)
                await asyncio.sleep(0.2)  # the last words of both daemons
    finally:
        await connection.close()
        server.stop()
    report |= _what_the_desktop_says(bill.folder / "desktop", desk, watch, report["job"])
    report["seconds"] = round(time.monotonic() - began_s, 1)
    (bill.folder / "fleet.json").write_text(json.dumps(report, indent=2))
    return report


@contextlib.asynccontextmanager
async def _cars(bill: FleetBill, server: str) -> AsyncIterator[dict[str, Stage]]:
    """The stages of the cars: of each only its bridge and its daemon are ever started."""
    cars = {name: Stage(bill.folder / name, _config(bill.folder, name, server), WIDTH, HEIGHT) for name in CARS}
    try:
        yield cars
    finally:
        for car in cars.values():
            await car.stop_actors()


async def _park(bill: FleetBill, name: str, car: Stage) -> None:
    await car.start_daemon()
    trace = car.folder / "drive.jsonl"
    write_trace(TRACE, trace, TRIES)
    source = f"trace:{trace}?cues={car.folder / 'run' / 'cues'}&end=hold"
    await car.start_bridge(source, POLICY, car.folder / "bridge")
    bill.say(f"{name} is parked and plugged in")


async def _play(
    bill: FleetBill, desk: Stage, cars: dict[str, Stage], watch: Watch, store: NatsJobStore
) -> dict[str, Any]:
    browser = await Chromium.start(desk.x.display, WIDTH, HEIGHT)
    try:
        driver = MiniwobDriver(browser)
        await driver.open(bill.task)
        drives: Counter[str] = Counter()
        for number in range(TRIES):
            started = await driver.start(f"{bill.seed}-{number}", max_time_s=RAISED_TIMER_S)
            fields = {
                "desktop": desk.desktop_url,
                "instruction": started.utterance,
                "agent": bill.agent,
                "idempotency_key": f"{bill.task}/{number}/{time.time_ns()}",
            }
            (spec,) = parse_jobs(fields, where="demo-fleet")
            watch.acted.clear()
            job, _ = await store.submit(spec)
            bill.say(f"submitted: {started.utterance}")
            first = await _owner(store, job)
            bill.say(f"{first} has it")
            await asyncio.wait_for(watch.acted.wait(), PLAY_S)
            drives[first] += 1
            give_cue(cars[first].folder / "run" / "cues", f"{RETURN_CUE}_{drives[first]}")
            bill.say(f"{first} is driven off")
            finish = await driver.finished()
            ended = await _over(store, job)
            if ended.claims > 1 or number == TRIES - 1:
                break  # else the job was over before the gate had closed: once more
        history = await store.history(job)
    finally:
        await browser.close()
    owners = [event.owner for event in history if event.kind == "claimed"]
    bill.say(f"{owners[-1]} has finished it")
    return {
        "task": bill.task,
        "job": job,
        "instruction": started.utterance,
        "raw_reward": finish.raw_reward,
        "success": is_success(bill.task, finish.raw_reward, frozenset(task_lists()["graded"])),
        "state": ended.state.value,
        "owners": owners,
        "owner_epochs": [event.owner_epoch for event in history if event.kind == "claimed"],
        "handover_ms": _handover_ms(history),
        "moved": len(set(owners)) > 1,
    }


def _handover_ms(history: list[JobEvent]) -> float | None:
    """Returns the time from the first car's release to the other's claim, by the fleet's clock."""
    released = next((event for event in history if event.kind == "released"), None)
    if released is None:
        return None
    claims = [event.at_ns for event in history if event.kind == "claimed" and event.owner != released.owner]
    return round((claims[0] - released.at_ns) / 1e6, 1) if claims else None


async def _owner(store: NatsJobStore, job: str) -> str:
    known = await _until(store, job, lambda known: known.state is JobState.claimed)
    return known.owner


async def _over(store: NatsJobStore, job: str) -> Job:
    """The page has its reward; an agent that has not said `done` by itself soon is told that the job is over."""
    try:
        return await _until(store, job, lambda known: known.state.is_over, 2.0)
    except StageFailed:
        await store.cancel(job, "the page ended the episode")
        return await store.get(job)


async def _until(store: NatsJobStore, job: str, is_so: Callable[[Job], bool], at_most_s: float = PLAY_S) -> Job:
    give_up_s = time.monotonic() + at_most_s
    while not is_so(known := await store.get(job)):
        if time.monotonic() > give_up_s:
            raise StageFailed(f"job {job} is {known.state.value} under {known.owner or 'nobody'} after {at_most_s:g} s")
        await asyncio.sleep(0.01)
    return known


def _what_the_desktop_says(folder: Path, desk: Stage, watch: Watch, job: str) -> dict[str, Any]:
    """Counts the applied actions of the job in the desktop's signed log, and all presses that the witness saw."""
    verify(folder / LOG_FILE)
    actions = [one for one in read_log(folder / LOG_FILE) if one.get("event") == "action" and one.get("job") == job]
    applied = [one for one in actions if one.get("outcome") in (int(Outcome.applied), Outcome.applied.name)]
    times = Counter(one["seq"] for one in applied)
    witnessed = compare_presses(desk.recorded, watch.asked, watch.unheard)
    return {
        "actions_in_log": len(applied),
        "actions_doubled": sum(count - 1 for count in times.values()) + witnessed.doubled,
        "epochs_in_log": sorted({one["owner_epoch"] for one in applied}),
    }


def _config(folder: Path, name: str, server: str) -> Config:
    """The settings of one machine of the play; all share the one desktop's folder."""
    for part in ("run", "state", "bridge"):
        (folder / name / part).mkdir(parents=True, mode=0o700, exist_ok=True)
    (folder / "desktop").mkdir(mode=0o700, exist_ok=True)
    return Config(
        daemon=Daemon(state_folder=str(folder / name / "state"), runtime_folder=str(folder / name / "run")),
        worker=Worker(),
        desktop=Desktop(state_folder=str(folder / "desktop")),
        fleet=Fleet(server=server, name=name) if server else Fleet(),
    )
