"""`idlehands desktop`: the connector beside a desktop, and whom it trusts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

from runtime.cli.desktop_log import log
from runtime.cli.desktop_record import record
from runtime.cli.options import config_options, json_option, overrides_of, print_json, print_table
from runtime.config.config import load_config
from runtime.transport.identity import Identity


@click.group(invoke_without_command=True)
@click.option("--display", help="The X display to work. Default: $DISPLAY")
@click.option("--rfb", metavar="HOST:PORT", help="Work this VNC server instead; nothing is installed on it.")
@click.option("--rfb-password-file", type=click.Path(), help="The file whose first line is its password.")
@click.option(
    "--limits",
    "limits_path",
    type=click.Path(path_type=Path),
    help="What cars may do here (TOML). Default: limits.toml in the state folder.",
)
@click.option(
    "--listen",
    "url",
    help="Where the car connects: tls://host:port (0: a free one), relay://host:port/TOKEN or unix:/path",
)
@click.option("--require-grant", is_flag=True, help="Only jobs with a grant of this desktop's owner may come.")
@config_options
@json_option
@click.pass_context
def desktop(
    ctx: click.Context,
    display: str | None,
    rfb: str | None,
    rfb_password_file: str | None,
    limits_path: Path | None,
    url: str | None,
    require_grant: bool,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let cars that are trusted work on this desktop. Runs until Ctrl-C; whatever happens, no key stays pressed.

    With --json every event is a line: listening, session_opened, action, released, session_closed …
    """
    given = {"listen": url, "rfb": rfb, "rfb_password_file": rfb_password_file, "require_grant": require_grant or None}
    flags = {f"desktop.{name}": value for name, value in given.items() if value is not None}
    config = load_config(config_path, {**overrides_of(settings), **flags})
    ctx.obj = config.desktop.state / "identity"
    if ctx.invoked_subcommand is not None:
        return
    from runtime.desktop.serve import serve_display, serve_rfb

    identity = Identity.load(ctx.obj) if Identity.exists(ctx.obj) else Identity.create(ctx.obj, name="desktop")

    def tell(event: dict[str, Any]) -> None:
        print(json.dumps(event) if as_json else _line(event))
        sys.stdout.flush()

    async def serve() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        if config.desktop.rfb:
            await serve_rfb(config.desktop, identity, tell, limits_path=limits_path)
        else:
            await serve_display(
                display,
                config.desktop.listen,
                identity,
                config.desktop.state,
                tell,
                limits_path=limits_path,
                require_grant=config.desktop.require_grant,
            )

    try:
        asyncio.run(serve())
    except asyncio.CancelledError:
        return


desktop.add_command(log)
desktop.add_command(record)


@desktop.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def trust(folders: tuple[Path, ...], as_json: bool) -> None:
    """Make the identities in FOLDERS on this machine trust each other: for trying things by hand.

    Between machines: `idlehands pair`.
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


@desktop.command()
@click.option("--car", "cars", multiple=True, help="A trusted car: its name, or 8 digits or more of its fingerprint.")
@click.option("--job", default="", help="Only this job. Default: the first job that shows the token.")
@click.option("--hours", type=click.FloatRange(0.01, 8784), default=24.0, show_default=True, help="How long it lasts.")
@click.option("--revoke", metavar="TOKEN", help="End a grant: its token, or the beginning of its name in --list.")
@click.option("--list", "is_list", is_flag=True, help="List the grants that were used or revoked.")
@json_option
@click.pass_obj
def grant(
    identity_folder: Path,
    cars: tuple[str, ...],
    job: str,
    hours: float,
    revoke: str | None,
    is_list: bool,
    as_json: bool,
) -> None:
    """Print a token that lets one job be worked here by the given cars, until it runs out (`submit --token`).

    Nobody else can use it: it is signed by this desktop and bound to the cars' certificates. With
    desktop.require_grant no job comes without one.
    """
    from runtime.desktop.grants import GrantBook

    book = GrantBook(Identity.load(identity_folder), identity_folder.parent)
    if is_list:
        used = book.used()
        if as_json:
            print_json([dataclasses.asdict(one) for one in used])
        else:
            rows = [(one.name, "revoked" if one.is_revoked else one.job) for one in used]
            print_table("grants", ("name", "job"), rows)
    elif revoke is not None:
        print(f"{book.revoke(revoke)} is good no more")
    else:
        print(book.issue(cars, hours=hours, job=job))


def _line(event: dict[str, Any]) -> str:
    rest = "  ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "at_ns"))
    return f"{event['at_ns'] / 1e9:12.3f}  {event['event']:<16} {rest}"
