"""How good the oracles are: `python -m models.screen_agent.check_oracles [--tasks a,b] [--episodes 20]`.

Undisturbed episodes at the page's own look, on seeds of their own. Exit code 1 if any oracle is below 95 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from models.screen_agent.record import known_tasks, open_page, record_episode
from models.screen_agent.workplace import Workplace
from runtime.evaluation.chromium import ChromiumFailed

ENOUGH = 0.95


async def success_of(place: Workplace, task: str, episodes: int, verbose: bool = False) -> tuple[int, float]:
    """Returns how many of `episodes` succeeded, and the mean number of steps."""
    await open_page(place, task)
    good = steps = 0
    for number in range(episodes):
        seed = f"oracle-{number}"
        try:
            episode = await record_episode(place, task, seed, random.Random(seed), disturbed=False, plain=True)
        except ChromiumFailed as error:
            print(f"{task} {seed}: {error}", file=sys.stderr)
            await open_page(place, task)
            continue
        good += episode.success
        if not episode.success:  # what it left running would be in the way of the next
            await open_page(place, task)
        steps += len(episode.steps)
        if verbose and not episode.success:
            print(f"{task} {seed} {episode.instruction!r} raw {episode.raw_reward}")
            for step in episode.steps:
                print("   ", step.label, step.targets[:3], step.ends[:2])
    return good, steps / episodes


async def check(tasks: Sequence[str], episodes: int, verbose: bool, told: Path | None = None) -> int:
    weak = 0
    rows = []
    async with Workplace(1.0) as place:
        for task in tasks:
            good, steps = await success_of(place, task, episodes, verbose)
            weak += good < ENOUGH * episodes
            rows.append({"name": task, "episodes": episodes, "success_rate": good / episodes, "actions_mean": steps})
            print(
                f"{task:28} {good:3} of {episodes}  {steps:5.1f} steps{'' if good >= ENOUGH * episodes else '  WEAK'}",
                flush=True,
            )
    if told is not None:
        told.write_text(json.dumps({"agent": "oracle", "ablation": "none", "tasks": rows}, indent=1))
    print(f"{len(tasks) - weak} of {len(tasks)} oracles at {ENOUGH:.0%} or more")
    return 1 if weak else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--verbose", action="store_true", help="print the steps of failures")
    parser.add_argument("--json", type=Path, help="file for 'idlehands eval miniwob --beside'")
    chosen = parser.parse_args(arguments)
    tasks = [task for task in chosen.tasks.split(",") if task] or asyncio.run(known_tasks())
    return asyncio.run(check(tasks, chosen.episodes, chosen.verbose, chosen.json))


if __name__ == "__main__":
    raise SystemExit(main())
