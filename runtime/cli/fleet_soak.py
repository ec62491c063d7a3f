"""`idlehands fleet soak`: a thousand cars and everything going wrong, on this machine."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from runtime.cli.options import json_option, print_json

AIMS = {"handover_p50_ms": 20.0, "handover_p99_ms": 200.0, "speed_ratio": 0.70}
LIMITS = {"lost": 0, "doubled": 0, "receipts_bad": 0}


@click.command()
@click.option("--cars", default=1000, show_default=True, type=click.IntRange(2, 20_000), help="Cars, each a client.")
@click.option("--jobs", default=50_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Jobs submitted.")
@click.option("--processes", default=4, show_default=True, type=click.IntRange(2, 64), help="Processes of the cars.")
@click.option("--rate", default=0.0, help="Jobs submitted a second. Default: a quarter of the speed measured.")
@click.option("--window-s", default=5.0, show_default=True, help="One window of the speed's measurement.")
@click.option("--rounds", default=3, show_default=True, help="Windows of each kind.")
@click.option("--seed", default=1, show_default=True, help="Of everything that is drawn.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep everything there. Default: nothing is kept.")
@json_option
def soak(
    cars: int,
    jobs: int,
    processes: int,
    rate: float,
    window_s: float,
    rounds: int,
    seed: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Prove that nothing is lost, done twice, or unpaid.

    Light cars (a null model, a desktop behind a fence, a ledger with receipts) take jobs from one nats-server while
    drivers return, processes and the server are killed -9, and links are cut. Exit code 1 if anything was lost, done
    twice or has no valid receipt; times are aims (handover p50 20 ms, p99 200 ms, 70 % of the bare operations), which
    the report says to be met or not: they are the machine's too.
    """
    from runtime.fleet.soak.director import Soak, SoakPlan

    place = folder or Path(tempfile.mkdtemp(prefix="idlehands-soak-"))
    say = (lambda text: print(f"  {text}", file=sys.stderr, flush=True)) if sys.stderr.isatty() or not as_json else None
    plan = SoakPlan(cars, jobs, processes, place, window_s, rounds, rate, seed=seed)
    if say is not None:
        plan = SoakPlan(cars, jobs, processes, place, window_s, rounds, rate, seed=seed, say=say)
    try:
        report = asyncio.run(Soak(plan).go())
    finally:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
    handover = report["handover_ms"]
    report["aims"] = {
        "handover_p50_ms": handover["p50"] <= AIMS["handover_p50_ms"],
        "handover_p99_ms": handover["p99"] <= AIMS["handover_p99_ms"],
        "speed_ratio": report["speed_ratio"] >= AIMS["speed_ratio"],
    }
    report["ok"] = all(report[name] <= limit for name, limit in LIMITS.items()) and not report["broken_cars"]
    if as_json:
        print_json(report)
    else:
        print_report(report)
    sys.exit(0 if report["ok"] else 1)


def print_report(report: dict[str, Any]) -> None:
    handover = report["handover_ms"]
    print(f"jobs       {report['done']} of {report['jobs']} done by {report['cars']} cars in {report['over_s']} s")
    print(f"kept       lost {report['lost']}, doubled {report['doubled']}, receipts_bad {report['receipts_bad']}")
    print(f"yields     {handover['n']} handed over, p50 {handover['p50']} ms, p99 {handover['p99']} ms")
    speed = f"{report['jobs_per_s']} jobs/s, {100 * report['speed_ratio']:.0f} % of the bare operations"
    print(f"speed      {speed} ({report['bare_jobs_per_s']}/s)")
    kills = f"{report['process_kills']} processes and {report['server_kills']} servers killed"
    print(f"trouble    {kills}, {report['partitions']} links cut")
    print(f"memory     server {report['server_MiB']} MiB, a car {report['car_KiB']} KiB")
