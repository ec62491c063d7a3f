"""`idlehands fleet simulate`: a day of a fleet, as tables, JSON and a picture."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import NoReturn

import click

from kernels.errors import IdlehandsError
from runtime.cli.options import json_option, print_json, print_table
from runtime.fleet.simulate.day import DAYS, Report, Scenario, Work
from runtime.fleet.simulate.day import simulate as run
from runtime.fleet.simulate.parking import Habits
from runtime.fleet.simulate.plots import plot as draw
from runtime.fleet.simulate.windows import Rules


@click.command()
@click.option("--cars", default=4_000_000, show_default=True, type=click.IntRange(1000, 100_000_000))
@click.option("--jobs", type=click.FloatRange(1), help="Jobs a day. Default: as many as --load asks for.")
@click.option(
    "--load",
    default=0.6,
    show_default=True,
    type=click.FloatRange(0, 5),
    help="Work as a share of the open cars' time.",
)
@click.option("--job-median-s", default=300.0, show_default=True, type=click.FloatRange(0.1, 86400))
@click.option("--job-sigma", default=1.0, show_default=True, type=click.FloatRange(0, 3), help="Of the log-normal.")
@click.option("--arrival", default="flat", type=click.Choice(["flat", "office"]), help="When jobs come.")
@click.option("--day", default="weekday", type=click.Choice(DAYS), help="Whose driving.")
@click.option("--month", default="january", type=click.Choice(["january", "july"]), help="Whose weather.")
@click.option("--nights-only", default=0.25, type=click.FloatRange(0, 1), help="Share of the owners.")
@click.option("--charging-only", default=0.15, type=click.FloatRange(0, 1), help="Share of the owners.")
@click.option("--sample", default=1, type=click.IntRange(1, 1000), help="Cells a region whose jobs are followed.")
@click.option("--processes", type=click.IntRange(1, 1024), help="Default: one a CPU.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--plot", type=click.Path(path_type=Path), help="Write a picture (PNG) to this file.")
@click.option(
    "--check", "soak", type=click.Path(path_type=Path), help="Instead: compare with a report of `fleet soak --json`."
)
@json_option
def simulate(
    cars: int,
    jobs: float | None,
    load: float,
    job_median_s: float,
    job_sigma: float,
    arrival: str,
    day: str,
    month: str,
    nights_only: float,
    charging_only: float,
    sample: int,
    processes: int | None,
    seed: int,
    plot: Path | None,
    soak: Path | None,
    as_json: bool,
) -> None:
    """Simulate a day: when cars park (surveys say), when the policy lets them work, and what becomes of the jobs.

    \b
    idlehands fleet simulate                                    four million cars, 60 % busy
    idlehands fleet simulate --jobs 5e7 --arrival office        fifty million jobs, in office hours
    idlehands fleet simulate --month july --json
    idlehands fleet simulate --check soak.json                  the simulator against a real run

    Parkings, gate windows and energy are drawn for every car; jobs are followed one by one in a sample of the cells.
    """
    if soak is not None:
        _check(soak, seed, as_json)
    scenario = Scenario(
        cars=cars,
        seed=seed,
        sample=sample,
        habits=Habits(day=day),
        rules=Rules(month=month, nights_only=nights_only, charging_only=charging_only),
        work=Work(jobs=jobs, load=load, median_s=job_median_s, sigma=job_sigma, arrival=arrival),
    )
    report = _with_progress(scenario, processes)
    if plot is not None:
        try:
            plot.write_bytes(draw(report))
        except OSError as error:
            raise IdlehandsError(
                f"{plot} cannot be written: {error.strerror}", next_step="name a file in a folder that you may write"
            ) from error
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _print(report)


def _check(soak: Path, seed: int, as_json: bool) -> NoReturn:
    """Prints the comparison and ends; exit code 1 where a number is not near."""
    from runtime.fleet.simulate.check import TOLERANCE, check

    found = check(soak, seed)
    if as_json:
        print_json([{**dataclasses.asdict(each), "ratio": each.ratio, "is_near": each.is_near} for each in found])
    else:
        rows = [
            (
                each.name,
                f"{each.measured:.4g}",
                f"{each.simulated:.4g}",
                f"{each.ratio:.2f}",
                "" if each.is_near else "!",
            )
            for each in found
        ]
        title = f"measured and simulated (near: within {100 * TOLERANCE:.0f} %)"
        print_table(title, ("", "measured", "simulated", "ratio", ""), rows)
    sys.exit(0 if all(each.is_near for each in found) else 1)


def _with_progress(scenario: Scenario, processes: int | None) -> Report:
    """Runs the day with a bar on stderr, which a file or a pipe does not get."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("cells"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        return run(
            scenario, processes=processes, on_cell=lambda done, all_: progress.update(task, completed=done, total=all_)
        )


def _print(report: Report) -> None:
    rows = [
        (f"{hour:02}:00", f"{cars:,.0f}", f"{100 * cars / report.cars:.0f} %", f"{running:,.0f}", f"{queued:,.0f}")
        for hour, (cars, running, queued) in enumerate(
            zip(report.open_cars, report.running, report.queued, strict=True)
        )
    ]
    print_table(f"{report.cars:,} cars, by hour (eastern clock)", ("", "open", "of all", "at work", "jobs wait"), rows)
    took, late = report.took_s, report.late_s
    servers = report.servers
    energy = "; ".join(f"{name} {kWh / 1000:,.0f} MWh" for name, kWh in report.energy_kWh.items())
    print_table(
        "the day",
        ("", ""),
        [
            ("parked", f"{100 * report.parked_share:.1f} % of the time"),
            (
                "gates open",
                f"{100 * report.open_share:.1f} % of the time; a window {report.window_h['p50']:.0f} h (p50)",
            ),
            ("closings at the peak", f"{report.closings_per_s_peak:,.0f} a second"),
            ("jobs", f"{report.jobs:,.0f}, of them {report.followed_jobs:,} followed"),
            ("done by the day's end", f"{100 * report.done_share:.2f} %"),
            ("a job took", f"p50 {took['p50']:.0f} s, p90 {took['p90']:.0f} s, p99 {took['p99']:.0f} s"),
            ("of it not work", f"p50 {late['p50']:.2f} s, p90 {late['p90']:.2f} s, p99 {late['p99']:.2f} s"),
            (
                "changes of car",
                f"{report.yields_per_job:.4f} a job; {100 * report.yielded_share:.2f} % of jobs had one",
            ),
            ("energy", energy),
            ("a job", "; ".join(f"{name} {joules / 1000:.1f} kJ" for name, joules in report.joules_per_job.items())),
            ("connections' memory", f"{servers.connection_bytes / 1e9:.0f} GB"),
            ("messages, writes", f"{servers.messages_per_s:,.0f} and {servers.writes_per_s:,.0f} a second"),
            ("records kept", f"{servers.stored_bytes / 1e9:,.0f} GB"),
            ("servers", f"{servers.servers}, by {servers.limit}"),
        ],
    )
