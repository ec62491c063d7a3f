"""A browser that hangs costs an evaluation one episode at most: it is replaced, and what was done is kept."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.cli.evaluate import BUNDLES, parked_source
from runtime.demo.show import POLICY, TRACE
from runtime.evaluation import chromium
from runtime.evaluation.miniwob import MiniwobDriver, Started
from runtime.evaluation.player import Player
from runtime.evaluation.trial import MOST_HANGS, Outcome, Pages, Trial, run_trial

PATIENCE_S = chromium.COMMAND_TIMEOUT_S


def trial_of(folder: Path, *tasks: str) -> Trial:
    return Trial(
        tasks=tasks,
        episodes=2,
        seeds="hang",
        agent="text_reader",
        model="",
        bundles=BUNDLES,
        bundle=None,
        source=parked_source(TRACE, folder),
        policy=POLICY,
        folder=folder,
    )


def run(trial: Trial) -> Outcome:
    return asyncio.run(run_trial(trial, lambda task, episodes: None))


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[MiniwobDriver], None]:
    """Hangs a browser as a dialog over its page does: it is there, and answers nothing. The next one has its time."""
    replace = Pages.replace

    async def patient(self: Pages) -> None:
        monkeypatch.setattr(chromium, "COMMAND_TIMEOUT_S", PATIENCE_S)
        await replace(self)

    def stops(driver: MiniwobDriver) -> None:
        monkeypatch.setattr(chromium, "COMMAND_TIMEOUT_S", 2.0)
        os.killpg(driver._browser._process.pid, signal.SIGSTOP)

    monkeypatch.setattr(Pages, "replace", patient)
    return stops


@pytest.mark.chromium
@pytest.mark.timeout(240)
def test_an_episode_that_hangs_is_lost_and_the_next_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[MiniwobDriver], None]
) -> None:
    submit = Player._submit

    async def hangs(self: Player, started: Started) -> str:
        if started.seed == "hang-0":
            stop(self.driver)
        return await submit(self, started)

    monkeypatch.setattr(Player, "_submit", hangs)
    outcome = run(trial_of(tmp_path, "click-button"))
    assert [(episode.seed, episode.success) for episode in outcome.episodes["click-button"]] == [
        ("hang-0", False),
        ("hang-1", True),
    ]
    assert not outcome.broken


@pytest.mark.chromium
@pytest.mark.timeout(240)
def test_a_page_that_always_hangs_is_given_up_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[MiniwobDriver], None]
) -> None:
    start, hangs = MiniwobDriver.start, 0

    async def sometimes(self: MiniwobDriver, seed: str, max_time_s: float | None = None) -> Started:
        nonlocal hangs
        if self._task == "click-button" and seed != "warm-up":
            hangs += 1
            stop(self)
        return await start(self, seed, max_time_s)

    monkeypatch.setattr(MiniwobDriver, "start", sometimes)
    outcome = run(trial_of(tmp_path, "click-button", "enter-text"))
    assert hangs == MOST_HANGS
    assert list(outcome.broken) == ["click-button"]
    assert "click-button, seed hang-0: Chromium did not" in str(outcome.broken["click-button"])
    assert [episode.success for episode in outcome.episodes["enter-text"]] == [True, True]
