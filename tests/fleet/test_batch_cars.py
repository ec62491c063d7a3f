"""A batch at a fleet: a driver returns, a car dies; every input has one result, and its submitter gets each once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from runtime.fleet.client import Submitter
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.server import FleetServer
from runtime.jobs.spec import Batch, JobSpec
from tests.daemon.car import Car
from tests.daemon.test_batch import expected, install_null

COUNT = 120


def test_a_batch_goes_from_car_to_car_and_its_results_stream_back(tmp_path: Path) -> None:
    inputs: tuple[dict[str, Any], ...] = tuple({"x": [number, 0.5, 0, 0]} for number in range(COUNT))
    spec = JobSpec(agent="batch", model="scorer@1", batch=Batch(inputs))

    async def go(cars: list[Car], fleet: Submitter) -> list[tuple[int, bytes]]:
        job = (await fleet.submit(spec)).job

        async def owner() -> Car:
            while not (name := (await fleet.store.get(job)).owner):
                await asyncio.sleep(0.02)
            return next(car for car in cars if car.folder.name == name)

        async def until_more(than: int) -> int:
            while (count := len(await fleet.store.results(job))) <= than:
                await asyncio.sleep(0.02)
            return count

        collecting = asyncio.create_task(_all(fleet, job))
        count = await until_more(0)
        first = await owner()
        first.gate.close()  # the driver is back
        count = await until_more(count)
        (await owner()).kill()  # and the next car is gone without a word
        first.gate.open()
        found = await collecting
        ended = await fleet.store.get(job)
        assert (ended.state.value, ended.answer, ended.actions) == ("done", f"{COUNT} results", COUNT)
        owners = {event.owner for event in await fleet.store.history(job) if event.kind == "claimed"}
        assert owners == {"car-0", "car-1"}
        assert count > 0
        return found

    async def play() -> list[tuple[int, bytes]]:
        server = FleetServer(tmp_path / "nats")
        server.start()
        operator = Connection(FleetAddress(server.url, name="operator"))
        await operator.open()
        await operator.set_up()
        with contextlib.ExitStack() as held:
            held.callback(server.kill)
            cars = []
            for number in range(2):
                place = tmp_path / f"car-{number}"
                place.mkdir()
                install_null(place, latency_us=30_000)
                settings = {"fleet.server": server.url, "fleet.name": place.name, "daemon.lease_s": 2}
                cars.append(Car(place, **settings))
                held.callback(cars[-1].end)
                await cars[-1].start()
                cars[-1].gate.open()
            try:
                async with Submitter(FleetAddress(server.url, name="me"), tmp_path / "outbox") as fleet:
                    return await asyncio.wait_for(go(cars, fleet), 90)
            finally:
                await operator.close()

    found = asyncio.run(play())
    assert [number for number, _ in found] == list(range(COUNT)), "in order, each once"
    assert [json.loads(data)["outputs"] for _, data in found] == [expected(given) for given in inputs]


async def _all(fleet: Submitter, job: str) -> list[tuple[int, bytes]]:
    return [one async for one in fleet.results(job)]
