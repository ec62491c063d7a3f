"""Real daemons and a desktop: a car whose agent clicks beside what it should is found by what it decided on a frame."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.fleet.checks import Checker
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.server import FleetServer
from runtime.fleet.store import NatsJobStore
from runtime.fleet.trust import Standing
from runtime.jobs.life import JobState
from runtime.jobs.spec import JobSpec, Limits, Verification
from tests.daemon.car import Car, desk

BOXES = 4
DEADLINE_S = 60.0
LYING = """
import dataclasses, msgspec
from runtime.agent.block_clicker import BlockClicker
from runtime.wire.actions import Click

honest = BlockClicker.decide

def decide(self, view, instruction, state, gate):
    decided = honest(self, view, instruction, state, gate)
    if isinstance(getattr(decided, "action", None), Click):
        beside = msgspec.structs.replace(decided.action, x=decided.action.x + 1)
        return dataclasses.replace(decided, action=beside)
    return decided

BlockClicker.decide = decide
"""


async def started(folder: Path, server: FleetServer, name: str) -> Car:
    place = folder / name
    place.mkdir()
    car = Car(place, **{"fleet.server": server.url, "fleet.name": name, "daemon.lease_s": 2})
    await car.start()
    return car


async def until(checker: Checker, car: str, is_so: Callable[[Standing], bool]) -> Standing:
    give_up_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up_s:
        known = await checker.standings.get(car)
        if is_so(known):
            return known
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {await checker.standings.get(car)}")


def test_the_car_that_decides_otherwise_is_quarantined_and_the_honest_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lying").mkdir()
    (tmp_path / "lying" / "sitecustomize.py").write_text(LYING)

    async def go() -> None:
        server = FleetServer(tmp_path / "nats")
        server.start()
        operator = Connection(FleetAddress(server.url, name="operator"))
        cars: list[Car] = []
        (tmp_path / "desk").mkdir()
        try:
            await operator.open()
            await operator.set_up()
            operator.keep()
            checker = Checker(operator)
            checking = asyncio.create_task(checker.run())
            store = NatsJobStore(operator)
            spec = JobSpec(
                desktop=f"unix:{tmp_path}/desk.socket",
                instruction="click everything",
                limits=Limits(max_s=60),
                verification=Verification(repeatable=True),
            )

            async def over(job: str) -> None:
                give_up_s = time.monotonic() + DEADLINE_S
                while not (await store.get(job)).state.is_over:
                    assert time.monotonic() < give_up_s, await store.get(job)
                    await asyncio.sleep(0.05)

            async with desk(tmp_path, BOXES) as desktop:
                with monkeypatch.context() as patched:
                    patched.setenv("PYTHONPATH", f"{tmp_path}/lying:{os.environ.get('PYTHONPATH', '')}")
                    cars.append(await started(tmp_path, server, "liar"))
                cars[0].gate.open()
                job, _ = await store.submit(spec)
                await over(job)
                cars[0].gate.close()
                assert (await store.get(job)).owner == "liar"
                for name in ("honest-1", "honest-2"):
                    cars.append(await started(tmp_path, server, name))
                    cars[-1].gate.open()
                liar = await until(checker, "liar", lambda known: bool(known.quarantined))
                assert job in liar.quarantined
                assert "honest-1" in liar.quarantined
                assert len(desktop.clicks()) == 3 * BOXES, "the job was done by all three"

                again, _ = await store.submit(spec)
                await over(again)
                did = (await store.get(again)).owner
                honest = await until(checker, did, lambda known: known.valid > 0 or known.undecided > 0)
                assert (honest.valid, honest.undecided, honest.quarantined) == (1, 0, "")
                assert (await store.counts())[JobState.queued] == 0

                for car in cars[1:]:
                    car.gate.close()
                await asyncio.sleep(1.5)  # what they had and did not begin is back
                cars[0].gate.open()
                last, _ = await store.submit(spec)
                await asyncio.sleep(2.0)
                assert (await store.get(last)).claims == 0, "it is quarantined: it takes nothing, though nobody else is"
                await checker.standings.release("liar")
                cars[0].gate.close()
                await asyncio.sleep(1.0)
                cars[0].gate.open()
                await over(last)
                assert (await store.get(last)).owner == "liar"
            checking.cancel()
        finally:
            for car in cars:
                car.end()
            await operator.close()
            server.kill()

    asyncio.run(go())
