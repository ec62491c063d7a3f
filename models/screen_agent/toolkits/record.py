"""Records demonstrations on real toolkits: `python -m models.screen_agent.toolkits.record --episodes 60 --out FOLDER`.

    an X server, a window manager, tk_app.py or qt_app.py ◄── a random window
         └─► frame ─► the next step (steps.py) ─► the product's X11 connector ─► … ─► done ─► a shard

Needs openbox, and Tk and PyQt5 for the system's Python; a task whose program does not start is told and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.screen_agent.disturb import disturbance
from models.screen_agent.episodes import SEED_PREFIX
from models.screen_agent.own_mistakes import Counts, OwnAgent, agrees, holds, unpacked
from models.screen_agent.record import OWN, shard_name
from models.screen_agent.screen import Screen
from models.screen_agent.toolkits.specs import TASKS, window
from models.screen_agent.toolkits.steps import Steps
from runtime.desktop.episodes import SUFFIX, Box, Episode, Shown, pack_frame, write_shard
from runtime.evaluation.desktop_trial import managed
from runtime.evaluation.xserver import XServer
from runtime.wire.actions import Action, Click, Done, Move, Scroll, Type

PYTHON = "/usr/bin/python3"
SIZES = ((800, 600), (640, 480), (1000, 700), (1920, 1080), (800, 600), (1024, 768), (1280, 800))
SHARD_EPISODES = 10
TRIES = 2
MAX_STEPS = 40
IDLE_TRIES = 4
ANSWER_S = 10.0


class ProgramFailed(RuntimeError):
    """The window's program ended, or does not answer."""


class Program:
    """tk_app.py or qt_app.py on a display; asked in lines of JSON."""

    def __init__(self, toolkit: str, display: str, home: Path) -> None:
        env = {**os.environ, "DISPLAY": display, "HOME": str(home), "QT_QPA_PLATFORM": "xcb", "LANG": "C.UTF-8",
               "XDG_RUNTIME_DIR": str(home)}  # fmt: skip
        for name in ("PYTHONPATH", "QT_STYLE_OVERRIDE"):
            env.pop(name, None)
        self._process = subprocess.Popen(
            [PYTHON, str(Path(__file__).with_name(f"{toolkit}_app.py"))],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    async def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """Returns the program's answer. Raises ProgramFailed."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._ask, what), ANSWER_S)
        except (OSError, ValueError, TimeoutError, asyncio.TimeoutError) as error:
            raise ProgramFailed(f"the window's program does not answer: {error}") from error

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            more = self._process.stdout.read(1 << 16)
            if not more:
                raise ProgramFailed(f"the window's program ended with code {self._process.wait()}")
            line += more
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def manager(display: str, home: Path) -> Iterator[None]:
    """Runs a window manager on the display."""
    program = shutil.which("openbox")
    if program is None:
        raise ProgramFailed("openbox is not installed: apt-get install openbox")
    env = {"DISPLAY": display, "HOME": str(home), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen([program], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def record_episode(
    screen: Screen,
    program: Program,
    task: str,
    seed: str,
    rng: random.Random,
    *,
    disturbed: bool = True,
    own: OwnAgent | None = None,
) -> Episode:
    """Plays one window; `own` acts, too. Raises ProgramFailed."""
    size = screen.size
    shown = window(task, rng, size)
    screen.park()
    await program.ask({"draw": shown.spec})
    await screen.settle(0.5, 3.0)
    if own is not None:
        own.begin(shown.instruction)
    way, steps, idle, is_done = Steps(shown, size, rng), list[Shown](), 0, False
    while len(steps) < MAX_STEPS and idle < IDLE_TRIES and not is_done:
        pixels = screen.frame().copy()
        frame = pack_frame(pixels)
        told = await program.ask({"look": True})
        move = way.next(told)
        if move is None:
            idle += 1
            await screen.settle()
            continue
        fields = harmless(told, shown.spec)
        other: Action | None = None  # to be done in place of the label, right or wrong
        if own is not None:
            act = own.would(pixels)
            if act is not None and (agrees(act, move) or does_no_harm(act, fields)) and own.lets(task, act, move, rng):
                other = act
        elif disturbed:
            other = disturbance(task, move.label, fields, size, rng)
        is_done = isinstance(move.label, Done)
        taken = move.label if is_done or other is None else other
        if not is_done and not await screen.apply(taken):
            idle += 1
            continue
        is_right = taken is move.label or agrees(taken, move)
        if own is not None:
            own.did(taken)
            if taken is other:
                own.counts.right += is_right
                own.counts.wrong += not is_right
        way.did(taken)
        label = taken if is_right else move.label
        steps.append(Shown(frame, label, move.targets, move.ends, move.text_source, taken, not is_right))
        if not is_done:
            await screen.settle()
    return Episode(task, seed, shown.instruction, 1.0, *size, float(is_done), is_done, steps)


def harmless(told: dict[str, Any], spec: dict[str, Any]) -> list[Box]:
    """Returns boxes of fields: a click into one does no harm."""
    boxes = []
    for part, one in zip(told["parts"], spec["parts"], strict=False):
        if one["kind"] in ("field", "area", "list") and part["box"][2] > 4 and part["box"][3] > 4:
            x, y, w, h = part["box"]
            boxes.append((max(0, x), max(0, y), w, h))
    return boxes


def does_no_harm(act: Action, fields: list[Box]) -> bool:
    """Returns whether the way back from `act` is known: no button was pressed and nothing was closed."""
    if isinstance(act, Click):
        return holds(fields, (act.x, act.y))
    return isinstance(act, Move | Scroll | Type)


async def record_shard(task: str, shard: int, out: Path, own: OwnAgent | None = None) -> tuple[int, int]:
    """Records one shard of `task` on a desktop of its own. Returns how many episodes it has and how many were tried."""
    episodes: list[Episode] = []
    tried = 0
    size = SIZES[shard % len(SIZES)]
    with tempfile.TemporaryDirectory(prefix="idlehands-toolkit-") as name, XServer(*size) as server:
        home = Path(name)
        with manager(server.display, home):
            await managed(server.display)
            with (
                contextlib.closing(Screen(server, home)) as screen,
                contextlib.closing(Program(task.split("-")[0], server.display, home)) as program,
            ):
                screen.connect()
                while len(episodes) < SHARD_EPISODES and tried < TRIES * SHARD_EPISODES:
                    seed = f"{SEED_PREFIX}{task}{'' if own is None else OWN}-{shard}-{tried}"
                    tried += 1
                    episode = await record_episode(screen, program, task, seed, random.Random(seed), own=own)
                    if episode.success and episode.steps:
                        episodes.append(episode)
    if episodes:
        write_shard(out, task, shard_name(shard, own), episodes)
    return len(episodes), tried


async def record(tasks: Sequence[str], shards: range, out: Path, own: OwnAgent | None = None) -> None:
    """Records what is missing of `shards` of every task."""
    for shard in shards:
        for task in tasks:
            if (out / task / (shard_name(shard, own) + SUFFIX)).exists():
                continue
            began = time.monotonic()
            try:
                kept, tried = await record_shard(task, shard, out, own)
            except ProgramFailed as error:
                print(f"{task}: given up: {error}", file=sys.stderr, flush=True)
                continue
            took = time.monotonic() - began
            told = "" if own is None else f", {own.counts}"
            size = SIZES[shard % len(SIZES)]
            print(f"shard {shard} {size} {task}: {kept} of {tried}, {took:.1f} s{told}", flush=True)
            if own is not None:
                own.counts = Counts()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"of {', '.join(TASKS)}")
    parser.add_argument("--episodes", type=int, default=60, help="of each task (default 60)")
    parser.add_argument("--first", type=int, default=0, help="leave out so many of them")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--agent", type=Path, help="a bundle whose agent acts itself with a share of the steps")
    parser.add_argument("--share", type=float, default=0.5, help="of steps that are the agent's own (default 0.5)")
    chosen = parser.parse_args(arguments)
    tasks = chosen.tasks.split(",")
    foreign = sorted(set(tasks) - set(TASKS))
    if foreign:
        parser.error(f"there is no toolkit task {', '.join(foreign)}; there are {', '.join(TASKS)}")
    shards = range(chosen.first // SHARD_EPISODES, -(-chosen.episodes // SHARD_EPISODES))
    with tempfile.TemporaryDirectory(prefix="idlehands-recorder-") as folder:
        own = None if chosen.agent is None else OwnAgent(unpacked(chosen.agent, Path(folder)), chosen.share)
        asyncio.run(record(tasks, shards, chosen.out, own))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
