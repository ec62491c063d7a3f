"""`idlehands desktop`: the connector beside a desktop, and whom it trusts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

from runtime.cli.desktop_log import log
from runtime.cli.options import config_options, json_option, print_table, settings_of
from runtime.transport.identity import Identity


@click.group(invoke_without_command=True)
@click.option("--display", help="The X display to work. Default: $DISPLAY")
@click.option(
    "--limits",
    "limits_path",
    type=click.Path(path_type=Path),
    help="What cars may do here (TOML). Default: limits.toml in the state folder.",
)
@click.option("--listen", "url", help="Where the car connects: tls://host:port (0: a free one) or unix:/path")
@config_options
@json_option
@click.pass_context
def desktop(
    ctx: click.Context,
    display: str | None,
    limits_path: Path | None,
    url: str | None,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let cars that are trusted work on this desktop. Runs until Ctrl-C; whatever happens, no key stays pressed.

    With --json every event is a line: listening, session_opened, action, released, session_closed …
    """
    config = settings_of(config_path, settings)
    ctx.obj = config.desktop.state / "identity"
    if ctx.invoked_subcommand is not None:
        return
    from runtime.desktop.serve import serve_display

    identity = Identity.load(ctx.obj) if Identity.exists(ctx.obj) else Identity.create(ctx.obj, name="desktop")

    def tell(event: dict[str, Any]) -> None:
        print(json.dumps(event) if as_json else _line(event))
        sys.stdout.flush()

    async def serve() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        address = url or config.desktop.listen
        await serve_display(display, address, identity, config.desktop.state, tell, limits_path=limits_path)

    try:
        asyncio.run(serve())
    except asyncio.CancelledError:
        return


desktop.add_command(log)


@desktop.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def trust(folders: tuple[Path, ...], as_json: bool) -> None:
    """Make the identities in FOLDERS on this machine trust each other: for trying things by hand.

    Between machines, copy a certificate.pem into the other side's trusted/ folder.
    """
    identities = [Identity.load(folder) for folder in folders]
    for one in identities:
        for other in identities:
            if other is not one:
                one.trust(other.certificate_pem)
    rows = [(one.me.name, one.fingerprint[:16], str(one.folder)) for one in identities]
    if as_json:
        print(json.dumps([{"name": name, "fingerprint": short, "folder": folder} for name, short, folder in rows]))
    else:
        print_table("these trust each other", ("name", "fingerprint", "folder"), rows)


@desktop.command()
@click.option("--revoke", metavar="FINGERPRINT", help="End the trust in one peer (at least 8 digits).")
@json_option
@click.pass_obj
def peers(identity_folder: Path, revoke: str | None, as_json: bool) -> None:
    """List the cars that may connect, or revoke one."""
    identity = Identity.load(identity_folder)
    if revoke is not None:
        identity.revoke(revoke)
    found = identity.trusted().values()
    if as_json:
        told = [{"name": peer.name, "fingerprint": peer.fingerprint, "ends": str(peer.ends)} for peer in found]
        print(json.dumps(told))
    else:
        print_table(
            "trusted", ("name", "fingerprint", "until"), [(one.name, one.fingerprint, one.ends) for one in found]
        )


def _line(event: dict[str, Any]) -> str:
    rest = "  ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "at_ns"))
    return f"{event['at_ns'] / 1e9:12.3f}  {event['event']:<16} {rest}"
