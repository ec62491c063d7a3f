"""A fleet's day: cells of cars on all CPUs, the jobs of some of them followed one by one, and what it all comes to.

    Scenario ──► cells (62,500 cars of one region each) ──► windows of every cell, jobs of a sample ──► Report

Cells of a region are alike and do not share jobs (docs/FLEET.md: they are the fleet's shards too), so the jobs of
`sample` cells a region stand for all; the report's `followed_jobs` says how many those were.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.fleet.simulate.jobs import Handover, Outcome, run_jobs
from runtime.fleet.simulate.parking import DAY_BEGINS_H, DAY_S, HOUR_S, START_TIMES, Habits, draw_parkings
from runtime.fleet.simulate.sizing import Load, Rates, Server, load_of
from runtime.fleet.simulate.windows import REGIONS, Region, Rules, Windows, open_windows

Series = npt.NDArray[np.float64]
CELL_CARS = 62_500
HOURS = 24
_J_PER_KWH = 3.6e6
# People at desks: the share of the day's jobs that is submitted in each hour of the first region's clock.
OFFICE = np.array([1] * 7 + [3, 8, 10, 10, 10, 8, 10, 10, 10, 8, 4, 2, 1, 1, 1, 1, 1], np.float64)


@dataclass(frozen=True)
class Work:
    """The jobs: how many a day (None: `load` of the open cars' time), how long (log-normal), and when they come."""

    jobs: float | None = None
    load: float = 0.6
    median_s: float = 300.0
    sigma: float = 1.0
    arrival: str = "flat"

    @property
    def mean_s(self) -> float:
        return float(self.median_s * np.exp(self.sigma**2 / 2))


@dataclass(frozen=True)
class Scenario:
    """One day. `sample` cells of each region have their jobs followed; `step_s` is how often the queue is looked at."""

    cars: int = 4_000_000
    seed: int = 1
    sample: int = 1
    step_s: float = 10.0
    idle_W: float = 15.0  # the computer of an open car without a job
    habits: Habits = field(default_factory=Habits)
    rules: Rules = field(default_factory=Rules)
    work: Work = field(default_factory=Work)
    change: Handover = field(default_factory=Handover)
    server: Server = field(default_factory=Server)


@dataclass(frozen=True)
class _Cell:
    region: Region
    cars: int
    seed: int
    follows: bool


@dataclass(frozen=True)
class _Done:
    """What a cell came to; series are by hour of the first region's clock, from midnight."""

    cell: _Cell
    parked: float
    open_cars: Series
    closings: Series
    window_hours: Series
    plugged_s: float
    awake_s: float
    followed: _Followed | None


@dataclass(frozen=True)
class _Followed:
    jobs: int
    capacity_s: float
    busy_s: float
    busy_awake_s: float
    took_s: Series
    late_s: Series
    yields: npt.NDArray[np.int32]
    not_done: int
    running: Series
    queued: Series
    peaks: dict[str, float]


@dataclass(frozen=True)
class Report:
    """A day of the fleet. Series have 24 values, by hour of the first region's clock; times in s, energy in kWh."""

    cars: int
    parked_share: float
    open_cars: list[float]
    open_share: float
    closings_per_s_peak: float
    window_h: dict[str, float]
    jobs: float
    followed_jobs: int
    done_share: float
    running: list[float]
    queued: list[float]
    took_s: dict[str, float]
    late_s: dict[str, float]
    yields_per_job: float
    yielded_share: float
    utilisation: float
    energy_kWh: dict[str, float]
    joules_per_job: dict[str, float]
    servers: Load


def simulate(
    scenario: Scenario, *, processes: int | None = None, on_cell: Callable[[int, int], None] = lambda done, all_: None
) -> Report:
    """Returns the day; `on_cell(done, all)` is told the progress. The same seed gives the same day on any machine."""
    cells = cells_of(scenario)
    tasks = [(scenario, cell) for cell in cells]
    done: list[_Done] = []
    count = min(processes or os.cpu_count() or 1, len(cells))
    if count == 1:
        results: Iterable[_Done] = map(_run_cell, tasks)
        return _report(scenario, _collect(results, done, len(cells), on_cell))
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        return _report(scenario, _collect(pool.imap_unordered(_run_cell, tasks), done, len(cells), on_cell))


def cells_of(scenario: Scenario) -> list[_Cell]:
    """Returns the cells: regions by their share, at most CELL_CARS cars each; those with jobs to follow first."""
    found = []
    for number, region in enumerate(REGIONS):
        cars = round(scenario.cars * region.share)
        count = max(1, -(-cars // CELL_CARS))
        for place in range(count):
            size = cars // count + (place < cars % count)
            if size:
                found.append(_Cell(region, size, hash_seed(scenario.seed, number, place), place < scenario.sample))
    return sorted(found, key=lambda cell: not cell.follows)


def hash_seed(*parts: int) -> int:
    """Returns a seed for each cell of its own, the same on every machine."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _collect(
    results: Iterable[_Done], done: list[_Done], count: int, on_cell: Callable[[int, int], None]
) -> list[_Done]:
    for each in results:
        done.append(each)
        on_cell(len(done), count)
    return sorted(done, key=lambda one: one.cell.seed)


def _run_cell(task: tuple[Scenario, _Cell]) -> _Done:
    scenario, cell = task
    rng = np.random.default_rng(cell.seed)
    parked = draw_parkings(cell.cars, scenario.habits, rng)
    windows = open_windows(parked, cell.region, scenario.rules, rng)
    lasts_s = (windows.end - windows.start).astype(np.float64)
    closes = windows.end[windows.end < DAY_S - 1]  # the others stay open, it is only the simulated day that ends
    closings = np.bincount((closes / 60).astype(np.int64), minlength=int(DAY_S / 60))
    return _Done(
        cell=cell,
        parked=parked.parked_share(),
        open_cars=_on_clock(windows.open_cars(HOUR_S).astype(np.float64), cell.region),
        closings=_on_clock(closings.astype(np.float64), cell.region),
        window_hours=np.histogram(lasts_s / 3600, bins=np.arange(25))[0].astype(np.float64),
        plugged_s=float(lasts_s[windows.plugged].sum()),
        awake_s=float(windows.awake_s.sum(dtype=np.float64)),
        followed=_follow(scenario, cell, windows, rng) if cell.follows else None,
    )


def _follow(scenario: Scenario, cell: _Cell, windows: Windows, rng: np.random.Generator) -> _Followed:
    work = scenario.work
    start, end = windows.start.astype(np.float64), windows.end.astype(np.float64)
    capacity_s = float((end - start).sum())
    mean = work.load * capacity_s / work.mean_s if work.jobs is None else work.jobs * cell.cars / scenario.cars
    count = int(rng.poisson(mean))
    arrival = _arrivals(count, work.arrival, cell.region, rng)
    work_s = rng.lognormal(np.log(work.median_s), work.sigma, count)
    out = run_jobs(start, end, arrival, work_s, step_s=scenario.step_s, until_s=DAY_S, change=scenario.change, rng=rng)
    is_done = ~np.isnan(out.done_at)
    took_s = out.done_at[is_done] - arrival[is_done]
    return _Followed(
        jobs=count,
        capacity_s=capacity_s,
        busy_s=float(out.busy_s.sum()),
        busy_awake_s=float((out.busy_s * windows.awake_s / (end - start)).sum()),
        took_s=took_s,
        late_s=took_s - work_s[is_done],
        yields=out.yields,
        not_done=int((~is_done).sum()),
        running=_on_clock(_by_hour(out.running), cell.region),
        queued=_on_clock(_by_hour(out.queued), cell.region),
        peaks=_peaks(out, scenario.step_s),
    )


def _arrivals(count: int, how: str, region: Region, rng: np.random.Generator) -> Series:
    """Returns when jobs come, in seconds of the region's day, rising."""
    weights = np.ones(HOURS) if how == "flat" else OFFICE
    local = np.roll(weights, -region.behind_h - DAY_BEGINS_H)
    edges = np.concatenate([[0.0], np.cumsum(local / local.sum())])
    return np.sort(np.interp(rng.random(count), edges, np.arange(HOURS + 1) * HOUR_S))


def _on_clock(series: Series, region: Region) -> Series:
    """Turns a series of the region's day, from 04:00 on, into one of the first region's clock, from midnight on."""
    an_hour = len(series) // HOURS
    return np.roll(series, (DAY_BEGINS_H + region.behind_h) * an_hour)


def _by_hour(counts: npt.NDArray[np.int64]) -> Series:
    return np.array([part.mean() for part in np.array_split(counts.astype(np.float64), HOURS)])


def _peaks(out: Outcome, step_s: float) -> dict[str, float]:
    """Returns the highest rates a second, averaged over a minute or a step if that is longer."""
    wide = max(1, round(60 / step_s))
    rates = {"claims": out.starts, "releases": out.cut, "finishes": out.ends}
    kernel = np.ones(wide) / (wide * step_s)
    return {name: float(np.convolve(counts, kernel, "valid").max()) for name, counts in rates.items()} | {
        "running": float(out.running.max())
    }


def _report(scenario: Scenario, done: list[_Done]) -> Report:
    cars = sum(each.cell.cars for each in done)
    follows = [(each, each.followed) for each in done if each.followed is not None]
    scale = {
        region.name: sum(each.cell.cars for each in done if each.cell.region == region)
        / max(1, sum(each.cell.cars for each, _ in follows if each.cell.region == region))
        for region in REGIONS
    }

    def total(pick: Callable[[_Followed], float]) -> float:
        return sum(scale[each.cell.region.name] * pick(followed) for each, followed in follows)

    open_cars = np.sum([each.open_cars for each in done], axis=0)
    closings = np.sum([each.closings for each in done], axis=0)
    window_hours = np.sum([each.window_hours for each in done], axis=0)
    took_s = np.concatenate([followed.took_s for _, followed in follows])
    late_s = np.concatenate([followed.late_s for _, followed in follows])
    yields = np.concatenate([followed.yields for _, followed in follows])
    jobs, busy_s = total(lambda one: one.jobs), total(lambda one: one.busy_s)
    capacity_s = float(open_cars.sum() * HOUR_S)
    awake_s = sum(each.awake_s for each in done)
    busy_awake_s = total(lambda one: one.busy_awake_s)
    rules = scenario.rules
    energy_J = {
        "computing": busy_s * rules.compute_W,
        "awake for jobs": busy_awake_s * rules.awake_W,
        "waiting, the computer": (capacity_s - busy_s) * scenario.idle_W,
        "waiting, the car awake": (awake_s - busy_awake_s) * rules.awake_W,
    }
    rates = Rates(
        cars=float(open_cars.max()),
        running=total(lambda one: one.peaks["running"]),
        submits=jobs / DAY_S if scenario.work.arrival == "flat" else jobs * OFFICE.max() / OFFICE.sum() / HOUR_S,
        claims=total(lambda one: one.peaks["claims"]),
        finishes=total(lambda one: one.peaks["finishes"]),
        releases=total(lambda one: one.peaks["releases"]),
        lease_s=scenario.change.lease_s,
        jobs_kept=jobs,
    )
    return Report(
        cars=cars,
        parked_share=sum(each.parked * each.cell.cars for each in done) / cars,
        open_cars=_rounded(open_cars),
        open_share=capacity_s / (cars * DAY_S),
        closings_per_s_peak=float(closings.max() / 60),
        window_h=_percentiles_of_hours(window_hours),
        jobs=jobs,
        followed_jobs=len(yields),
        done_share=1 - total(lambda one: one.not_done) / jobs if jobs else 1.0,
        running=_rounded(_sum(follows, scale, lambda one: one.running)),
        queued=_rounded(_sum(follows, scale, lambda one: one.queued)),
        took_s=percentiles(took_s),
        late_s=percentiles(late_s),
        yields_per_job=float(yields.mean()) if len(yields) else 0.0,
        yielded_share=float((yields > 0).mean()) if len(yields) else 0.0,
        utilisation=busy_s / capacity_s if capacity_s else 0.0,
        energy_kWh={name: joules / _J_PER_KWH for name, joules in energy_J.items()},
        joules_per_job={name: joules / jobs for name, joules in energy_J.items()} if jobs else {},
        servers=load_of(rates, scenario.server),
    )


def _sum(
    follows: list[tuple[_Done, _Followed]], scale: dict[str, float], pick: Callable[[_Followed], Series]
) -> Series:
    found: Series = np.sum([scale[each.cell.region.name] * pick(one) for each, one in follows], axis=0)
    return found


def _rounded(series: Series) -> list[float]:
    return [round(float(each), 1) for each in series]


def percentiles(values: Series) -> dict[str, float]:
    """Returns mean, p50, p90 and p99; empty for no values."""
    if not len(values):
        return {}
    found = {f"p{each}": round(float(np.percentile(values, each)), 6) for each in (50, 90, 99)}
    return {"mean": round(float(values.mean()), 6), **found}


def _percentiles_of_hours(histogram: Series) -> dict[str, float]:
    """Returns p10, p50 and p90 of the windows' lengths, to the hour."""
    share = np.cumsum(histogram) / max(1.0, histogram.sum())
    return {f"p{each}": float(np.searchsorted(share, each / 100) + 1) for each in (10, 50, 90)}


DAYS = tuple(START_TIMES)
