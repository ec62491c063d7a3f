"""`idlehands submit`: a job from a file or from flags."""

from __future__ import annotations

import asyncio
import sys

import click

from runtime.cli.follow import follow_jobs
from runtime.cli.options import config_options, json_option, print_json, settings_of
from runtime.daemon.client import Client
from runtime.daemon.control import Submitted
from runtime.jobs.spec import load_spec, spec_from_flags


@click.command()
@click.argument("job_file", required=False, type=click.Path())
@click.option("--desktop", help="The desktop to work on: tls://host:port or unix:/path")
@click.option("--instruction", help='What to do there: \'Click on the "OK" button.\'')
@click.option("--agent", help="Which agent works: text_reader, block_clicker …")
@click.option("--model", help="A model bundle by name, or name@version.")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--deadline-s", type=float, help="Not worth doing after so many seconds.")
@click.option("--max-actions", type=int, help="The job fails after so many actions.")
@click.option("--max-s", type=float, help="The job fails after so many seconds of work.")
@click.option("--idempotency-key", help="Submitting the same key again returns the same job.")
@click.option("--follow", is_flag=True, help="Stream its progress; exit code 1 if it does not end done.")
@config_options
@json_option
def submit(
    job_file: str | None, follow: bool, config_path: str | None, settings: tuple[str, ...], as_json: bool, **flags: object
) -> None:
    """Submit JOB_FILE (TOML), or a job described by flags; flags go before the file.

    \b
    desktop = "tls://127.0.0.1:7461"
    instruction = "Click on the \\"OK\\" button."
    agent = "text_reader"
    priority = 0
    [limits]
    max_actions = 50
    max_s = 60
    """
    config = settings_of(config_path, settings)
    given = {name: value for name, value in flags.items() if value is not None}
    spec = load_spec(job_file, given) if job_file else spec_from_flags(given)

    async def send() -> Submitted:
        async with await Client.connect(config.daemon.control_path) as client:
            return await client.submit(spec)

    submitted = asyncio.run(send())
    if not follow:
        if as_json:
            print_json({"job": submitted.job, "new": submitted.new})
        else:
            print(submitted.job if submitted.new else f"{submitted.job} (submitted before under this key)")
        return
    last = asyncio.run(follow_jobs(config.daemon.control_path, submitted.job, as_json))
    sys.exit(0 if last is not None and last.kind == "done" else 1)
