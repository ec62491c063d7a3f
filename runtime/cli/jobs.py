"""`idlehands jobs`: list, follow and cancel."""

from __future__ import annotations

import asyncio
import time

import click
import msgspec

from runtime.cli.follow import follow_jobs
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.daemon.client import Client
from runtime.daemon.control import JobView


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
    """List the daemon's jobs, or follow or cancel one of them."""
    config = settings_of(config_path, settings)
    if cancel_reason is not None and job is None:
        raise click.UsageError("--cancel needs a JOB")
    if follow:
        asyncio.run(follow_jobs(config.daemon.control_path, job or "", as_json))
        return

    async def ask() -> tuple[JobView, ...]:
        async with await Client.connect(config.daemon.control_path) as client:
            if cancel_reason is not None and job is not None:
                return (await client.cancel(job, cancel_reason),)
            found = await client.list_jobs(states, 1_000_000 if job else limit)
            return tuple(one for one in found if job is None or one.job == job)

    found = asyncio.run(ask())
    if as_json:
        print_json([msgspec.structs.asdict(one) for one in found])
        return
    now_ns = time.time_ns()
    rows = [
        (
            one.job,
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


def _age(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds) // 1_000_000_000
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"
