"""`idlehands why`: the gate's true reasons, now or at any past moment."""

from __future__ import annotations

from datetime import datetime

import click

from firmware_bridge import why as bridge_why
from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.settings import load, parse
from kernels.errors import IdlehandsError
from runtime.cli.options import json_option, overrides_of, print_json


@click.command()
@click.option("--settings", "path", metavar="FILE", help="The bridge's settings (TOML), as given to idlehands bridge.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One of them: runtime_dir=/run/idlehands")
@click.option("--at", metavar="TIME", help="As of a past moment, from the journal: 2031-05-01T14:30")
@json_option
def why(path: str | None, settings: tuple[str, ...], at: str | None, as_json: bool) -> None:
    """Say why the gate is as it is: each reason with its value, its limit, since when, and what would open it."""
    overrides = overrides_of(settings)
    found = load(path, BridgeSettings, overrides=overrides) if path else parse("", BridgeSettings, overrides=overrides)
    answer = bridge_why.now(found) if at is None else bridge_why.as_of(found.journal_path, _moment(at))
    if as_json:
        print_json(answer)
    else:
        print(bridge_why.text(answer))


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise IdlehandsError(f"--at {text!r} is no time", next_step="write it as 2031-05-01T14:30") from error
