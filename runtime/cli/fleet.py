"""`idlehands fleet`: a table of verbs, each in a module of its own."""

from __future__ import annotations

import click

from runtime.cli.verbs import Verbs

VERBS = {
    "soak": (
        "runtime.cli.fleet_soak:soak",
        "A thousand cars, and everything goes wrong: what is lost, doubled, unpaid.",
    ),
    "simulate": ("runtime.cli.fleet_simulate:simulate", "A day of millions of cars: capacity, jobs, energy, servers."),
}


@click.group(cls=Verbs, table=VERBS)
def fleet() -> None:
    """Many cars that come and go.

    \b
    idlehands fleet simulate --plot day.png        a day of four million cars
    """
