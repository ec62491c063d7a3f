"""`idlehands demo-fleet`: one task, two cars, one machine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from runtime.cli.options import json_option, print_json


@click.command("demo-fleet")
@click.option("--task", default="login-user", show_default=True, help="A MiniWoB++ page that takes several actions.")
@click.option("--agent", default="text_reader", show_default=True, help="Which agent acts.")
@click.option("--seed", default="fleet", show_default=True, help="Prefix of the episodes' seeds.")
@click.option(
    "--out", default="out/demo-fleet", show_default=True, type=click.Path(path_type=Path), help="Logs, report."
)
@json_option
def demo_fleet(task: str, agent: str, seed: str, out: Path, as_json: bool) -> None:
    """Show a task move from car to car: the first is driven off in its middle, the second finishes it.

    Two daemons behind two gates take jobs from one fleet's server and work one desktop (Chromium under Xvfb). Exit code
    1 if the task was not done, did not move, or an action happened twice.
    """
    from runtime.demo.fleet_show import FleetBill, show_fleet

    say = (lambda text: None) if as_json else (lambda text: print(f"  {text}", flush=True))
    report = asyncio.run(show_fleet(FleetBill(task, seed, agent, out.resolve(), say)))
    if as_json:
        print_json(report)
    else:
        print_report(report)
    sys.exit(0 if report["success"] and report["moved"] and not report["actions_doubled"] else 1)


def print_report(report: dict[str, Any]) -> None:
    print(f"task       {report['task']}: {report['instruction']}")
    print(f"cars       {' then '.join(report['owners'])}; handed over in {report['handover_ms']} ms")
    print(f"reward     {report['raw_reward']:g}, {'success' if report['success'] else 'NOT done'}")
    print(f"desktop    {report['actions_in_log']} actions in its log, {report['actions_doubled']} of them twice")
