"""Plays episodes: starts one, submits it as a job, waits for the page's reward, and sees the job over.

page ─ instruction ─► job ─► daemon ─► worker ─► connector ─► the same page ─ reward ─► Episode
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.daemon.client import Client, DaemonRefused
from runtime.evaluation.chromium import ChromiumFailed
from runtime.evaluation.miniwob import Finish, MiniwobDriver, Started, is_success
from runtime.evaluation.sheet import Shot
from runtime.evaluation.watch import Action, Watch
from runtime.evaluation.wording import worded
from runtime.jobs.job_file import parse_jobs

LONGEST_S = 60.0
GRACE_AFTER_PAGE_S = 5.0
GRACE_AFTER_JOB_S = 1.0  # what was done last may still be answered
HUNG = Finish(0.0, LONGEST_S, "the browser hung")


@dataclass
class Episode:
    """One episode. `elapsed_s` is the page's own time to the reward.

    `interrupted`: the gate closed meanwhile and that was not meant, so it says nothing; `resumed`: it was meant.
    """

    task: str
    seed: str
    instruction: str
    job: str
    raw_reward: float
    success: bool
    elapsed_s: float
    interrupted: bool = False
    resumed: bool = False
    actions: list[Action] = field(default_factory=list)


@dataclass
class Player:
    """Runs episodes over one client connection; `model` empty means the agent's own."""

    client: Client
    driver: MiniwobDriver
    watch: Watch
    desktop_url: str
    agent: str
    model: str
    graded: frozenset[str]
    wording: str = "plain"
    submitted: int = 0

    async def until_open(self) -> None:
        while self.watch.gate[0] != "open":
            await asyncio.sleep(0.02)

    async def play(
        self,
        task: str,
        seed: str,
        *,
        max_time_s: float | None = None,
        is_cut: bool = False,
        on_submitted: Callable[[], None] = lambda: None,
        wants_shot: Callable[[Episode], bool] = lambda episode: False,
    ) -> tuple[Episode, Shot | None]:
        """Plays one episode of the open page once the gate is open. `is_cut`: that the gate closes in it is meant.

        `wants_shot` says, once the episode is known, whether a picture of the page as it ended is taken; one that hung
        gives none. Raises ChromiumFailed where the page hangs before the agent has its turn.
        """
        await self.until_open()
        closings = self.watch.closings
        started = await self.driver.start(seed, max_time_s=max_time_s)
        job = await self._submit(started)
        on_submitted()
        try:
            finish = await self._reward(job)
        except ChromiumFailed:
            finish = HUNG
        await self._see_job_over(job)
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
            interrupted=(was_cut or self.watch.closings != closings) and not is_cut,
            resumed=was_cut and is_cut,
            actions=actions,
        )
        if finish is HUNG or not wants_shot(episode):
            return episode, None
        marks = [(action.x, action.y, action.text) for action in actions if action.x >= 0]
        title = f"{task} {finish.elapsed_s * 1000:.0f} ms"
        return episode, Shot(title, started.utterance, episode.success, await self.driver.picture(), marks)

    async def _reward(self, job: str) -> Finish:
        """Waits for the page's reward; an episode whose agent has stopped is not left to run out."""
        rewarded, over = (
            asyncio.ensure_future(self.driver.finished()),
            asyncio.ensure_future(self.watch.until_over(job)),
        )
        try:
            await asyncio.wait((rewarded, over), return_when=asyncio.FIRST_COMPLETED)
            if not rewarded.done():
                await asyncio.wait((rewarded,), timeout=GRACE_AFTER_JOB_S)
            if not rewarded.done():
                await self.driver.give_up()
            return await rewarded
        finally:
            rewarded.cancel()
            over.cancel()

    async def _submit(self, started: Started) -> str:
        self.watch.acted.clear()
        key = f"{started.task}/{started.seed}/{time.monotonic_ns()}"
        fields = {
            "desktop": self.desktop_url,
            "instruction": worded(started.utterance, self.wording, f"{started.task}/{started.seed}"),
            "agent": self.agent,
            "model": self.model,
            "idempotency_key": key,
            "labels": {"task": started.task},
        }
        (spec,) = parse_jobs(fields, where="evaluation")
        submitted = await self.client.submit(spec)
        self.submitted += 1
        return submitted.job

    async def _see_job_over(self, job: str) -> None:
        """The page has its reward: an agent that has not said `done` by itself soon is told that the job is over."""
        try:
            await asyncio.wait_for(self.watch.until_over(job), 0.05)
        except (TimeoutError, asyncio.TimeoutError):
            with contextlib.suppress(DaemonRefused):  # it ended by itself in this very moment
                await self.client.cancel(job, "the page ended the episode")
            await asyncio.wait_for(self.watch.until_over(job), GRACE_AFTER_PAGE_S + LONGEST_S)
