"""The fleet's end in the daemon: made from the settings, woken by its jobs, and told what happens in their runs.

Nothing of it is imported unless a server is set: the client's library costs memory that a car without a fleet keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from runtime.config.config import Config
from runtime.daemon.events import Events
from runtime.errors import RuntimeFault
from runtime.jobs.store import JobStore
from runtime.ledger.ledger import Ledger

if TYPE_CHECKING:
    from runtime.daemon.dispatch import Dispatcher
    from runtime.fleet.car import CarJobs
    from runtime.fleet.receipts import Mailer


class FleetNotInstalled(RuntimeFault):
    """A fleet's server is set, and the library that speaks with it is not installed."""

    next_step: ClassVar[str] = "install the extra [fleet]: pip install 'idlehands[fleet]'"


class FleetEnd:
    """The jobs of a fleet for one daemon. `jobs` is its store: the local queue and the fleet's."""

    def __init__(self, config: Config, local: JobStore, ledger: Ledger) -> None:
        try:
            from runtime.fleet.car import CarJobs
            from runtime.fleet.connection import Connection, FleetAddress
            from runtime.fleet.receipts import Mailer, fleet_key
            from runtime.fleet.spool import Spool
        except ModuleNotFoundError as error:
            raise FleetNotInstalled(f"fleet.server is set, and {error.name} is not installed") from error
        settings = config.fleet
        folder = Path(settings.credentials) if settings.credentials else None
        address = FleetAddress(settings.server, folder, settings.car_name, settings.ping_s)
        connection = Connection(address)
        self._mailer: Mailer = Mailer(ledger, connection, fleet_key(folder))
        self.jobs: CarJobs = CarJobs(
            local,
            connection,
            Spool(config.daemon.fleet_folder),
            region=settings.region,
            device=settings.device_class,
            max_attempts=config.daemon.max_attempts,
            lease_s=config.daemon.lease_s,
            news_s=settings.news_s,
        )
        self._telling: asyncio.Task[None] | None = None

    def start(self, dispatcher: Dispatcher, events: Events) -> None:
        """Begins to connect, in the running loop."""
        self.jobs.start(on_job=dispatcher.wake)
        self._mailer.start()
        self._telling = asyncio.create_task(self._tell(events))

    async def stop(self) -> None:
        await self._mailer.stop()
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling

    async def _tell(self, events: Events) -> None:
        """Passes what happens in the fleet's runs on to whoever watches them there."""
        while True:
            queue = events.follow("")
            while (event := await queue.get()) is not None:
                if event.job:
                    await self.jobs.tell(event.job, event.kind, event.detail)
