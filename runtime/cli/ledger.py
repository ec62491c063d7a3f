"""`idlehands ledger`: is the ledger whole, and what does it come to?"""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime
from pathlib import Path

import click

from kernels.errors import IdlehandsError
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.ledger import audit


@click.group()
@config_options
@click.pass_context
def ledger(ctx: click.Context, config_path: str | None, settings: tuple[str, ...]) -> None:
    """What runs used: seconds, CPU time, actions, joules, in a chain of hashes."""
    ctx.obj = settings_of(config_path, settings).daemon.ledger_path


@ledger.command()
@click.option("--car", metavar="KEY", help="The car's public key (64 hexadecimal digits) that must have signed.")
@json_option
@click.pass_obj
def verify(folder: Path, car: str | None, as_json: bool) -> None:
    """Check every line, its signature, and that each follows the one before it; exit code 1 if something is wrong."""
    found = audit.verify(folder, car=car)
    if as_json:
        print_json({**dataclasses.asdict(found), "is_whole": found.is_whole})
    else:
        print(f"{found.entries} entries, {found.countersigned} of them counter-signed by a fleet")
        print(f"the last hash is {found.last_hash}")
        for key in found.cars:
            print(f"signed by {key}")
        for damage in found.damages:
            print(f"wrong: {damage}")
    sys.exit(0 if found.is_whole else 1)


@ledger.command()
@click.option("--since", metavar="TIME", help="From this time on: 2031-05-01")
@click.option("--until", metavar="TIME", help="Up to this time, which is not included.")
@json_option
@click.pass_obj
def statement(folder: Path, since: str | None, until: str | None, as_json: bool) -> None:
    """Sum up what was used, in all and by model. Joules that no rail measured are estimates, and counted as such."""
    made = audit.statement(folder, _time_ns(since, 0), _time_ns(until, 2**63 - 1))
    if as_json:
        print_json(dataclasses.asdict(made))
        return
    rows = [
        (name, used.runs, f"{used.seconds:.1f}", used.actions, f"{used.joules:.1f}", f"{used.estimated_joules:.1f}")
        for name, used in [*sorted(made.by_model.items()), ("all", made.total)]
    ]
    columns = ("model", "runs", "seconds", "actions", "joules", "of them estimated")
    print_table(f"{made.jobs} jobs", columns, rows)


def _time_ns(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError as error:
        raise IdlehandsError(f"{text!r} is no time", next_step="write it as 2031-05-01 or 2031-05-01T14:30") from error
