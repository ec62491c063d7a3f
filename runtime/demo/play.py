"""The demo's play: episodes one after the other, the driver who comes back in the middle of one, and what was seen.

Half-way, in an episode of several actions, the trace gets its cue after the first applied action: the gate closes under
the job, the keys are released, the job goes back with its checkpoint; the car parks again and the job is finished from
where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.demo.report import Recording, Yield
from runtime.evaluation.player import Episode, Player
from runtime.evaluation.sheet import Shot
from runtime.evaluation.watch import Watch

RAISED_TIMER_S = 60.0
RESUME_TRIES = 4


@dataclass
class Play(Player):
    """Runs the demo's episodes and keeps what was seen."""

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

    async def _episode(
        self, task: str, seed: str, *, keep_shot: bool, driver_returns: Callable[[], None] | None = None
    ) -> Episode:
        cut = driver_returns is not None

        def submitted() -> None:
            if driver_returns is not None:
                self.recording.raised_timer_s = RAISED_TIMER_S
                asyncio.get_running_loop().create_task(self._after_first_action(driver_returns))

        episode, shot = await self.play(
            task,
            seed,
            max_time_s=RAISED_TIMER_S if cut else None,
            is_cut=cut,
            on_submitted=submitted,
            wants_shot=lambda _: keep_shot,
        )
        self.recording.episodes.append(episode)
        self.recording.jobs_submitted = self.submitted
        self.recording.jobs_over = self.watch.jobs_over
        if shot is not None:
            self.shots.append(shot)
        self.on_progress(self.recording)
        return episode

    async def _after_first_action(self, driver_returns: Callable[[], None]) -> None:
        await self.watch.acted.wait()
        driver_returns()


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
        stages = Yield(job_ms=(detail["handed_back_ns"] - closed) / 1e6)
        if detail["stopped_ns"]:  # before the closing: nothing was being decided then
            stages.kernels_ms = max(0, detail["stopped_ns"] - closed) / 1e6
        released = [at for at in released_ns if at >= closed]
        if released:
            stages.keys_ms = (released[0] - closed) / 1e6
        ended = [at for at in watch.worker_ended_ns if at >= closed]
        if ended:
            stages.memory_ms = (ended[0] - closed) / 1e6
        found.append(stages)
    return found
