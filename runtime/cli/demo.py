"""`idlehands demo`: the main job, live, on one machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from runtime.cli.options import json_option, print_json, print_table

TASKS = (
    "click-button",
    "click-dialog",
    "click-link",
    "click-tab",
    "enter-text",
    "focus-text",
    "focus-text-2",
    "login-user",
)
RESUME_TASK = "login-user"


@click.command()
@click.option("--tasks", default=",".join(TASKS), show_default=True, help="MiniWoB++ pages, by name.")
@click.option("--episodes", default=20, show_default=True, type=click.IntRange(1, 1000), help="Episodes of each page.")
@click.option("--agent", default="text_reader", show_default=True, help="Which agent acts.")
@click.option("--model", default="", help="Its model bundle, by name; default: the agent's own.")
@click.option("--resume-task", default=RESUME_TASK, show_default=True, help="The page that the driver interrupts.")
@click.option("--seed", default="demo", show_default=True, help="Prefix of the episodes' seeds.")
@click.option(
    "--out", default="out/demo", show_default=True, type=click.Path(path_type=Path), help="Report, pictures, logs."
)
@json_option
def demo(
    tasks: str, episodes: int, agent: str, model: str, resume_task: str, seed: str, out: Path, as_json: bool
) -> None:
    """Show the product at work, live.

    A recorded car drives, parks and is plugged in; the gate opens; the daemon's worker dials a real desktop (Xvfb with
    Chromium) over TLS and works the pages there from their pixels. Half-way the driver comes back in the middle of a
    job; the car parks again and the job is finished from where it was.
    """
    from runtime.demo.show import Playbill, show

    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    bill = Playbill(names, episodes, resume_task, agent, model, seed, out.resolve(), quiet=as_json)
    report = asyncio.run(show(bill))
    if as_json:
        print_json(report)
    else:
        print_report(report)


def print_report(report: dict[str, Any]) -> None:
    columns = ("task", "episodes", "success", "raw 1", "raw > 0", "interrupted", "episode p50 s")
    print_table(f"idlehands demo, agent {report['agent']}", columns, [tuple(row.values()) for row in report["tasks"]])
    latency = report["action_ms"]
    parts = "  ".join(f"{name} {part['p50']}" for name, part in latency["split"].items())
    print(f"success         {_share(report['success_rate'])} of the episodes, {report['actions']} actions")
    print(
        f"action          p50 {latency['p50']} ms, p90 {latency['p90']} ms, p99 {latency['p99']} ms   (p50 of {parts})"
    )
    multiple = report["human_multiple"]
    print(f"speed           {f'{multiple:.1f} times a person' if multiple else 'no human time for these pages'}")
    stages = "  ".join(f"{stage} {value} ms" for stage, value in report["yield_ms"].items())
    print(f"driver returns  {stages}; the job was {'resumed and finished' if report['resumed'] else 'NOT resumed'}")
    print(f"kept            {report['lost_jobs']} jobs lost, {report['double_actions']} actions doubled")
    print(f"pictures        {report['sheet']}")


def _share(rate: float | None) -> str:
    return "none" if rate is None else f"{100 * rate:.0f} %"
