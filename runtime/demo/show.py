"""The demo from curtain to curtain: sets the stage, plays, takes the report and the pictures, and clears the stage."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.journal import read_journal
from firmware_bridge.sources.cues import give_cue
from runtime.daemon.client import Client
from runtime.daemon.control import LoadedModel
from runtime.demo.drive import RETURN_CUE, write_trace
from runtime.demo.live import LiveView
from runtime.demo.play import RESUME_TRIES, Play, yields_of
from runtime.demo.report import Recording, summary
from runtime.evaluation.chromium import Chromium, find_chromium
from runtime.evaluation.miniwob import MiniwobDriver, human_medians_s, page_path, task_lists
from runtime.evaluation.recorder import compare_presses
from runtime.evaluation.sheet import draw_sheet
from runtime.evaluation.stage import Stage, fresh_config
from runtime.evaluation.watch import Watch, following

WIDTH, HEIGHT = 640, 480
BUNDLES = Path(__file__).parents[2] / "models" / "bundles"
TRACE = Path(__file__).parent / "drive.jsonl"
POLICY = Path(__file__).parent / "policy.toml"


@dataclass(frozen=True)
class Playbill:
    """What is played: pages, episodes of each, the page that the driver interrupts, and who acts."""

    tasks: tuple[str, ...]
    episodes: int
    resume_task: str
    agent: str
    model: str
    seed: str
    folder: Path
    quiet: bool


async def show(bill: Playbill) -> dict[str, Any]:
    """Plays the demo and returns its report, which is also at report.json beside sheet.png in the folder."""
    began_s = time.monotonic()
    find_chromium()
    for task in (*bill.tasks, bill.resume_task):
        page_path(task)
    config = fresh_config(bill.folder)
    watch = Watch()
    async with Stage(bill.folder, config, WIDTH, HEIGHT) as stage:
        with LiveView(watch, bill.quiet) as view:
            cue = await _set_stage(stage, view)
            async with following(config, watch), await Client.connect(config.daemon.control_path) as client:
                browser = await Chromium.start(stage.x.display, WIDTH, HEIGHT)
                try:
                    play = Play(
                        client=client,
                        driver=MiniwobDriver(browser),
                        watch=watch,
                        desktop_url=stage.desktop_url,
                        agent=bill.agent,
                        model=bill.model,
                        graded=frozenset(task_lists()["graded"]),
                        on_progress=view.update,
                    )
                    await _play(bill, play, view, cue)
                    models = (await client.status()).models
                finally:
                    await browser.close()
    recording = play.recording
    recording.seconds = time.monotonic() - began_s
    recording.yields = yields_of(watch, _closings(stage), _releases(stage))
    recording.double_actions = compare_presses(stage.recorded, watch.asked, watch.unheard).doubled
    return _keep(bill, recording, play, models)


async def _set_stage(stage: Stage, view: LiveView) -> Iterator[Callable[[], None]]:
    """Starts every process; returns one way to call the driver back for each time that the trace allows it."""
    folder = stage.folder
    view.act("a desktop, its connector and a witness of every input event")
    stage.pair()
    stage.install_models(BUNDLES)
    await stage.start_desktop()
    view.act("the car is driven; the daemon waits: nothing runs while the gate is closed")
    await stage.start_daemon()
    cues, trace = folder / "run" / "cues", folder / "drive.jsonl"
    write_trace(TRACE, trace, RESUME_TRIES)
    await stage.start_bridge(f"trace:{trace}?cues={cues}&end=hold", POLICY, folder / "bridge")
    return (functools.partial(give_cue, cues, f"{RETURN_CUE}_{number}") for number in count(1))


async def _play(bill: Playbill, play: Play, view: LiveView, cue: Iterator[Callable[[], None]]) -> None:
    half = len(bill.tasks) // 2
    for number, task in enumerate(bill.tasks):
        if number == half:
            view.act(f"{bill.resume_task}: the driver comes back in the middle of a job")
            seeds = [f"{bill.seed}-resume-{attempt}" for attempt in range(RESUME_TRIES)]
            await play.run_resumed(bill.resume_task, seeds, lambda: next(cue)())
        view.act(f"{task}: {bill.episodes} episodes")
        await play.run_task(task, [f"{bill.seed}-{episode}" for episode in range(bill.episodes)])


def _closings(stage: Stage) -> list[int]:
    """Returns when the gate word closed (CLOCK_BOOTTIME), by the bridge's own journal."""
    settings = BridgeSettings(state_dir=str(stage.folder / "bridge"))
    closings, was_open = [], False
    for record in read_journal(settings.journal_path):
        is_open = record.get("state") == "open"
        if was_open and not is_open:
            closings.append(int(record["boot_ns"]))
        was_open = is_open
    return closings


def _releases(stage: Stage) -> list[int]:
    """Returns when the desktop had released every key and button, by its own word."""
    return [int(event["at_ns"]) for event in stage.desktop_events if event.get("event") == "released"]


def _keep(bill: Playbill, recording: Recording, play: Play, models: tuple[LoadedModel, ...]) -> dict[str, Any]:
    report = summary(recording, human_medians_s())
    report["models"] = [msgspec.structs.asdict(model) for model in models]
    report["sheet"] = str(bill.folder / "sheet.png")
    draw_sheet(play.shots, bill.folder / "sheet.png")
    (bill.folder / "report.json").write_text(json.dumps(report, indent=2))
    return report
