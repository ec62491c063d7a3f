"""Options that several verbs share, and how they print: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from kernels.errors import IdlehandsError
from runtime.config.config import Config, load_config

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text for people.")


def config_options(command: Command) -> Command:
    """Adds --config and --set; the verb gets `config_path` and `settings`, to hand to `settings_of`."""
    add_set = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="A setting that goes before the file: worker.threads=2",
    )
    add_path = click.option(
        "--config",
        "config_path",
        metavar="FILE",
        help="Settings (TOML). Default: /etc/idlehands/idlehands.toml if there.",
    )
    return add_path(add_set(command))


def settings_of(config_path: str | None, settings: Sequence[str]) -> Config:
    return load_config(config_path, overrides_of(settings))


def overrides_of(settings: Sequence[str]) -> dict[str, object]:
    """Returns {"worker.threads": 2} of ["worker.threads=2"]: values as in TOML, a bare word is a text."""
    overrides: dict[str, object] = {}
    for item in settings:
        key, separator, text = item.partition("=")
        if not separator:
            raise IdlehandsError(
                f"--set takes KEY=VALUE, got {item!r}", next_step="write for example --set worker.threads=2"
            )
        try:
            overrides[key] = msgspec.toml.decode(f"value = {text}".encode())["value"]
        except msgspec.DecodeError:
            overrides[key] = text
    return overrides


def print_json(document: object) -> None:
    json.dump(document, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)  # the first is what other verbs are given: never cut
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    Console().print(table)
