"""The demo's play: episodes one after the other, the driver who comes back in the middle of one, and what was seen.

Half-way, in an episode of several actions, the trace gets its cue after the first applied action: the gate closes under
the job, the keys are released, the job goes back with its checkpoint; the car parks again and the job is finished from
where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.daemon.client import Client, DaemonRefused
from runtime.daemon.control import Event
from runtime.demo.report import Action, Episode, Recording, Yield
from runtime.demo.sheet import Shot
from runtime.evaluation.miniwob import MiniwobDriver, Started, is_success
from runtime.jobs.spec import parse_jobs
from runtime.wire.tables import Outcome

RAISED_TIMER_S = 60.0
RESUME_TRIES = 4
GRACE_AFTER_PAGE_S = 5.0


@dataclass
class Watch:
    """What the daemon says, kept by job. `gate` is its state and reasons."""

    actions: dict[str, list[Action]] = field(default_factory=dict)
    in_order: list[Action] = field(default_factory=list)
    over: dict[str, asyncio.Event] = field(default_factory=dict)
    yields: dict[str, dict[str, Any]] = field(default_factory=dict)
    worker_ended_ns: list[int] = field(default_factory=list)
    gate: tuple[str, tuple[str, ...]] = ("absent", ())
    jobs_over: int = 0
    acted: asyncio.Event = field(default_factory=asyncio.Event)
    _unheard: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """The presses of every applied action, in order."""
        return [press for action in self.in_order if action.outcome == Outcome.applied for press in action.presses]

    @property
    def unheard(self) -> list[str]:
        """The presses of actions of which nobody heard whether they happened."""
        unknown = [press for action in self.in_order if action.outcome == Outcome.unknown for press in action.presses]
        return unknown + self._unheard

    def hear(self, event: Event) -> None:
        detail = json.loads(event.detail)
        if event.kind == "gate":
            self.gate = (detail["state"], tuple(detail["reasons"]))
        elif event.kind == "action":
            times = {key: detail[key] for key in detail if key.endswith("_us")}
            action = Action(
                event.job,
                detail["seq"],
                detail["action"],
                detail["x"],
                detail["y"],
                detail["outcome"],
                tuple(detail["presses"]),
                times,
            )
            self.in_order.append(action)
            self.actions.setdefault(event.job, []).append(action)
            if detail["outcome"] == Outcome.applied:
                self.acted.set()
        elif event.kind == "run_ended":
            self._unheard += detail["unheard"]
        elif event.kind == "yielded":
            self.yields[event.job] = {**detail, "at_ns": event.at_ns}
        elif event.kind == "worker_ended":
            self.worker_ended_ns.append(event.at_ns)
        if event.over:
            self.jobs_over += 1
            self.over.setdefault(event.job, asyncio.Event()).set()

    async def until_over(self, job: str) -> None:
        await self.over.setdefault(job, asyncio.Event()).wait()


@dataclass
class Play:
    """Runs the episodes over one client connection; `model` empty means the agent's own."""

    client: Client
    driver: MiniwobDriver
    watch: Watch
    desktop_url: str
    agent: str
    model: str
    graded: frozenset[str]
    on_progress: Callable[[Recording], None] = lambda recording: None
    recording: Recording = field(init=False)
    shots: list[Shot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recording = Recording(self.agent)

    async def run_task(self, task: str, seeds: list[str]) -> None:
        """Runs the episodes of one page; one that the gate cut is run again and counted as interrupted."""
        await self.driver.open(task)
        for number, seed in enumerate(seeds):
            while (await self._episode(task, seed, keep_shot=number == 0)).interrupted:
                pass

    async def run_resumed(self, task: str, seeds: list[str], driver_returns: Callable[[], None]) -> bool:
        """Runs an episode that the driver cuts in two; True when it was cut and then finished. Each seed is one try."""
        await self.driver.open(task)
        for seed in seeds[:RESUME_TRIES]:
            episode = await self._episode(task, seed, keep_shot=True, driver_returns=driver_returns)
            if episode.resumed:
                return True
            # The episode was over before the gate closed: the driver came back between two jobs. Wait until he left.
            await self.until_open()
        return False

    async def until_open(self) -> None:
        while self.watch.gate[0] != "open":
            await asyncio.sleep(0.02)

    async def _episode(
        self, task: str, seed: str, *, keep_shot: bool, driver_returns: Callable[[], None] | None = None
    ) -> Episode:
        await self.until_open()
        cut = driver_returns is not None
        started = await self.driver.start(seed, max_time_s=RAISED_TIMER_S if cut else None)
        job = await self._submit(started)
        if driver_returns is not None:
            self.recording.raised_timer_s = RAISED_TIMER_S
            asyncio.get_running_loop().create_task(self._after_first_action(driver_returns))
        finish = await self.driver.finished()
        await self._see_job_over(job)
        picture = await self.driver.picture() if keep_shot else None
        actions = self.watch.actions.get(job, [])
        was_cut = job in self.watch.yields
        episode = Episode(
            task=task,
            seed=seed,
            instruction=started.utterance,
            job=job,
            raw_reward=finish.raw_reward,
            success=is_success(task, finish.raw_reward, self.graded),
            elapsed_s=finish.elapsed_s,
            interrupted=was_cut and not cut,
            resumed=was_cut and cut,
            actions=actions,
        )
        self.recording.episodes.append(episode)
        self.recording.jobs_over = self.watch.jobs_over
        if picture is not None:
            marks = [(action.x, action.y, action.text) for action in actions if action.x >= 0]
            title = f"{task} {finish.elapsed_s * 1000:.0f} ms"
            self.shots.append(Shot(title, started.utterance, episode.success, picture, marks))
        self.on_progress(self.recording)
        return episode

    async def _submit(self, started: Started) -> str:
        self.watch.acted.clear()
        key = f"{started.task}/{started.seed}/{time.monotonic_ns()}"
        fields = {
            "desktop": self.desktop_url,
            "instruction": started.utterance,
            "agent": self.agent,
            "model": self.model,
            "idempotency_key": key,
            "labels": {"task": started.task},
        }
        (spec,) = parse_jobs(fields, where="demo")
        submitted = await self.client.submit(spec)
        self.recording.jobs_submitted += 1
        return submitted.job

    async def _after_first_action(self, driver_returns: Callable[[], None]) -> None:
        await self.watch.acted.wait()
        driver_returns()

    async def _see_job_over(self, job: str) -> None:
        """The page has its reward: an agent that has not said `done` by itself soon is told that the job is over."""
        try:
            await asyncio.wait_for(self.watch.until_over(job), 0.05)
        except (TimeoutError, asyncio.TimeoutError):
            with contextlib.suppress(DaemonRefused):  # it ended by itself in this very moment
                await self.client.cancel(job, "the page ended the episode")
            await asyncio.wait_for(self.watch.until_over(job), GRACE_AFTER_PAGE_S + RAISED_TIMER_S)


def yields_of(watch: Watch, closed_ns: list[int], released_ns: list[int]) -> list[Yield]:
    """Returns the stages of every closing under a job, ms from the closing of the gate word.

    `closed_ns` are the closings in the bridge's journal, `released_ns` the desktop's own word of having released all.
    """
    found = []
    for detail in watch.yields.values():
        before = [at for at in closed_ns if at <= detail["handed_back_ns"]]
        if not before:
            continue
        closed = before[-1]
        stages = Yield(
            kernels_ms=(detail["stopped_ns"] - closed) / 1e6, job_ms=(detail["handed_back_ns"] - closed) / 1e6
        )
        released = [at for at in released_ns if at >= closed]
        if released:
            stages.keys_ms = (released[0] - closed) / 1e6
        ended = [at for at in watch.worker_ended_ns if at >= closed]
        if ended:
            stages.memory_ms = (ended[0] - closed) / 1e6
        found.append(stages)
    return found
