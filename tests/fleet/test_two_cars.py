"""Two daemons, one fleet, one desktop: a driver returns, a car dies, the server goes away; each box is clicked once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.fleet.bookkeeper import Bookkeeper
from runtime.fleet.books import Books
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.errors import FleetAway
from runtime.fleet.server import FleetServer
from runtime.fleet.store import NatsJobStore
from runtime.jobs.life import Job, JobState
from runtime.jobs.spec import CheckpointPolicy, JobSpec, Limits
from runtime.ledger.audit import Damage, read_entries, verify
from tests.daemon.car import Car, Desk, desk

BOXES = 10
DEADLINE_S = 45.0


class Fleet:
    """A server of its own, two cars, one desktop, and a submitter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = FleetServer(folder / "nats")
        self.cars: list[Car] = []

    async def submit(self, **fields: object) -> str:
        spec = JobSpec(
            desktop=f"unix:{self.folder}/desk.socket",
            instruction="click everything",
            limits=Limits(max_s=60),
            **fields,  # type: ignore[arg-type]
        )
        return (await self.store.submit(spec))[0]

    async def until(self, job: str, is_so: Callable[[Job], bool]) -> Job:
        give_up_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < give_up_s:
            with contextlib.suppress(FleetAway):  # the server is down, or comes up
                known = await self.store.get(job)
                if is_so(known):
                    return known
            await asyncio.sleep(0.02)
        raise AssertionError(f"still {await self.store.get(job)}")

    async def owner(self, job: str) -> Car:
        known = await self.until(job, lambda known: known.state is JobState.claimed)
        return next(car for car in self.cars if car.folder.name == known.owner)

    async def until_countersigned(self, receipts: int) -> None:
        """The fleet begins to keep books only now: what the cars booked before was kept for it."""
        books = Books(self.folder / "books.sqlite", Ed25519PrivateKey.generate())
        bookkeeper = Bookkeeper(self.store.connection, books)
        bookkeeper.start()
        give_up_s = time.monotonic() + DEADLINE_S
        ledgers = [car.folder / "state" / "ledger" for car in self.cars]
        while sum(verify(ledger).countersigned for ledger in ledgers) < receipts:
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.05)
        assert books.count() == receipts
        await bookkeeper.stop()
        books.close()

    async def until_clicked(self, desktop: Desk, clicks: int) -> None:
        give_up_s = time.monotonic() + DEADLINE_S
        while len(desktop.clicks()) < clicks:
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def fleet(folder: Path, cars: int = 2) -> AsyncIterator[tuple[Fleet, Desk]]:
    made = Fleet(folder)
    made.server.start()
    connection = Connection(FleetAddress(made.server.url, name="submitter"))
    await connection.open()
    await connection.set_up()
    connection.keep()
    made.store = NatsJobStore(connection)
    (folder / "desk").mkdir()
    try:
        async with desk(folder, BOXES) as desktop:
            for number in range(cars):
                place = folder / f"car-{number}"
                place.mkdir()
                settings = {"fleet.server": made.server.url, "fleet.name": place.name, "daemon.lease_s": 2}
                made.cars.append(Car(place, **settings))
                await made.cars[-1].start()
            yield made, desktop
    finally:
        for car in made.cars:
            car.end()
        await made.store.close()
        made.server.kill()


def play(folder: Path, story: Callable[[Fleet, Desk], Awaitable[None]], cars: int = 2) -> None:
    async def go() -> None:
        async with fleet(folder, cars) as (made, desktop):
            await story(made, desktop)

    asyncio.run(go())


def clicked_once(desktop: Desk) -> None:
    assert len(desktop.clicks()) == len(set(desktop.clicks())) == BOXES


def test_the_driver_returns_and_another_car_goes_on(tmp_path: Path) -> None:
    async def story(made: Fleet, desktop: Desk) -> None:
        for car in made.cars:
            car.gate.open()
        job = await made.submit()
        first = await made.owner(job)
        await made.until_clicked(desktop, 2)
        first.gate.close("moving")
        ended = await made.until(job, lambda known: known.state.is_over)
        clicked_once(desktop)
        assert ended.owner != first.folder.name
        assert (ended.attempts, ended.claims, ended.actions) == (0, 2, BOXES)
        kinds = [event.kind for event in await made.store.history(job)]
        assert kinds == ["submitted", "claimed", "released", "claimed", "failed"]
        booked = [entry for car in made.cars for entry in read_entries(car.folder / "state" / "ledger")]
        assert [entry.actions for entry in booked if not isinstance(entry, Damage)] != [BOXES]
        assert sum(entry.actions for entry in booked if not isinstance(entry, Damage)) == BOXES
        await made.until_countersigned(len(booked))

    play(tmp_path, story)


def test_a_car_that_dies_loses_its_job_to_another(tmp_path: Path) -> None:
    async def story(made: Fleet, desktop: Desk) -> None:
        for car in made.cars:
            car.gate.open()
        job = await made.submit()
        first = await made.owner(job)
        await made.until_clicked(desktop, 2)
        first.kill()
        ended = await made.until(job, lambda known: known.state.is_over)
        clicked_once(desktop)
        assert ended.owner != first.folder.name
        assert (ended.attempts, ended.claims) == (1, 2)

    play(tmp_path, story)


def test_nothing_is_pulled_while_the_gate_is_closed(tmp_path: Path) -> None:
    async def story(made: Fleet, desktop: Desk) -> None:
        job = await made.submit()
        await asyncio.sleep(1.0)
        assert (await made.store.get(job)).claims == 0
        assert made.cars[0].workers() == []
        made.cars[0].gate.open()
        await made.until(job, lambda known: known.state.is_over)
        clicked_once(desktop)

    play(tmp_path, story, cars=1)


def test_a_result_waits_for_the_fleet_to_come_back(tmp_path: Path) -> None:
    async def story(made: Fleet, desktop: Desk) -> None:
        (car,) = made.cars
        car.gate.open()
        job = await made.submit(checkpoint=CheckpointPolicy(every_s=0))
        await made.until_clicked(desktop, BOXES // 2)
        made.server.kill()
        clicks = len(desktop.clicks())
        await asyncio.sleep(0.7)
        assert len(desktop.clicks()) <= clicks + 1, "no action is sent whose checkpoint is not at the fleet"
        car.gate.close("moving")
        while not list((car.folder / "state" / "fleet").glob("*.claim")):
            await asyncio.sleep(0.02)
        while car.workers():
            await asyncio.sleep(0.02)
        made.server.start()
        await made.until(job, lambda known: known.state is JobState.queued)
        car.gate.open()
        await made.until(job, lambda known: known.state.is_over)
        clicked_once(desktop)

    play(tmp_path, story, cars=1)
