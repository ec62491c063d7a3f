"""`idlehands fleet`: a table of verbs, each in a module of its own."""

from __future__ import annotations

import click

from runtime.cli.verbs import Verbs

VERBS = {
    "up": ("runtime.cli.fleet_up:up", "A fleet's server on this machine, with TLS and an identity for everyone."),
    "books": ("runtime.cli.fleet_books:books", "Counter-sign the cars' receipts, for a cluster of your own."),
    "submit": ("runtime.cli.fleet_jobs:submit", "Submit jobs to a fleet."),
    "status": ("runtime.cli.fleet_jobs:status", "Jobs of a fleet: one, or the newest; how many are in which state."),
    "watch": ("runtime.cli.fleet_jobs:watch", "What happens to a job, as it happens, until it is over."),
    "results": ("runtime.cli.results:fleet_results", "What a batch has brought, as JSON lines."),
    "cancel": ("runtime.cli.fleet_jobs:cancel", "Cancel a job."),
    "top": ("runtime.cli.fleet_jobs:top", "The fleet at a glance, again and again: states, cars, rates."),
    "variants": ("runtime.cli.fleet_jobs:variants", "How the variants of an experiment do, side by side."),
    "trust": ("runtime.cli.fleet_trust:trust", "Which cars are trusted how far, who is quarantined, and why."),
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
    idlehands fleet up --folder fleet --enroll car-1:car --enroll me:submitter
    idlehands fleet submit job.toml --watch        needs fleet.server and fleet.credentials (--set, or settings)
    idlehands fleet soak                           a thousand cars, everything goes wrong
    idlehands fleet simulate --plot day.png        a day of four million cars
    """
