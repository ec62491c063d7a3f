"""The command line of the bridge alone: `python -m firmware_bridge.main`; `idlehands bridge` calls the same."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from firmware_bridge.bridge import run_bridge
from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.policy_settings import Policy
from firmware_bridge.settings import load, parse, rows, template
from firmware_bridge.sources.table import SOURCES
from kernels.errors import IdlehandsError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the bridge until it is told to stop. Returns 0, or 2 after one line on stderr."""
    arguments = _parser().parse_args(argv)
    if arguments.policy_template:
        print(template(Policy), end="")
        return 0
    given = {row.name: getattr(arguments, row.name) for row in rows(BridgeSettings)}
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        if arguments.settings is None:
            settings = parse("", BridgeSettings, where="the command line", overrides=overrides)
        else:
            settings = load(arguments.settings, BridgeSettings, overrides=overrides)
        asyncio.run(run_bridge(settings, record=arguments.record))
    except IdlehandsError as error:
        print(f"idlehands bridge: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    forms = "\n".join(f"  {form:<58} {what}" for _, form, what in SOURCES.values())
    parser = argparse.ArgumentParser(
        prog="idlehands bridge",
        description="Reads the vehicle, decides by policy, and alone writes the gate word.",
        epilog=f"signal sources:\n{forms}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with the settings below")
    parser.add_argument("--record", metavar="FILE", help="also write what the first source says as a trace")
    parser.add_argument("--policy-template", action="store_true", help="print a documented policy.toml and end")
    for row in rows(BridgeSettings):
        flag = "--" + row.name.replace("_", "-").lower()
        options: dict[str, Any] = {"dest": row.name, "default": None, "help": f"{row.doc} ({row.expected()})"}
        if row.type == tuple[str, ...]:
            parser.add_argument(flag.removesuffix("s"), action="append", metavar="URL", **options)
        else:
            parser.add_argument(flag, type=row.type, metavar=row.unit or "VALUE", **options)
    return parser


if __name__ == "__main__":
    sys.exit(main())
