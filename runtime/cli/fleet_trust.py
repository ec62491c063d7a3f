"""`idlehands fleet trust list|release`: how far each car of a fleet is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from runtime.cli.fleet_jobs import with_fleet
from runtime.cli.options import config_options, json_option, print_json, print_table

if TYPE_CHECKING:
    from runtime.fleet.client import Submitter
    from runtime.fleet.trust import Standing


@click.group()
def trust() -> None:
    """How far each car is trusted, from spot checks: another car decides on the same frames (docs/TRUST.md).

    \b
    idlehands fleet trust list                 for submitters and operators
    idlehands fleet trust release car-7        with an operator's credentials: FOLDER/operator of `fleet up`
    """


@trust.command("list")
@config_options
@json_option
def list_(config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Every car that was checked: the quarantined first, and why they are."""
    from runtime.fleet.standings import Standings

    async def ask(fleet: Submitter) -> None:
        rows = [_row(standing) for standing in await Standings(fleet.connection).all()]
        if as_json:
            print_json(rows)
            return
        columns = ("car", "standing", "valid in a row", "failures", "no verdict", "checked", "why")
        cells = [
            (
                row["car"],
                row["standing"],
                row["valid"],
                row["failures"],
                row["undecided"],
                f"{100 * row['check_rate']:.1f} %",
                row["quarantined"],
            )
            for row in rows
        ]
        print_table("cars", columns, cells)

    with_fleet(config_path, settings, ask)


@trust.command()
@click.argument("car")
@config_options
@json_option
def release(car: str, config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Let CAR work again. It begins as a new car: ten of its jobs in a row are checked."""
    from runtime.fleet.standings import Standings

    async def ask(fleet: Submitter) -> None:
        standing = await Standings(fleet.connection).release(car)
        print_json(_row(standing)) if as_json else print(f"{car} is released and checked as a new car")

    with_fleet(config_path, settings, ask)


def _row(standing: Standing) -> dict[str, Any]:
    name = "quarantined" if standing.quarantined else "new" if standing.is_new else "trusted"
    return {
        "car": standing.car,
        "standing": name,
        "valid": standing.valid,
        "failures": standing.failures,
        "undecided": standing.undecided,
        "check_rate": standing.check_rate,
        "quarantined": standing.quarantined,
        "changed_ns": standing.changed_ns,
    }
