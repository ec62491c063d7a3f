"""`idlehands fleet up`: an embedded nats-server with identities, for a laptop, a demonstration or a test."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from runtime.cli.options import json_option, print_json
from runtime.errors import RuntimeFault

OPERATOR = "operator"
BOOKS = "books.sqlite"


class EnrolWhat(RuntimeFault):
    """--enroll names no role of a fleet."""

    next_step = "write --enroll NAME:car, NAME:submitter or NAME:operator"


@click.command()
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="The authority, and the server's store.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens; goes into its certificate.")
@click.option("--port", default=4222, show_default=True, type=click.IntRange(0, 65535), help="0 picks one.")
@click.option("--enroll", "enrolled", multiple=True, metavar="NAME:ROLE", help="Issue credentials: car, submitter.")
@click.option("--revoke", "revoked", multiple=True, metavar="NAME", help="Refuse NAME from now on.")
@click.option("--once", is_flag=True, help="Issue and revoke, and end: no server is started.")
@json_option
def up(
    folder: Path,
    host: str,
    port: int,
    enrolled: tuple[str, ...],
    revoked: tuple[str, ...],
    once: bool,
    as_json: bool,
) -> None:
    """Run a fleet's server here until Ctrl-C; a running one reads what --once has issued or revoked at its next start.

    It also answers the cars' receipts with the fleet's counter-signature; FOLDER/books.sqlite are the books.

    Mutual TLS 1.3 and one user JWT for everyone; FOLDER/NAME is what NAME needs as fleet.credentials. A cluster of
    your own takes the same credentials: FOLDER/nats/nats.conf shows what its servers need.

    It also checks cars (docs/TRUST.md) and refuses those that failed; `idlehands fleet trust list` shows them.
    """
    from runtime.fleet.credentials import ROLES, Authority

    authority = Authority(folder, tuple(dict.fromkeys((host, "127.0.0.1", "localhost"))))
    issued = {}
    for item in enrolled:
        name, _, role = item.partition(":")
        if role not in ROLES:
            raise EnrolWhat(f"--enroll takes NAME:ROLE with a role of {', '.join(ROLES)}, got {item!r}")
        issued[name] = str(authority.enroll(name, role))
    for name in revoked:
        authority.revoke(name)
    if once:
        _tell(as_json, {"enrolled": issued, "revoked": list(revoked)})
        return
    asyncio.run(_serve(folder, host, port, issued, as_json))


async def _serve(folder: Path, host: str, port: int, issued: dict[str, str], as_json: bool) -> None:
    from runtime.fleet.bookkeeper import Bookkeeper
    from runtime.fleet.books import Books
    from runtime.fleet.checks import Checker, Quarantine
    from runtime.fleet.connection import Connection, FleetAddress
    from runtime.fleet.credentials import Authority
    from runtime.fleet.server import FleetServer

    authority = Authority(folder)
    server = FleetServer(folder / "nats", host=host, port=port, security=authority.server_settings())
    server.start()
    try:
        operator = Connection(FleetAddress(server.url, authority.enroll(OPERATOR, "operator"), OPERATOR))
        await operator.open()
        seen = folder / "incarnation"  # of the store: one that is made anew is above all before it
        incarnation = await operator.set_up(after=int(seen.read_text()) if seen.exists() else 0)
        seen.write_text(str(incarnation))
        operator.keep()
        books = Books(folder / BOOKS, authority.books_key())
        bookkeeper = Bookkeeper(operator, books)
        bookkeeper.start()
        checker = Checker(operator)
        keeping = [asyncio.create_task(checker.run())]
        keeping.append(asyncio.create_task(Quarantine(checker.standings, authority, server).run()))
        _tell(as_json, {"server": server.url, "incarnation": incarnation, "enrolled": issued})
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        while not ended.is_set() and server.is_running():
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), 0.5)
        await bookkeeper.stop()
        books.close()
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        await operator.close()
    finally:
        server.stop()


def _tell(as_json: bool, what: dict[str, object]) -> None:
    if as_json:
        print_json(what)
        return
    for key, value in what.items():
        if isinstance(value, dict):
            for name, path in value.items():
                print(f"{name:<12} --set fleet.credentials={path} --set fleet.name={name}")
        elif value:
            print(f"{key:<12} {value}")
