"""What episodes say of an agent: success with its uncertainty, and how many times faster than a person. Pure.

success         raw reward 1, or 0.8 and more where the reward is a distance; both raw columns stand beside it
interval        Wilson's, at 95 %: E. B. Wilson, JASA 22 (1927)
human_multiple  a person's median ÷ our median over all episodes, a failure being endless; then the median of tasks
people          measured where there are recordings (human_times.csv), else the keystroke-level model: Card, Moran
                and Newell, CACM 23 (1980); it flatters the agent on tasks of one click, so each row says which
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.evaluation.miniwob import human_multiple
from runtime.evaluation.player import Episode
from runtime.jobs.tempo import CLICK_S, HOME_S, KEY_S, THINK_S

Z_95 = 1.959964
_WHEEL = ("button 4", "button 5", "button 6", "button 7")


def wilson(successes: int, of: int) -> tuple[float, float]:
    """Returns the interval in which the true rate lies at 95 %; (0, 1) without any trial."""
    if of == 0:
        return 0.0, 1.0
    rate, square = successes / of, Z_95 * Z_95
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = Z_95 * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def keystroke_model_s(episode: Episode) -> float:
    """Returns how long a person would need for what was done in `episode`, by the keystroke-level model."""
    clicks = keys = 0
    for action in episode.actions:
        buttons = [press for press in action.presses if press != "key"]
        keys += len(action.presses) - len(buttons)
        clicks += bool(buttons) if set(buttons) <= set(_WHEEL) or len(set(buttons)) == 1 else len(buttons)
    return THINK_S + CLICK_S * clicks + KEY_S * keys + (HOME_S if keys else 0.0)


def task_row(task: str, split: str, episodes: Sequence[Episode], human_s: Mapping[str, float]) -> dict[str, Any]:
    """Returns the row of one task: interrupted episodes were repeated and count as interrupted only."""
    counted = [episode for episode in episodes if not episode.interrupted]
    won = [episode for episode in counted if episode.success]
    low, high = wilson(len(won), len(counted))
    times = [episode.elapsed_s if episode.success else math.inf for episode in counted]
    median_s = statistics.median(times) if times else math.inf
    person_s, source = human_s.get(task), "measured"
    if person_s is None:
        person_s = statistics.median(map(keystroke_model_s, won)) if won else None
        source = "keystroke model" if won else ""
    return {
        "name": task,
        "split": split,
        "episodes": len(counted),
        "successes": len(won),
        "success_rate": len(won) / len(counted) if counted else None,
        "wilson_low": round(low, 4),
        "wilson_high": round(high, 4),
        "raw_1": sum(episode.raw_reward >= 1 for episode in counted),
        "raw_above_0": sum(episode.raw_reward > 0 for episode in counted),
        "interrupted": len(episodes) - len(counted),
        "episode_s_p50": None if math.isinf(median_s) else round(median_s, 4),
        "won_s_p50": round(statistics.median(episode.elapsed_s for episode in won), 4) if won else None,
        "actions_p50": statistics.median(len(episode.actions) for episode in counted) if counted else None,
        "human_s": None if person_s is None else round(person_s, 3),
        "human_source": source,
        "human_multiple": None if person_s is None else round(person_s / median_s, 2),
    }


def summary(
    splits: Mapping[str, str], episodes: Mapping[str, Sequence[Episode]], human_s: Mapping[str, float]
) -> dict[str, Any]:
    """Returns what `idlehands eval miniwob --json` says of the `episodes` of each task; `splits` names each's split."""
    rows = [task_row(task, splits[task], of_task, human_s) for task, of_task in episodes.items()]
    counted = sum(row["episodes"] for row in rows)
    rates = [row["success_rate"] for row in rows if row["success_rate"] is not None]
    times: dict[str, list[float | None]] = {
        task: [episode.elapsed_s if episode.success else None for episode in of_task if not episode.interrupted]
        for task, of_task in episodes.items()
    }
    multiples = [row["human_multiple"] for row in rows if row["human_multiple"] is not None]
    steps_us = [action.times["model_us"] for of_task in episodes.values() for one in of_task for action in one.actions]
    return {
        "success_rate": sum(row["successes"] for row in rows) / counted if counted else None,
        "mean_task_success": statistics.fmean(rates) if rates else None,
        "tasks_at_90": sum(rate >= 0.9 for rate in rates),
        "raw_1_rate": sum(row["raw_1"] for row in rows) / counted if counted else None,
        "raw_above_0_rate": sum(row["raw_above_0"] for row in rows) / counted if counted else None,
        "human_multiple": human_multiple(times, dict(human_s)),
        "human_multiple_with_model": statistics.median(multiples) if multiples else None,
        "episodes": counted,
        "interrupted": sum(row["interrupted"] for row in rows),
        "step_ms_p50": round(statistics.median(steps_us) / 1000, 3) if steps_us else None,
        "tasks": rows,
    }


def set_beside(report: dict[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    """Adds what others reached on the same tasks: `beside` names them, and each row has their success rates by name."""
    names: list[str] = []
    for row in report["tasks"]:
        row["beside"] = {}
    for other in others:
        ablation = other.get("ablation", "none")
        name = other["agent"] if ablation == "none" else f"{other['agent']}, {ablation}"
        names.append(name)
        rates = {row["name"]: row["success_rate"] for row in other["tasks"]}
        for row in report["tasks"]:
            row["beside"][name] = rates.get(row["name"])
    report["beside"] = names
