"""The submitter: its outbox while the fleet is away, a store that lost everything, a watch that ends with its job."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.fleet.client import Submitter, Told
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.server import FleetServer
from runtime.fleet.store import NatsJobStore
from runtime.jobs.life import IdempotencyConflict, JobState, Result
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Capabilities, Claim


async def set_up(server: FleetServer, after: int = 0) -> NatsJobStore:
    connection = Connection(FleetAddress(server.url, name="car"))
    await connection.open()
    await connection.set_up(after)
    return NatsJobStore(connection)


def play(folder: Path, story: Callable[[FleetServer, Path], Awaitable[None]]) -> None:
    server = FleetServer(folder / "nats")
    server.start()
    try:
        asyncio.run(asyncio.wait_for(story(server, folder / "outbox"), 60))
    finally:
        server.kill()


def a_spec(text: str = "x", **fields: object) -> JobSpec:
    return JobSpec(desktop=f"unix:/{text}", instruction=text, **fields)  # type: ignore[arg-type]


async def take(store: NatsJobStore) -> Claim:
    claim = await store.claim(Capabilities(), "car", 10)
    assert claim is not None
    return claim


async def until_up(fleet: Submitter) -> None:
    while not fleet.connection.is_up:
        await asyncio.sleep(0.05)


def test_a_job_is_watched_to_its_end_and_leaves_the_outbox(tmp_path: Path) -> None:
    async def story(server: FleetServer, outbox: Path) -> None:
        store = await set_up(server)
        async with Submitter(FleetAddress(server.url, name="me"), outbox) as fleet:
            sent = await fleet.submit(a_spec(idempotency_key="k"))
            assert (sent.is_new, sent.is_known) == (True, True)
            assert not (await fleet.submit(a_spec(idempotency_key="k"))).is_new
            with pytest.raises(IdempotencyConflict):
                await fleet.submit(a_spec("other", idempotency_key="k"))
            assert list(fleet.outbox.jobs().values()) == [a_spec(idempotency_key="k")]
            seen: list[Told] = []

            async def look() -> None:
                async for told in fleet.watch(sent.job):
                    seen.append(told)

            looking = asyncio.create_task(look())
            claim = await take(store)
            while len(seen) < 2:
                await asyncio.sleep(0.02)
            await store.connection.say(f"ih.progress.{claim.job}.action", b'{"action":"click"}')
            while len(seen) < 3:
                await asyncio.sleep(0.02)
            await store.finish(claim, Result(JobState.done, answer="42"))
            await looking
            assert [told.kind for told in seen] == ["submitted", "claimed", "action", "done"]
            assert seen[-1].detail == "42"
            assert fleet.outbox.jobs() == {}
        await store.close()

    play(tmp_path, story)


def test_a_fleet_that_is_away_gets_the_job_when_it_is_back(tmp_path: Path) -> None:
    async def story(server: FleetServer, outbox: Path) -> None:
        store = await set_up(server)
        server.kill()
        async with Submitter(FleetAddress(server.url, name="me"), outbox) as fleet:
            sent = await fleet.submit(a_spec())
            assert not sent.is_known
        async with Submitter(FleetAddress(server.url, name="me"), outbox) as fleet:  # another day, another process
            server.start()
            await until_up(fleet)
            assert await fleet.settle() == {"sent again": 1}
            assert await fleet.settle() == {}
            assert (await fleet.store.get(sent.job)).state is JobState.queued
        await store.close()

    play(tmp_path, story)


def test_a_store_that_lost_everything_is_filled_again_above_every_old_epoch(tmp_path: Path) -> None:
    async def story(server: FleetServer, outbox: Path) -> None:
        store = await set_up(server)
        async with Submitter(FleetAddress(server.url, name="me"), outbox) as fleet:
            sent = await fleet.submit(a_spec())
            before = await take(store)
            await store.close()
            server.kill()
            shutil.rmtree(server.folder / "store")
            server.start()
            store = await set_up(server, after=fleet.outbox.incarnation)
            while fleet.connection.incarnation != store.connection.incarnation:
                await asyncio.sleep(0.05)
            fleet.store.lanes.forget()
            assert await fleet.settle() == {"sent again": 1}
            after = await take(store)
            assert after.job == before.job == sent.job
            assert after.owner_epoch > before.owner_epoch, "the desktop refuses whoever had it before"
            await store.finish(after, Result(JobState.done))
            assert await fleet.settle() == {"over": 1}
        await store.close()

    play(tmp_path, story)
