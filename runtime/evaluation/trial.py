"""Evaluates an agent on pages: one stage a worker, each with an X server, a browser, a car and a daemon of its own.

    tasks ─► workers ─► stage: bridge ─► gate ─► daemon ─► worker ─► connector ─► Chromium ─► episodes, failures

Every episode goes the product's whole way. One that the gate cut is repeated and counted as interrupted. Before the
first, and after every closing of the gate, one more is played that does not count: a new worker loads its models in it.
A browser that hangs while the agent works is the agent's doing (it opened a dialog, say) and that episode has failed;
one that hangs before it has its turn is replaced, and the episode is played.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runtime.daemon.client import Client
from runtime.errors import RuntimeFault
from runtime.evaluation.chromium import Chromium, ChromiumFailed, find_chromium
from runtime.evaluation.miniwob import MiniwobDriver, page_path, task_lists
from runtime.evaluation.player import Episode, Player
from runtime.evaluation.sheet import Shot
from runtime.evaluation.stage import Stage, fresh_config
from runtime.evaluation.watch import Watch, following

WIDTH, HEIGHT = 200, 240  # pixels: a page of the package is 160 × 210, and what is around it is empty
PICTURES_A_TASK = 6
MOST_REPEATS = 20
MOST_HANGS = 3  # of the browser before one episode


class EvaluationFailed(RuntimeFault):
    """An evaluation could not be carried out: a page hung, or the gate never stayed open."""

    next_step = "see the logs in the run's folder; its report has what was carried out"


@dataclass(frozen=True)
class Trial:
    """What is evaluated. `source` and `policy` are the car that carries it: parked, plugged in, its gate open.

    `bundles` is the folder of model bundles that are installed; `bundle` one more, which then is the agent's.
    """

    tasks: tuple[str, ...]
    episodes: int
    seeds: str
    agent: str
    model: str
    bundles: Path
    bundle: Path | None
    source: str
    policy: Path
    folder: Path
    workers: int = 1
    wants_pictures: bool = False
    wording: str = "plain"


@dataclass
class Outcome:
    """Episodes by task in the trial's order, and pictures of failures. `broken`: tasks that were given up, and why."""

    episodes: dict[str, list[Episode]]
    broken: dict[str, EvaluationFailed] = field(default_factory=dict)
    shots: list[Shot] = field(default_factory=list)
    seconds: float = 0.0


def seed_of(trial: Trial, number: int) -> str:
    return f"{trial.seeds}-{number}"


async def run_trial(trial: Trial, on_task: Callable[[str, list[Episode]], None]) -> Outcome:
    """Runs every episode; `on_task` hears of each task that is done. Raises PageMissing before anything is started."""
    find_chromium()
    for task in trial.tasks:
        page_path(task)
    began_s = time.monotonic()
    outcome = Outcome({task: [] for task in trial.tasks})
    waiting = deque(trial.tasks)
    workers = [
        asyncio.create_task(_work(trial, number, waiting, outcome, on_task))
        for number in range(min(trial.workers, len(trial.tasks)))
    ]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    outcome.seconds = time.monotonic() - began_s
    return outcome


async def _work(
    trial: Trial,
    number: int,
    waiting: deque[str],
    outcome: Outcome,
    on_task: Callable[[str, list[Episode]], None],
) -> None:
    """Takes tasks from `waiting` until none is left, on a stage of its own."""
    folder = trial.folder / f"worker-{number}"
    config, watch = fresh_config(folder), Watch()
    async with Stage(folder, config, WIDTH, HEIGHT) as stage:
        stage.pair()
        stage.install_models(chosen_bundles(trial.bundles, trial.bundle, folder))
        await stage.start_desktop()
        await stage.start_daemon()
        await stage.start_bridge(trial.source.format(run=folder / "run"), trial.policy, folder / "bridge")
        async with following(config, watch), await Client.connect(config.daemon.control_path) as client:
            pages = await Pages.start(stage.x.display)
            try:
                player = Player(
                    client=client,
                    driver=pages.driver,
                    watch=watch,
                    desktop_url=stage.desktop_url,
                    agent=trial.agent,
                    model=trial.model,
                    graded=frozenset(task_lists()["graded"]),
                    wording=trial.wording,
                )
                while waiting:
                    task = waiting.popleft()
                    try:
                        await _task(trial, player, pages, task, outcome)
                    except EvaluationFailed as error:
                        outcome.broken[task] = error
                    on_task(task, outcome.episodes[task])
            finally:
                await pages.close()


class Pages:
    """The browser of one stage, which knows whether the page it shows is fit for an episode."""

    def __init__(self, display: str) -> None:
        self._display = display
        self._shown = ""

    @classmethod
    async def start(cls, display: str) -> Pages:
        pages = cls(display)
        await pages._start()
        return pages

    async def _start(self) -> None:
        self._browser = await Chromium.start(self._display, WIDTH, HEIGHT)
        self.driver = MiniwobDriver(self._browser)

    async def show(self, task: str) -> None:
        """Loads the page of `task`, unless it is shown and as good as new."""
        if self._shown != task:
            await self.driver.open(task)
            self._shown = task

    def spoil(self) -> None:
        """Says that what an agent left open on the page would be in the way of the next episode."""
        self._shown = ""

    async def replace(self) -> None:
        """Puts a fresh browser in the place of one that hung."""
        self.spoil()
        await self._browser.close()
        await self._start()

    async def close(self) -> None:
        await self._browser.close()


async def _task(trial: Trial, player: Player, pages: Pages, task: str, outcome: Outcome) -> None:
    """Plays every episode of one task. Raises EvaluationFailed."""
    pictures = 0
    warm_at = -1  # closings of the gate so far, when the models were last known to be loaded

    def is_wanted(episode: Episode) -> bool:
        return trial.wants_pictures and not episode.success and not episode.interrupted and pictures < PICTURES_A_TASK

    for number in range(trial.episodes):
        hangs = 0
        for _ in range(MOST_REPEATS):
            try:
                if player.watch.closings != warm_at:
                    await pages.show(task)
                    await player.play(task, "warm-up")
                    warm_at = player.watch.closings
                await pages.show(task)
                episode, shot = await player.play(task, seed_of(trial, number), wants_shot=is_wanted)
            except ChromiumFailed as error:
                hangs += 1
                if hangs == MOST_HANGS:
                    raise EvaluationFailed(f"{task}, seed {seed_of(trial, number)}: {error}") from error
                await pages.replace()
                player.driver = pages.driver
                continue
            outcome.episodes[task].append(episode)
            if shot is not None:
                pictures += 1
                outcome.shots.append(shot)
            if not episode.success:
                pages.spoil()
            if not episode.interrupted:
                break
        else:
            raise EvaluationFailed(f"{task}: the gate closed in {MOST_REPEATS} tries of one episode")


def chosen_bundles(bundles: Path, bundle: Path | None, folder: Path) -> Path:
    """Returns a folder with the bundles to install: those of the project, and `bundle` in place of its namesake."""
    if bundle is None:
        return bundles
    chosen = folder / "bundles"
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir(parents=True)
    for path in (*bundles.glob("*.ihb"), bundle):
        shutil.copyfile(path, chosen / path.name)
    return chosen
