"""Oracles succeed, find their way back after disturbances, and point at what they say; only training pages have one."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import pytest

from models.screen_agent import record
from models.screen_agent.check_oracles import success_of
from models.screen_agent.episodes import decode, load
from models.screen_agent.oracles import oracle
from models.screen_agent.record import record_shard
from models.screen_agent.workplace import Workplace
from runtime.desktop.episodes import Episode
from runtime.evaluation.miniwob import task_lists
from runtime.wire.actions import Click, Scroll, Wait, position

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(300)]
TASKS = ("login-user", "click-tab-2", "drag-items")


def test_oracles_succeed() -> None:
    async def scores() -> dict[str, int]:
        async with Workplace(1.0) as place:
            return {task: (await success_of(place, task, 8))[0] for task in TASKS}

    assert all(good == 8 for good in asyncio.run(scores()).values())


def test_a_disturbed_zoomed_recording_is_right_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "SHARD_EPISODES", 6)

    async def recorded() -> None:
        async with Workplace(1.5) as place:
            await record_shard(place, "login-user", 0, tmp_path)

    asyncio.run(recorded())
    episodes = list(load(tmp_path))
    assert len(episodes) == 6
    assert all(episode.success and episode.scale == 1.5 for episode in episodes)
    assert any(step.is_disturbance for episode in episodes for step in episode.steps)
    for episode in episodes:
        check_episode(episode)


def test_the_wheel_is_not_turned_past_what_is_sought_and_back() -> None:
    async def played() -> list[Episode]:
        async with Workplace(1.0) as place:
            await record.open_page(place, "social-media")
            return [
                await record.record_episode(
                    place, "social-media", seed, random.Random(seed), disturbed=False, plain=True
                )
                for seed in (f"wheel-{number}" for number in range(8))
            ]

    episodes = asyncio.run(played())
    turns = [[step.label.dy for step in one.steps if isinstance(step.label, Scroll)] for one in episodes]
    assert all(one.success for one in episodes)
    assert any(turns)
    assert {dy for one in turns for dy in one} == {1}


def test_half_of_the_short_waits_are_cut_short() -> None:
    rng = random.Random(1)
    waits = [record.cut_short(Wait(300), rng) for _ in range(100)]
    assert 30 < sum(wait == Wait(300) for wait in waits) < 70
    assert all(isinstance(wait, Wait) and wait.ms <= 300 for wait in waits)
    assert record.cut_short(Wait(2000), rng) == Wait(2000)
    assert record.cut_short(Click(3, 4), rng) == Click(3, 4)


def test_of_pages_with_few_steps_more_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[int, tuple[str, ...]]] = []

    async def one_zoom(tasks: list[str], shard: int, *more: object) -> None:
        recorded.append((shard, tuple(tasks)))

    steps = {"click-link": 10, "book-flight": 100}
    monkeypatch.setattr(record, "record_at_one_zoom", one_zoom)
    monkeypatch.setattr(record, "steps_of", lambda out, task, name="*": steps[task] * (2 if name == "*" else 1))
    asyncio.run(record.record([*steps], range(2), tmp_path, "", least_steps=45))
    both = ("click-link", "book-flight")
    assert recorded == [(0, both), (1, both), *((shard, ("click-link",)) for shard in range(2, 5))]
    recorded.clear()
    asyncio.run(record.record([*steps], range(2), tmp_path, "", least_steps=1000))
    assert [shard for shard, _ in recorded] == [*range(8)]


def check_episode(episode: Episode) -> None:
    frames = decode(episode).frames
    assert frames.shape == (len(episode.steps), episode.height, episode.width, 4)
    assert episode.seed.startswith("train-")
    for step in episode.steps:
        at = position(step.label)
        assert (at is None) == (not step.targets)
        if at is not None:
            assert any(x <= at[0] < x + w and y <= at[1] < y + h for x, y, w, h in step.targets)
        assert step.is_disturbance or step.taken == step.label
    for before, after in zip(episode.steps, episode.steps[1:], strict=False):
        assert before.frame != after.frame or before.is_disturbance, (
            "an action that changes nothing is no demonstration"
        )


def test_only_training_pages_have_an_oracle() -> None:
    folder = Path(oracle.__file__).parent
    named = set()
    for path in set(folder.glob("*.js")) - {folder / "made.js"}:
        for first in re.findall(r"task\((\[[^\]]*\]|'[^']*')", path.read_text()):
            named |= set(re.findall(r"'([^']+)'", first))
    assert named <= set(task_lists()["train"])
    assert len(named) >= 70


def test_points_fall_inside() -> None:
    rng = random.Random(1)
    finder = oracle.Oracle(None, 1.0, rng)  # type: ignore[arg-type]
    for _ in range(200):
        box = (rng.randrange(50), rng.randrange(50), rng.randrange(1, 20), rng.randrange(1, 20))
        x, y = finder.inside(box)
        assert box[0] <= x < box[0] + box[2]
        assert box[1] <= y < box[1] + box[3]
