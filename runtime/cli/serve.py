"""`idlehands serve`: the daemon in the foreground."""

from __future__ import annotations

import asyncio
import logging

import click

from runtime.cli.options import config_options, settings_of
from runtime.config.build import require_one_build
from runtime.telemetry.logs import configure_logs


@click.command()
@config_options
def serve(config_path: str | None, settings: tuple[str, ...]) -> None:
    """Run the daemon: it takes jobs on its control socket and works them while the gate is open.

    It ends on SIGTERM or Ctrl-C with every running job handed back. Logs go to stderr.
    """
    from runtime.daemon.serve import Daemon

    require_one_build()
    config = settings_of(config_path, settings)
    configure_logs(config.daemon.log_level)
    daemon = Daemon(config)
    log = logging.getLogger("idlehands.daemon")
    asyncio.run(daemon.run(ready=lambda: log.info("control socket %s answers", config.daemon.control_path)))
