"""`idlehands jobs`: list, follow and cancel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import ClassVar

import click
import msgspec

from runtime.cli.follow import follow_jobs
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.daemon.client import Client
from runtime.daemon.control import JobView
from runtime.errors import RuntimeFault

SHOWN = 12  # characters of a job's name in tables


class JobNotNamed(RuntimeFault):
    """The beginning of a name that was given is that of no job, or of several."""

    next_step: ClassVar[str] = "give more of it; 'idlehands jobs' lists them"


@click.command()
@click.argument("job", required=False)
@click.option(
    "--state", "states", multiple=True, help="Only these states (queued, claimed, done, failed, asked, cancelled)."
)
@click.option("--limit", default=20, show_default=True, help="At most so many, newest first.")
@click.option("--cancel", "cancel_reason", metavar="REASON", help="Cancel JOB, saying why.")
@click.option("--follow", is_flag=True, help="Stream what happens to JOB (or to all jobs) until it is over.")
@config_options
@json_option
def jobs(
    job: str | None,
    states: tuple[str, ...],
    limit: int,
    cancel_reason: str | None,
    follow: bool,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the daemon's jobs, or follow or cancel one of them. The beginning of a JOB's name is enough."""
    config = settings_of(config_path, settings)
    if cancel_reason is not None and job is None:
        raise click.UsageError("--cancel needs a JOB")

    async def ask() -> tuple[JobView, ...]:
        async with await Client.connect(config.daemon.control_path) as client:
            if job is None:
                return await client.list_jobs(states, limit)
            one = _only(await client.list_jobs((), 1_000_000), job)
            return (one if cancel_reason is None else await client.cancel(one.job, cancel_reason),)

    if follow and job is None:
        asyncio.run(follow_jobs(config.daemon.control_path, "", as_json))
        return
    found = asyncio.run(ask())
    if follow:
        asyncio.run(follow_jobs(config.daemon.control_path, found[0].job, as_json))
        return
    if as_json:
        print_json([msgspec.structs.asdict(one) for one in found])
        return
    now_ns = time.time_ns()
    rows = [
        (
            one.job[:SHOWN],
            one.state,
            one.instruction[:48],
            one.agent,
            one.actions,
            _age(now_ns - one.updated_ns),
            one.reason[:60],
        )
        for one in found
    ]
    print_table("jobs", ("job", "state", "instruction", "agent", "actions", "changed", "reason"), rows)


def _only(found: Sequence[JobView], beginning: str) -> JobView:
    """Returns the one job whose name begins so. Raises JobNotNamed for none and for several."""
    named = [one for one in found if one.job.startswith(beginning)]
    if len(named) != 1:
        raise JobNotNamed(f"{len(named)} jobs begin with {beginning!r}")
    return named[0]


def _age(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds) // 1_000_000_000
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
