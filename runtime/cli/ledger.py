"""`idlehands ledger`: is the ledger whole, what does it come to, and its receipts for others."""

from __future__ import annotations

import csv
import dataclasses
import io
import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec

from kernels.errors import IdlehandsError
from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.config.config import Config
from runtime.ledger import audit, page
from runtime.ledger import statement as statements

_EVER = (0, 2**63 - 1)


@click.group()
@config_options
@click.pass_context
def ledger(ctx: click.Context, config_path: str | None, settings: tuple[str, ...]) -> None:
    """What runs used and earned: seconds, actions, joules, in a chain of signed receipts.

    \b
    idlehands ledger verify                                  is it whole, and who signed it?
    idlehands ledger --set prices.per_hour=0.15 statement    this month: hours, kWh, earned, net of electricity
    idlehands ledger statement --month 2031-05 --html may.html
    idlehands ledger export --format csv > receipts.csv
    """
    ctx.obj = settings_of(config_path, settings)


@ledger.command()
@click.option("--car", metavar="KEY", help="The car's public key (64 hexadecimal digits) that must have signed.")
@json_option
@click.pass_obj
def verify(config: Config, car: str | None, as_json: bool) -> None:
    """Check every line, its signature, and that each follows the one before it; exit code 1 if something is wrong."""
    found = audit.verify(config.daemon.ledger_path, car=car)
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
@click.option("--month", metavar="MONTH", help="A month by the local calendar: 2031-05. Default: this month.")
@click.option("--since", metavar="TIME", help="From this time on instead: 2031-05-01")
@click.option("--until", metavar="TIME", help="Up to this time, which is not included.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write a picture by day (PNG) to this file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to print to this file.")
@json_option
@click.pass_obj
def statement(
    config: Config,
    month: str | None,
    since: str | None,
    until: str | None,
    plot: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """The owner's statement of a month: hours, kWh, through the battery, earned, and net of electricity and wear.

    Joules that no rail measured are estimates, and counted as such. Prices are settings: [prices].
    """
    since_ns, until_ns = _span(month, since, until)
    prices = statements.Prices(**dataclasses.asdict(config.prices))
    found = audit.receipts(config.daemon.ledger_path, since_ns, until_ns)
    made = statements.statement(found, since_ns, until_ns, prices)
    if plot is not None:
        page.write(plot, page.plot(made))
    if html is not None:
        page.write(html, page.page(made).encode())
    if as_json:
        print_json(_tree(made))
        return
    print_table(page.title(made), ("", ""), page.lines(made))
    rows = [
        (name, used.runs, f"{used.hours:.2f}", used.actions, f"{used.compute_kWh:.3f}", f"{used.net:.2f}")
        for name, used in sorted(made.by_model.items())
    ]
    print_table("by model", ("model", "runs", "hours", "actions", "kWh", f"net {prices.currency}"), rows)


@ledger.command()
@click.option("--since", metavar="TIME", help="From this time on: 2031-05-01")
@click.option("--until", metavar="TIME", help="Up to this time, which is not included.")
@click.option("--waiting", is_flag=True, help="Only what no fleet has counter-signed yet.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["receipts", "csv"]),
    default="receipts",
    help="Signed receipts, a JSON document a line (what a fleet verifies), or a table for a spreadsheet.",
)
@click.pass_obj
def export(config: Config, since: str | None, until: str | None, waiting: bool, form: str) -> None:
    """Write receipts to standard output, oldest first."""
    period = _time_ns(since, _EVER[0]), _time_ns(until, _EVER[1])
    found = audit.receipts(config.daemon.ledger_path, *period)
    chosen = (receipt for receipt in found if not waiting or receipt.countersignature is None)
    if form == "receipts":
        for receipt in chosen:
            print(receipt.encode().decode())
        return
    table: csv.DictWriter[str] | None = None
    out = io.StringIO(newline="")
    for receipt in chosen:
        row = {**msgspec.to_builtins(receipt.entry), "is_countersigned": receipt.countersignature is not None}
        if table is None:
            table = csv.DictWriter(out, list(row))
            table.writeheader()
        table.writerow(row)
        sys.stdout.write(out.getvalue())
        out.seek(0)
        out.truncate()


def _tree(made: statements.Statement) -> dict[str, object]:
    """The statement as JSON: each sum with its net."""

    def sums(used: statements.Used) -> dict[str, object]:
        return {**dataclasses.asdict(used), "net": used.net}

    return {
        "since_ns": made.since_ns,
        "until_ns": made.until_ns,
        "prices": dataclasses.asdict(made.prices),
        "jobs": made.jobs,
        "total": sums(made.total),
        "countersigned": sums(made.countersigned),
        "by_day": {day: sums(used) for day, used in sorted(made.by_day.items())},
        "by_model": {name: sums(used) for name, used in sorted(made.by_model.items())},
    }


def _span(month: str | None, since: str | None, until: str | None) -> tuple[int, int]:
    """Returns the period in ns (UTC): what --since and --until say, else a month of the local calendar."""
    if since is not None or until is not None:
        if month is not None:
            raise IdlehandsError("--month and --since or --until contradict each other", next_step="give one of them")
        return _time_ns(since, _EVER[0]), _time_ns(until, int(datetime.now().timestamp() * 1e9))
    try:
        begin = datetime.strptime(month, "%Y-%m") if month else datetime.now().replace(day=1)
    except ValueError as error:
        raise IdlehandsError(f"{month!r} is no month", next_step="write it as 2031-05") from error
    begin = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return int(begin.timestamp() * 1e9), int(end.timestamp() * 1e9)


def _time_ns(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError as error:
        raise IdlehandsError(f"{text!r} is no time", next_step="write it as 2031-05-01 or 2031-05-01T14:30") from error
