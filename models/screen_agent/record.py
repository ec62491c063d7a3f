"""Records demonstrations: `python -m models.screen_agent.record --tasks a,b --episodes 60 --workers 2 --out FOLDER`.

    for every zoom, for every task: [seed, look] ─► the oracle acts through the connector ─► success? ─► a shard

A shard is ten successful episodes at one zoom. What is there already is not recorded again, so a recording that was
ended goes on where it was. Failed episodes are counted, shown and dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from models.screen_agent.disturb import disturbance
from models.screen_agent.episodes import SEED_PREFIX, read_shard
from models.screen_agent.looks import MADE, SCALES, look_of
from models.screen_agent.oracles.oracle import Oracle, tasks_with_oracle
from models.screen_agent.own_mistakes import GUARD, Counts, OwnAgent, let_act, unpacked
from models.screen_agent.workplace import Workplace
from runtime.desktop.episodes import SUFFIX, Episode, Shown, pack_frame, write_shard
from runtime.evaluation.chromium import ChromiumFailed, page_url
from runtime.evaluation.miniwob import is_success, task_lists
from runtime.wire.actions import Action, Done, Wait

# Pages of our own: made-up applications, a kind each (pages/made.js).
MADE_PAGE = Path(__file__).parent / "pages" / "made.html"
MADE_TASKS = tuple(MADE + kind for kind in ("form", "dialog", "menu", "table", "list", "tabs", "links"))
SHARD_EPISODES = 10
OWN = "-own"  # in the names of shards and seeds
TRIES = 3  # so many times the episodes of a shard are tried before it is left short
MAX_STEPS = 70
IDLE_TRIES = 8
SHORT_WAIT_MS = 400
MOST_TIMES = 4
# Pages that move by themselves are never at rest.
LIVE_TASKS = frozenset(["chase-circle", "moving-items", "stock-market", "simon-says", "hot-cold", "hover-shape"])
LIVE_STEPS = 400


async def record_episode(
    place: Workplace,
    task: str,
    seed: str,
    rng: random.Random,
    *,
    disturbed: bool = True,
    plain: bool = False,
    own: OwnAgent | None = None,
) -> Episode:
    """Plays one episode with the page open and the oracle loaded. `plain`: the page's own look. `own` acts, too."""
    look = look_of(task, random.Random(0) if plain else rng)
    oracle = Oracle(place.browser, place.scale, rng, place.popups)
    started = await place.begin(seed, look)
    await oracle.reset(*place.size)
    if own is not None:
        own.begin(started.utterance)
    steps: list[Shown] = []
    idle = 0
    live = task in LIVE_TASKS
    while place.finish is None and len(steps) < (LIVE_STEPS if live else MAX_STEPS) and idle < IDLE_TRIES:
        pixels = place.frame().copy()
        frame = pack_frame(pixels)
        move = await oracle.next(task)
        if move is None:
            idle += 1
            await place.settle()
            continue
        if own is not None and (act := own.would(pixels)) is not None and own.lets(task, act, move, rng):
            step = await let_act(place, own, act, move, frame, task)
            if step is not None:
                steps.append(step)
                continue
        wrong: Action | None = None
        if disturbed and own is None:
            wrong = disturbance(task, move.label, await oracle.harmless(), place.size, rng)
        taken = wrong or move.label
        if isinstance(taken, Done):
            steps.append(Shown(frame, taken, [], [], "", taken, False))
            await place.browser.evaluate("core.endEpisode(core.achieved)")
            break
        if not await place.apply(cut_short(taken, rng)):
            idle += 1
            continue
        steps.append(Shown(frame, move.label, move.targets, move.ends, move.text_source, taken, wrong is not None))
        if own is not None:
            own.did(taken)
        if not isinstance(taken, Wait):
            await (place.settle(0.03, 0.04) if live else place.settle())
    await asyncio.sleep(0.02)
    raw = place.finish.raw_reward if place.finish is not None else 0.0
    if place.finish is None:
        await place.browser.evaluate("core.endEpisode(0)")
    success = is_success(task, raw, task_lists()["graded"])
    width, height = place.size
    return Episode(task, seed, started.utterance, place.scale, width, height, raw, success, steps)


def cut_short(taken: Action, rng: random.Random) -> Action:
    """Returns what is really done: half of the short waits take a part of their time, since an agent looks too soon,
    too. A long one is what the page asks for."""
    if isinstance(taken, Wait) and 0 < taken.ms <= SHORT_WAIT_MS and rng.random() < 0.5:
        return Wait(rng.randrange(taken.ms))
    return taken


async def open_page(place: Workplace, task: str) -> None:
    """Opens the page of `task` afresh, with the oracles in it."""
    if task in MADE_TASKS:
        await place.driver.open_url(task, f"{page_url(MADE_PAGE)}?kind={task.removeprefix(MADE)}")
    else:
        await place.driver.open(task)
    await Oracle(place.browser, place.scale, random.Random(0)).load()
    await place.browser.evaluate(GUARD)


def shard_name(shard: int, own: OwnAgent | None) -> str:
    """Returns the name of a shard; one with the agent's own mistakes stands beside the one without."""
    return f"{shard:04}" if own is None else f"{shard:04}{OWN}"


async def record_shard(
    place: Workplace, task: str, shard: int, out: Path, own: OwnAgent | None = None
) -> tuple[int, int]:
    """Records one shard of `task`. Returns how many episodes it has and how many were tried."""
    await open_page(place, task)
    episodes: list[Episode] = []
    tried = 0
    while len(episodes) < SHARD_EPISODES and tried < TRIES * SHARD_EPISODES:
        if tried >= SHARD_EPISODES and not episodes:
            break  # nothing came of ten: not worth twenty more
        seed = f"{SEED_PREFIX}{task}{'' if own is None else OWN}-{shard}-{tried}"
        tried += 1
        try:
            episode = await record_episode(place, task, seed, random.Random(seed), own=own)
        except ChromiumFailed as error:
            print(f"{task} {seed}: {error}", file=sys.stderr, flush=True)
            await open_page(place, task)
            continue
        if episode.success and episode.steps:
            episodes.append(episode)
        if not episode.success:  # what it left open would be in the way of the next
            await open_page(place, task)
    if episodes:
        write_shard(out, task, shard_name(shard, own), episodes)
    return len(episodes), tried


async def record(
    tasks: Sequence[str],
    shards: range,
    out: Path,
    name: str,
    own: OwnAgent | None = None,
    least_steps: int = 0,
) -> None:
    """Records what is missing of `shards` of every task, and up to MOST_TIMES as many of those with fewer steps than
    `least_steps`. A SIGTERM ends the browser and its X server, too."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    for shard in shards:
        await record_at_one_zoom(tasks, shard, out, name, own)
    counts = {task: steps_of(out, task) for task in tasks} if least_steps else {}
    for shard in range(shards.stop, shards.start + MOST_TIMES * len(shards)):
        short = [task for task in counts if counts[task] < least_steps]
        if not short:
            break
        await record_at_one_zoom(short, shard, out, name, own)
        for task in short:
            counts[task] += steps_of(out, task, shard_name(shard, own))


def steps_of(out: Path, task: str, name: str = "*") -> int:
    """Returns how many steps were recorded of a task, in one shard or in all."""
    return sum(len(episode.steps) for path in (out / task).glob(name + SUFFIX) for episode in read_shard(path))


async def record_at_one_zoom(
    tasks: Sequence[str], shard: int, out: Path, name: str, own: OwnAgent | None = None
) -> None:
    """Records one shard of every task that lacks it, in one browser."""
    missing = [task for task in tasks if not (out / task / (shard_name(shard, own) + SUFFIX)).exists()]
    if not missing:
        return
    async with Workplace(SCALES[shard % len(SCALES)]) as place:
        for task in missing:
            began = time.monotonic()
            try:
                kept, tried = await asyncio.wait_for(record_shard(place, task, shard, out, own), 600)
            except (ChromiumFailed, TimeoutError, asyncio.TimeoutError) as error:
                print(f"{name} {task}: given up: {error}", file=sys.stderr, flush=True)
                break  # the browser may be gone: the next shard has a new one
            took = time.monotonic() - began
            told = "" if own is None else f", {own.counts}"
            print(
                f"{name} shard {shard} zoom {place.scale:g} {task}: {kept} of {tried}, {took:.1f} s{told}",
                flush=True,
            )
            if own is not None:
                own.counts = Counts()


async def known_tasks() -> list[str]:
    """Returns the training tasks that have an oracle, and those of our own pages."""
    async with Workplace(1.0) as place:
        await place.driver.open("click-test-2")
        known = await tasks_with_oracle(place.browser)
    return [task for task in (*task_lists()["train"], *MADE_TASKS) if task in known]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="", help="training tasks, by name; default: all that have an oracle")
    parser.add_argument("--episodes", type=int, default=60, help="of each task (default 60)")
    parser.add_argument(
        "--least-steps",
        type=int,
        default=0,
        help=f"more of tasks with fewer, up to {MOST_TIMES} times as many episodes",
    )
    parser.add_argument("--first", type=int, default=0, help="leave out so many of them: another machine has them")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a Chromium of its own")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--agent", type=Path, help="a bundle whose agent acts itself with a share of the steps")
    parser.add_argument("--share", type=float, default=0.5, help="of steps that are the agent's own (default 0.5)")
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    tasks = [task for task in chosen.tasks.split(",") if task] or asyncio.run(known_tasks())
    foreign = sorted(set(tasks) - set(task_lists()["train"]) - set(MADE_TASKS))
    if foreign:
        parser.error(f"only training tasks may be recorded, not {', '.join(foreign)}")
    if chosen.workers == 1:
        shards = range(chosen.first // SHARD_EPISODES, -(-chosen.episodes // SHARD_EPISODES))
        try:
            with tempfile.TemporaryDirectory(prefix="idlehands-recorder-") as folder:
                own = None if chosen.agent is None else OwnAgent(unpacked(chosen.agent, Path(folder)), chosen.share)
                asyncio.run(record(tasks, shards, chosen.out, chosen.name, own, chosen.least_steps))
        except asyncio.CancelledError:
            return 143
        return 0
    command = [sys.executable, "-m", "models.screen_agent.record", "--episodes", str(chosen.episodes), "--workers", "1"]
    command += ["--first", str(chosen.first), "--share", str(chosen.share), "--least-steps", str(chosen.least_steps)]
    command += [] if chosen.agent is None else ["--agent", str(chosen.agent)]
    workers = [
        subprocess.Popen([*command, "--out", str(chosen.out), "--name", f"{n}:", "--tasks", ",".join(share)])
        for n in range(chosen.workers)
        if (share := tasks[n :: chosen.workers])
    ]
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    raise SystemExit(main())
