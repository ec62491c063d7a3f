"""`idlehands fleet books`: the service that counter-signs receipts, where the servers are a cluster; or what it has."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.fleet_up import BOOKS, OPERATOR
from runtime.cli.options import json_option, print_json

if TYPE_CHECKING:
    from runtime.fleet.books import Books


@click.command()
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="The fleet's authority, and the books.")
@click.option("--server", metavar="URL", help="The fleet's servers: tls://HOST:PORT. Without: only tell what is there.")
@json_option
def books(folder: Path, server: str | None, as_json: bool) -> None:
    """Take the cars' receipts, verify them, and answer with the fleet's counter-signature, until Ctrl-C.

    \b
    idlehands fleet books --folder fleet --server tls://nats.example:4222
    idlehands fleet books --folder fleet            how many there are

    `fleet up` does it by itself for its own server. One at a time: the books are one file, FOLDER/books.sqlite.
    """
    from runtime.fleet.books import Books
    from runtime.fleet.credentials import Authority

    authority = Authority(folder)
    opened = Books(folder / BOOKS, authority.books_key())
    try:
        if server is not None:
            asyncio.run(_serve(server, authority.enroll(OPERATOR, "operator"), opened))
        told = {"receipts": opened.count(), "contested": opened.contested(), "fleet_key": opened.fleet}
    finally:
        opened.close()
    if as_json:
        print_json(told)
        return
    print(f"{told['receipts']} receipts, {told['contested']} runs that several cars claim")
    print(f"counter-signed by {told['fleet_key']}")


async def _serve(server: str, credentials: Path, books: Books) -> None:
    from runtime.fleet.bookkeeper import Bookkeeper
    from runtime.fleet.connection import Connection, FleetAddress

    connection = Connection(FleetAddress(server, credentials, OPERATOR))
    connection.keep()
    bookkeeper = Bookkeeper(connection, books)
    bookkeeper.start()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await bookkeeper.stop()
    await connection.close()
