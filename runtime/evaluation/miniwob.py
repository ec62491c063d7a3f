"""Episodes of MiniWoB++ in a live Chromium: reset a page by seed, tell its instruction, hear of its reward.

    open(task) ─► start(seed) ─► [the agent works the window] ─► finished() -> Finish(raw_reward, elapsed_s)

The page's instruction area, reward display, click dot and end cover are hidden, so that an agent that sees the window's
pixels sees the task alone. Times are the page's own clock: from the first frame that the display shows to the reward.
MiniWoB++: Liu et al., "Reinforcement learning on web interfaces using workflow-guided exploration", ICLR 2018.
"""

from __future__ import annotations

import asyncio
import base64
import csv
import importlib.util
import json
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import RuntimeFault
from runtime.evaluation.chromium import COMMAND_TIMEOUT_S, Chromium, ChromiumFailed, page_url
from runtime.evaluation.shown import looking_at

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHOWN_S = 0.5  # the most that is waited for a page to show
GRADED_SUCCESS = 0.8  # for tasks whose reward is a distance
_BINDING = "idlehandsEpisode"
_HIDE = """
  #query, #reward-display, #click-canvas { visibility: hidden !important; }
  #sync-task-cover { background: white !important; color: white !important; }
"""
_PREPARE = f"""(() => {{
  const style = document.createElement('style');
  style.textContent = {json.dumps(_HIDE)};
  document.head.appendChild(style);
  const end = core.endEpisode;
  core.endEpisode = function (...given) {{
    const running = core.EP_TIMER !== null;
    end.apply(core, given);
    const told = {{raw: WOB_RAW_REWARD_GLOBAL, at: performance.now(), reason: WOB_REWARD_REASON}};
    if (running) {_BINDING}(JSON.stringify(told));
  }};
  window.idlehandsMaxTime = core.EPISODE_MAX_TIME;
  if (core.cover_div) core.cover_div.onclick = null;  // a click on the end cover must not start an episode
}})()"""
_START = """(async () => {{
  core.EPISODE_MAX_TIME = {max_time};
  Math.seedrandom({seed});
  core.startEpisodeReal();
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const told = core.getUtterance();
  const utterance = typeof told === 'string' ? told : told.utterance;
  return {{utterance, limit: core.EPISODE_MAX_TIME}};
}})()"""


class PageMissing(RuntimeFault):
    """The MiniWoB++ pages are not installed, or there is no page of that name."""

    next_step = "install them with 'pip install --no-deps miniwob==1.1.0' (make demo does)"


@dataclass(frozen=True)
class Finish:
    """How an episode ended. `elapsed_s` runs from the first frame that the display shows to the reward."""

    raw_reward: float
    elapsed_s: float
    reason: str | None


@dataclass(frozen=True)
class Started:
    task: str
    seed: str
    utterance: str
    limit_s: float


def pages_folder() -> Path:
    """Returns the folder of the package's HTML pages, without importing the package (it pulls in gymnasium)."""
    spec = importlib.util.find_spec("miniwob")
    if spec is None or not spec.submodule_search_locations:
        raise PageMissing("the package 'miniwob' is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "html" / "miniwob"


def page_path(task: str) -> Path:
    """Returns the page of `task`; PageMissing if the package has none of that name."""
    path = pages_folder() / f"{task}.html"
    if not path.is_file():
        raise PageMissing(f"MiniWoB++ has no page {task!r}", next_step="runtime/evaluation/tasks.toml has the names")
    return path


def task_lists() -> dict[str, list[str]]:
    """Returns {"train": [...], "unseen": [...], "graded": [...]}: which pages may be used for what."""
    lists: dict[str, list[str]] = tomllib.loads((Path(__file__).parent / "tasks.toml").read_text())
    return lists


def human_medians_s() -> dict[str, float]:
    """Returns the measured median episode time of people, by task (public demonstrations; see human_times.csv)."""
    with (Path(__file__).parent / "human_times.csv").open() as file:
        return {row["task"]: float(row["human_median_s"]) for row in csv.DictReader(file) if row["human_median_s"]}


def is_success(task: str, raw_reward: float, graded: Iterable[str]) -> bool:
    return raw_reward >= (GRADED_SUCCESS if task in graded else 1.0)


def human_multiple(episode_s: dict[str, list[float | None]], human_s: dict[str, float]) -> float | None:
    """Returns the median over tasks of (human median / our median over all episodes, None = failed = infinite).

    None when no task has a human time. A task whose median episode failed counts as 0.
    """
    multiples = []
    for task, times in episode_s.items():
        if task in human_s and times:
            ours = statistics.median(float("inf") if time is None else time for time in times)
            multiples.append(human_s[task] / ours)
    return statistics.median(multiples) if multiples else None


class MiniwobDriver:
    """Drives one Chromium through episodes. One episode at a time."""

    def __init__(self, browser: Chromium) -> None:
        self._browser = browser
        self._task = ""
        self._started_at_ms = 0.0
        self._finish: asyncio.Future[Finish] | None = None
        self._loaded: asyncio.Event = asyncio.Event()
        browser.on_event = self._heard

    async def open(self, task: str) -> None:
        """Loads the page of `task`; PageMissing if the package has none of that name."""
        await self.open_url(task, page_url(page_path(task)))

    async def open_url(self, task: str, url: str) -> None:
        """Loads a page that speaks as those of the package do (`core`), and calls it `task`."""
        if not self._task:
            await self._browser.command("Runtime.addBinding", name=_BINDING)
        await self._navigate(url)
        await self._browser.evaluate(_PREPARE)
        self._task = task

    async def start(self, seed: str, max_time_s: float | None = None) -> Started:
        """Starts the episode of `seed` and returns once the display shows it; `max_time_s` raises its own limit."""
        self._finish = asyncio.get_running_loop().create_future()
        max_time = "window.idlehandsMaxTime" if max_time_s is None else str(int(max_time_s * 1000))
        with looking_at(self._browser.display) as screen:
            before = await screen.at_rest(SHOWN_S)
            told: dict[str, Any] = await self._browser.evaluate(_START.format(max_time=max_time, seed=json.dumps(seed)))
            await screen.changed(before, SHOWN_S)  # what the browser has painted is not there at once
            self._started_at_ms = await self._browser.evaluate("performance.now()")
        return Started(self._task, seed, told["utterance"], told["limit"] / 1000)

    async def finished(self) -> Finish:
        """Waits for the page's reward. The page ends every episode itself when its time is over."""
        if self._finish is None:
            raise RuntimeError("finished() before start()")
        return await self._finish

    async def give_up(self) -> None:
        """Ends a running episode without a reward, as its time limit would."""
        await self._browser.evaluate("core.EP_TIMER === null || core.endEpisode(0)")

    async def picture(self) -> bytes:
        """Returns what the page shows below its end cover, as PNG. For when no agent looks at it any more."""
        await self._browser.evaluate("core.cover_div.style.visibility = 'hidden'")
        shot = await self._browser.command("Page.captureScreenshot", format="png")
        await self._browser.evaluate("core.cover_div.style.visibility = ''")
        return base64.b64decode(shot["data"])

    async def blank(self) -> None:
        """Leaves the page, so that a late action of an agent meets nothing."""
        await self._navigate("about:blank")

    async def _navigate(self, url: str) -> None:
        self._loaded.clear()
        await self._browser.command("Page.navigate", url=url)
        try:
            await asyncio.wait_for(self._loaded.wait(), COMMAND_TIMEOUT_S)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise ChromiumFailed(f"Chromium did not load {url} within {COMMAND_TIMEOUT_S:.0f} s") from error

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.bindingCalled" and params["name"] == _BINDING:
            told = json.loads(params["payload"])
            if self._finish is not None and not self._finish.done():
                elapsed_s = (told["at"] - self._started_at_ms) / 1000
                self._finish.set_result(Finish(float(told["raw"]), elapsed_s, told.get("reason")))
