"""`idlehands desktop log`: what was seen and done on this desktop; whether the log is whole, and a filmstrip."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from runtime.cli.options import json_option, print_json
from runtime.desktop import log as session_log


@click.group()
@click.pass_context
def log(ctx: click.Context) -> None:
    """The signed log of this desktop: what was seen (hashes), what was done, for which job, by which model."""
    ctx.obj = Path(ctx.obj).parent  # the identity lies in the state folder, the log beside it


@log.command()
@click.option("--key", metavar="HEX", help="The key that must have sealed it. Default: the one that the log names.")
@json_option
@click.pass_obj
def verify(folder: Path, key: str | None, as_json: bool) -> None:
    """Check every line and every seal; an error names the record that is wrong."""
    found = session_log.verify(folder / session_log.LOG_FILE, key)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        print(f"whole: {found.records} records, {found.sealed} of them sealed by {found.key}")


@log.command()
@click.option("--job", help="Only this job.")
@click.pass_obj
def show(folder: Path, job: str | None) -> None:
    """Print the records, one JSON object a line."""
    for record in session_log.read_log(folder / session_log.LOG_FILE):
        if job is None or record.get("job") == job:
            print(json.dumps(record))


@log.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--job", help="Only this job.")
@click.pass_obj
def render(folder: Path, target: Path, job: str | None) -> None:
    """Draw the actions as a filmstrip into TARGET (.png or .html); pictures are there if the limits file kept them."""
    from runtime.desktop import pictures

    records = session_log.read_log(folder / session_log.LOG_FILE)
    count = pictures.render((one for one in records if job is None or one.get("job") == job), folder, target)
    print(f"{count} actions in {target}")
