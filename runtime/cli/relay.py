"""`idlehands relay`: the blind relay, and new tokens for its URLs."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal

import click

from runtime.cli.options import config_options, json_option, print_json, settings_of
from runtime.config.config import Relay as RelaySettings
from runtime.telemetry.logs import configure_logs
from runtime.transport.dial import host_port

SAID_EVERY_S = 60.0
DESCRIPTORS_BESIDE = 64  # what a process has open besides its links


@click.command()
@click.option("--listen", "address", help="Where both sides connect: host:port (port 0: a free one)")
@click.option("--new-url", metavar="HOST:PORT", help="Print a URL with a new token for a relay there, and end.")
@config_options
@json_option
def relay(
    address: str | None, new_url: str | None, config_path: str | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Join cars and desktops that can both only dial out. What passes is their own TLS: it cannot be read here.

    \b
    The two sides need nothing but a URL that nobody else knows:
        idlehands pair show --relay relay.example:7462          a code, and then the URL, on both sides
        idlehands desktop --listen relay://relay.example:7462/TOKEN
        idlehands submit --desktop relay://relay.example:7462/TOKEN …
    """
    if new_url is not None:
        from runtime.transport.rendezvous import new_token

        host_port(f"relay://{new_url}")
        url = f"relay://{new_url}/{new_token()}"
        if as_json:
            print_json({"url": url})
        else:
            print(url)
        return
    configure_logs("info")
    chosen = settings_of(config_path, settings).relay
    try:
        asyncio.run(run_relay(address or chosen.listen, chosen))
    except asyncio.CancelledError:
        return


async def run_relay(address: str, chosen: RelaySettings) -> None:
    """Serves at `address` until a stop signal; says now and then what it carries. Raises AddressTaken, BadAddress."""
    from runtime.transport.relay import RelayLimits, serve_relay

    log = logging.getLogger("idlehands.relay")
    host, port = host_port(f"relay://{address}")
    limits = RelayLimits(
        max_links=min(chosen.max_links, _descriptors(chosen.max_links)),
        waiting_a_token=chosen.waiting_a_token,
        joins_a_minute=chosen.joins_a_minute,
        bytes_per_s=chosen.pair_bytes_per_s,
        idle_s=chosen.idle_s,
    )
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    server, running = await serve_relay(host, port, limits)
    log.info("%s answers; at most %d links", server.address, limits.max_links)
    try:
        while True:
            await asyncio.sleep(SAID_EVERY_S)
            log.info("%d pairs, %d wait, %d bytes so far", running.pairs, running.waiting, running.carried_bytes)
    finally:
        await server.close()


def _descriptors(wanted: int) -> int:
    """Raises the limit of open files as far as it may go. Returns how many links fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted + DESCRIPTORS_BESIDE if hard == resource.RLIM_INFINITY else min(wanted + DESCRIPTORS_BESIDE, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(allowed - DESCRIPTORS_BESIDE, 2)
