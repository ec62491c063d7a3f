"""The simulator against a real run: what `fleet soak` measured, and what the same rules say of the same cars and jobs.

    soak's JSON ─► cars whose drivers return at random, jobs at the same pace ─► run_jobs ─► yields a job, jobs/s, times

In a soak a run is cut off with probability `yield_share` at one of its actions; here drivers are a Poisson process
in time, at the rate that cuts off as many runs by the soak's own rule. What a machine and its server need for a first
claim, a whole run and a hand-over is taken from the measurement, and drawn as it was spread there; a car that goes away
without a word costs its lease and the time after which its offer comes again. So the check is of the simulator's queue
and of what yields do to it, not of the network. Times are those of jobs that no kill or cut link fell upon; jobs a
second are all of them, and a director asks for what a killed process has not told only after a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from runtime.errors import RuntimeFault
from runtime.fleet.simulate.day import percentiles
from runtime.fleet.simulate.jobs import Handover, run_jobs
from runtime.fleet.streams import CONSUMER

TOLERANCE = 0.15
BACK_S = 0.5  # a driver of a soak is away again after this
ASK_AFTER_S = 5.0  # what a soak's director was not told it asks the store for, when nothing was told for so long
LEAST = 0.4  # the shortest time, of the median: reports do not say it
MOST_STEPS = 40_000
ACTIONS, PAUSE_S, YIELD_SHARE, LEASE_S = 2, 0.05, 0.2, 5.0  # a soak's own, where its report does not say


class SoakUnreadable(RuntimeFault):
    """The file is no report of `fleet soak --json`."""

    next_step = "run `idlehands fleet soak --json > soak.json` and name that file"


@dataclass(frozen=True)
class Compared:
    """One number, measured and simulated."""

    name: str
    measured: float
    simulated: float

    @property
    def ratio(self) -> float:
        return self.simulated / self.measured if self.measured else float("inf")

    @property
    def is_near(self) -> bool:
        return abs(self.ratio - 1) <= TOLERANCE


def check(path: Path, seed: int = 1) -> list[Compared]:
    """Returns the comparisons with the report in `path`. Raises SoakUnreadable."""
    return compare(_read(path), np.random.default_rng(seed))


def compare(soak: Mapping[str, Any], rng: np.random.Generator) -> list[Compared]:
    """Returns yields a job, jobs a second, and the times of a job where the report has them (`took_s`)."""
    cars, jobs = int(soak["cars"]), int(soak["jobs"])
    # The pace that its submitters kept: on a full machine that is less than the one that they wanted.
    rate = jobs / max(jobs / float(soak["trouble_jobs_per_s"]), float(soak.get("submitted_s", 0.0)))
    pauses_s = ACTIONS * float(soak.get("pause_s", PAUSE_S))
    work_s = _drawn(soak.get("run_s", {}), pauses_s, jobs, rng)
    start_s = _drawn(soak.get("start_s", {}), 0.0, jobs, rng)
    whole_s = float(np.median(work_s))
    per_s = _yields(float(soak.get("yield_share", YIELD_SHARE))) / float(work_s.mean())
    until_s = jobs / rate * 1.5 + 120.0
    start, end = _windows(cars, per_s, until_s, rng)
    cut, lost = float(soak.get("yields", soak["handed_back"])), float(soak["leases_lost"])
    step_s = max(whole_s / 40, until_s / MOST_STEPS)
    arrival = np.arange(jobs) / rate
    silent_s = max(float(soak.get("lease_s", LEASE_S)), CONSUMER["ack_wait"] / 1e9)
    change = Handover(float(soak["handover_ms"]["p50"]) / 1e3, 0.0, 0.0, silent_s)
    with_losses = replace(change, silent=lost / (cut + lost) if cut + lost else 0.0)
    quiet, all_of_it = (
        run_jobs(start, end, arrival, work_s, step_s=step_s, until_s=until_s, change=each, rng=rng)
        for each in (change, with_losses)
    )
    told_s = ASK_AFTER_S if soak.get("process_kills") else 0.0
    found = [
        Compared("yields a job", cut / jobs, float(quiet.yields.mean())),
        Compared("jobs a second", jobs / float(soak["over_s"]), jobs / (float(np.nanmax(all_of_it.done_at)) + told_s)),
    ]
    took_s = quiet.done_at - arrival + start_s
    simulated = percentiles(took_s[~np.isnan(took_s)])
    measured = soak.get("took_s", {})
    return found + [
        Compared(f"a job's time, {name} (s)", float(measured[name]), simulated[name])
        for name in ("p50", "p90")
        if name in measured
    ]


def _yields(share: float) -> float:
    """Returns how often a job is cut off: a run is, with probability `share`, at one of its actions, evenly, and not at
    one that is done already. `left` is what is to be expected with so many done."""
    each, left = share / ACTIONS, 0.0
    for done in reversed(range(ACTIONS)):
        later = ACTIONS - done - 1  # places after this one; what they lead to is known by now
        left = (each + each * later * (1.0 + left)) / (1.0 - each)
    return left


def _drawn(told: Mapping[str, Any], without: float, count: int, rng: np.random.Generator) -> Any:
    """Returns `count` times, spread as the percentiles that were told; `without` each where none were."""
    if not told.get("p50"):
        return np.full(count, without)
    known = [(0.5, told["p50"]), (0.9, told.get("p90")), (0.99, told.get("p99")), (1.0, told.get("max"))]
    points = [(0.0, LEAST * told["p50"]), *((at, value) for at, value in known if value)]
    # Waiting times are skewed: between two percentiles their logarithm is even.
    return np.exp(np.interp(rng.random(count), [at for at, _ in points], [np.log(float(value)) for _, value in points]))


def _windows(cars: int, per_s: float, until_s: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """Returns windows of all cars in the order of their beginning: open until the driver comes, closed for BACK_S."""
    count = int(until_s * per_s * 1.3) + 20
    open_s = rng.exponential(1 / per_s, (cars, count))
    end = np.cumsum(open_s, axis=1) + BACK_S * np.arange(count)
    start = end - open_s
    order = np.argsort(start, axis=None, kind="stable")
    start, end = start.reshape(-1)[order], end.reshape(-1)[order]
    within = start < until_s
    return start[within], end[within]


def _read(path: Path) -> Mapping[str, Any]:
    needed = ("cars", "jobs", "trouble_jobs_per_s", "handed_back", "leases_lost", "handover_ms", "over_s")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        missing = [name for name in needed if name not in found]
    except OSError as error:
        raise SoakUnreadable(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SoakUnreadable(f"{path} is no report of a soak: {error}") from error
    if missing or not found["jobs"]:
        raise SoakUnreadable(f"{path} is no report of a soak: it lacks {', '.join(missing) or 'jobs'}")
    return found
