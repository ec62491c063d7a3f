"""`idlehands results` and `idlehands fleet results`: what a batch has brought, as JSON lines."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from kernels.errors import IdlehandsError
from runtime.cli.options import config_options, settings_of
from runtime.daemon.client import Client

if TYPE_CHECKING:
    from runtime.fleet.client import Submitter

POLL_S = 0.5
Results = AsyncIterator[tuple[int, bytes]]


@click.command()
@click.argument("job")
@click.option("--follow", is_flag=True, help="Go on until the job is over.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file. Default: the terminal.")
@config_options
def results(job: str, follow: bool, out: Path | None, config_path: str | None, settings: tuple[str, ...]) -> None:
    """Print the results of the batch JOB, a line each, in the order of its inputs.

    \b
    {"number":0,"outputs":{"score":[0.91]}}
    {"number":1,"error":"input 'x' must be float32 (4), got float32 (3)"}

    A tensor of more than 256 numbers is told as its shape, its dtype and base64, little-endian.
    """
    config = settings_of(config_path, settings)

    async def from_daemon() -> Results:
        since = 0
        async with await Client.connect(config.daemon.control_path) as client:
            while True:
                page = await client.results(job, since)
                for number, data in page.results:
                    yield number, data
                    since = number + 1
                if not page.more and (page.is_over or not follow):
                    return
                if not page.more:
                    await asyncio.sleep(POLL_S)

    asyncio.run(write_results(from_daemon(), out))


@click.command(name="results")
@click.argument("job")
@click.option("--follow", is_flag=True, help="Go on until the job is over.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file. Default: the terminal.")
@config_options
def fleet_results(job: str, follow: bool, out: Path | None, config_path: str | None, settings: tuple[str, ...]) -> None:
    """Print the results of the batch JOB of a fleet, as `idlehands results` does. A fleet keeps them for a week."""
    from runtime.cli.fleet_jobs import with_fleet

    async def ask(fleet: Submitter) -> None:
        await write_results(fleet.results(job, is_followed=follow), out)

    with_fleet(config_path, settings, ask)


async def write_results(found: Results, out: Path | None) -> None:
    """Writes results as they come. Raises IdlehandsError where the file does not take them."""
    try:
        with ExitStack() as held:
            place: BinaryIO = held.enter_context(out.open("wb")) if out is not None else sys.stdout.buffer
            async for number, data in found:
                place.write(b'{"number":%d,%b\n' % (number, data[1:]))
                place.flush()
    except OSError as error:
        raise IdlehandsError(f"{out or 'the terminal'} does not take the results: {error.strerror}") from error
