"""`idlehands bridge`: the bridge has a command line of its own, so that it starts without the runtime."""

from __future__ import annotations

import sys

import click

from firmware_bridge.main import main


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bridge(arguments: tuple[str, ...]) -> None:
    """Read the vehicle, decide by policy, write the gate word (see `idlehands bridge --help`)."""
    sys.exit(main(arguments))
