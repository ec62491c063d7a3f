"""`idlehands submit`: jobs from a file or from flags."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, ClassVar

import click

from runtime.cli.follow import follow_jobs
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.daemon.client import Client
from runtime.daemon.control import Submitted
from runtime.errors import RuntimeFault
from runtime.jobs.job_file import load_jobs, parse_jobs, spec_fields

# Flag -> dotted field of the job (runtime/jobs/spec.py has the types and ranges).
FLAGS = {
    "desktop": "desktop",
    "instruction": "instruction",
    "agent": "agent",
    "model": "model",
    "token": "token",
    "priority": "priority",
    "deadline_s": "deadline_s",
    "max_actions": "limits.max_actions",
    "max_s": "limits.max_s",
    "inputs": "batch.file",
    "energy_kj": "budget.energy_kJ",
    "price": "budget.price",
    "idempotency_key": "idempotency_key",
}


class JobBroken(RuntimeFault):
    """A job failed because its desktop could not be reached, ended the session, or its worker died too often."""

    next_step: ClassVar[str] = "mend what the message names, then submit the job again"


@click.command()
@click.argument("job_file", required=False, type=click.Path())
@click.option("--desktop", help="The desktop to work on: tls://host:port, relay://host:port/TOKEN or unix:/path")
@click.option("--instruction", help="What to do there: 'Click on the \"OK\" button.'")
@click.option("--agent", help="Which agent works, by kind.")
@click.option("--model", help="A model bundle: name, name@version or 'name@>=1.2,<2'.")
@click.option("--token", help="The desktop owner's grant for this job (`idlehands desktop grant`).")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--deadline-s", type=float, help="Not worth doing after so many seconds.")
@click.option("--max-actions", type=int, help="The job fails after so many actions.")
@click.option("--max-s", type=float, help="The job fails after so many seconds of work.")
@click.option("--inputs", help="A batch instead of a desktop: a file of JSON lines, one input of --model each.")
@click.option("--energy-kJ", type=float, help="The job fails when its runs have used so much.")
@click.option("--price", type=float, help="The job fails when its runs have cost so much.")
@click.option("--idempotency-key", help="Submitting the same key again returns the same job.")
@click.option("--fields", "show_fields", is_flag=True, help="List every field of a job file and end.")
@click.option("--follow", is_flag=True, help="Stream the progress; exit code 1 if a job does not end done.")
@config_options
@json_option
def submit(
    job_file: str | None,
    show_fields: bool,
    follow: bool,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Submit the jobs of JOB_FILE (TOML), or one described by flags; flags go before the file.

    \b
    desktop = "tls://127.0.0.1:7461"
    instruction = "Click on the \\"OK\\" button."     # or: tasks = ["…", "…"]
    agent = "text_reader"
    [limits]
    max_actions = 50

    \b
    idlehands submit --model scorer@1.2 --inputs items.jsonl     a batch; `idlehands results JOB` has what came
    """
    if show_fields:
        print_table("fields of a job", ("field", "may be", "is"), spec_fields())
        return
    config = settings_of(config_path, settings)
    given = {FLAGS[name]: value for name, value in flags.items() if value is not None}
    from runtime.agent.protocol import check_kind

    specs = load_jobs(job_file, given) if job_file else parse_jobs({}, where="flags", overrides=given)
    for spec in specs:
        if not spec.is_batch:
            check_kind(spec.agent)

    async def send() -> list[Submitted]:
        async with await Client.connect(config.daemon.control_path) as client:
            return [await client.submit(spec) for spec in specs]

    submitted = asyncio.run(send())
    if follow:
        ended = [asyncio.run(follow_jobs(config.daemon.control_path, one.job, as_json)) for one in submitted]
        for last in ended:
            if last is not None and last.kind in ("broken", "worker_died"):
                raise JobBroken(f"job {last.job}: {json.loads(last.detail)['error']}", next_step="")
        sys.exit(0 if all(last is not None and last.kind == "done" for last in ended) else 1)
    if as_json:
        print_json([{"job": one.job, "new": one.new} for one in submitted])
        return
    for one in submitted:
        print(one.job if one.new else f"{one.job} (submitted before under this key)")
