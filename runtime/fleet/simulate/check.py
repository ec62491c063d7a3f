"""The simulator against a real run: what `fleet soak` measured, and what the same rules say of the same cars and jobs.

    soak's JSON ─► cars whose drivers return at random, jobs at the same pace ─► run_jobs ─► yields a job, jobs/s, times

In a soak a run is cut off with probability `yield_share` at one of its actions; here drivers are a Poisson process
in time, at the rate that cuts off so many of the whole runs. What a server does (hand-overs, lost leases) is taken
from the measurement: the check is of the simulator's queue, not of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from runtime.errors import RuntimeFault
from runtime.fleet.simulate.day import percentiles
from runtime.fleet.simulate.jobs import Handover, run_jobs

TOLERANCE = 0.15
BACK_S = 0.5  # a driver of a soak is away again after this
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
    cars, jobs, rate = int(soak["cars"]), int(soak["jobs"]), float(soak["trouble_jobs_per_s"])
    # What a whole run took, where that is told: pauses, and the server's and the desk's answers between them.
    work_s = float(soak.get("run_s", {}).get("p50") or ACTIONS * float(soak.get("pause_s", PAUSE_S)))
    start_s = float(soak.get("start_s", {}).get("p50", 0.0))
    per_s = -np.log1p(-float(soak.get("yield_share", YIELD_SHARE))) / work_s
    until_s = jobs / rate * 1.5 + 120.0
    start, end = _windows(cars, per_s, until_s, rng)
    cut, lost = float(soak.get("yields", soak["handed_back"])), float(soak["leases_lost"])
    change = Handover(
        handover_s=float(soak["handover_ms"]["p50"]) / 1e3,
        resume_s=0.0,
        silent=lost / (cut + lost) if cut + lost else 0.0,
        lease_s=float(soak.get("lease_s", LEASE_S)),
    )
    arrival = np.arange(jobs) / rate
    out = run_jobs(
        start, end, arrival, np.full(jobs, work_s), step_s=work_s / 20, until_s=until_s, change=change, rng=rng
    )
    took_s = out.done_at - arrival + start_s
    found = [
        Compared("yields a job", cut / jobs, float(out.yields.mean()) * (1 - change.silent)),
        Compared("jobs a second", jobs / float(soak["over_s"]), jobs / float(np.nanmax(out.done_at))),
    ]
    simulated = percentiles(took_s[~np.isnan(took_s)])
    measured = soak.get("took_s", {})
    return found + [
        Compared(f"a job's time, {name} (s)", float(measured[name]), simulated[name])
        for name in ("p50", "p90", "p99")
        if name in measured
    ]


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
