"""The demo's report: what every episode and action was, and what follows. Pure; `summary()` is the JSON's shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runtime.evaluation.miniwob import human_multiple
from runtime.evaluation.player import Episode
from runtime.evaluation.watch import Action

SPLIT = ("capture", "transfer", "model", "inject", "settle")
PERCENTILES = (50, 90, 99)


@dataclass
class Yield:
    """One closing of the gate under a job: ms from the closing of the gate word; NaN where a stage was not seen."""

    kernels_ms: float = math.nan
    keys_ms: float = math.nan
    job_ms: float = math.nan
    memory_ms: float = math.nan


@dataclass
class Recording:
    """What the demo saw."""

    agent: str
    episodes: list[Episode] = field(default_factory=list)
    yields: list[Yield] = field(default_factory=list)
    raised_timer_s: float = 0.0
    jobs_submitted: int = 0
    jobs_over: int = 0
    double_actions: int | None = None
    seconds: float = 0.0


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Returns {"p50": …, "p90": …, "p99": …} by the nearest rank, None without values."""
    ordered = sorted(values)
    if not ordered:
        return {f"p{rank}": None for rank in PERCENTILES}
    return {f"p{rank}": round(ordered[max(0, math.ceil(rank / 100 * len(ordered)) - 1)], 3) for rank in PERCENTILES}


def task_rows(recording: Recording) -> list[dict[str, object]]:
    """Returns a row a task, in order; interrupted episodes were repeated and count only as interrupted."""
    rows = []
    for task in dict.fromkeys(episode.task for episode in recording.episodes):
        of_task = [episode for episode in recording.episodes if episode.task == task]
        counted = _counted(of_task)
        rows.append(
            {
                "name": task,
                "episodes": len(counted),
                "successes": sum(episode.success for episode in counted),
                "raw_1": sum(episode.raw_reward >= 1 for episode in counted),
                "raw_above_0": sum(episode.raw_reward > 0 for episode in counted),
                "interrupted": sum(episode.interrupted for episode in of_task),
                "episode_s_p50": percentiles(episode.elapsed_s for episode in counted)["p50"],
            }
        )
    return rows


def summary(recording: Recording, human_s: dict[str, float]) -> dict[str, object]:
    """Returns the report that `idlehands demo --json` prints."""
    counted = _counted(recording.episodes)
    actions = [action for episode in recording.episodes for action in episode.actions]
    times: dict[str, list[float | None]] = {}
    for episode in counted:
        times.setdefault(episode.task, []).append(episode.elapsed_s if episode.success else None)
    return {
        "agent": recording.agent,
        "tasks": task_rows(recording),
        "success_rate": sum(episode.success for episode in counted) / len(counted) if counted else None,
        "actions": len(actions),
        "action_ms": _action_ms(actions),
        "human_multiple": human_multiple(times, human_s),
        "yield_ms": _worst(recording.yields),
        "resumed": any(episode.resumed and episode.success for episode in recording.episodes),
        "resume": _resume(recording),
        "lost_jobs": recording.jobs_submitted - recording.jobs_over,
        "double_actions": recording.double_actions,
        "seconds": round(recording.seconds, 1),
    }


def _counted(episodes: Sequence[Episode]) -> list[Episode]:
    return [episode for episode in episodes if not episode.interrupted and not episode.resumed]


def _action_ms(actions: Sequence[Action]) -> dict[str, object]:
    report: dict[str, object] = dict(percentiles(action.times["total_us"] / 1000 for action in actions))
    report["split"] = {part: percentiles(action.times[f"{part}_us"] / 1000 for action in actions) for part in SPLIT}
    return report


def _worst(yields: Sequence[Yield]) -> dict[str, float | None]:
    """The slowest of each stage over all closings: a promise is kept by its worst case."""
    worst = {}
    for stage in ("kernels", "keys", "job", "memory"):
        seen = [value for closing in yields if not math.isnan(value := getattr(closing, f"{stage}_ms"))]
        worst[stage] = round(max(seen), 2) if seen else None
    return worst


def _resume(recording: Recording) -> dict[str, object] | None:
    """The episode that the driver cut in two: its page's timer was raised, so that it could end at all."""
    for episode in recording.episodes:
        if episode.resumed:
            return {
                "task": episode.task,
                "success": episode.success,
                "actions": len(episode.actions),
                "page_timer_raised_to_s": recording.raised_timer_s,
            }
    return None
