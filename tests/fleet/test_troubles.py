"""What goes wrong at a fleet's car: wrong clocks, a full disk, poison, a car that flaps, an owner's late words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kernels.gate.word import boottime_ns
from runtime.fleet.car import CarJobs
from runtime.fleet.connection import Connection, FleetAddress, backoff_s
from runtime.fleet.errors import FleetsJob, ServerUnfit
from runtime.fleet.server import FleetServer
from runtime.fleet.spool import Spool
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import STREAMS, check_echo, check_version
from runtime.jobs.checkpoint import Checkpoint
from runtime.jobs.life import ClaimLost, JobState, Result
from runtime.jobs.memory import MemoryJobStore
from runtime.jobs.spec import JobSpec
from runtime.jobs.store import Capabilities, Claim, JobStoreError
from tests.fleet.servers import connect, shared_server

ANY = Capabilities()
CHECKPOINT = Checkpoint(agent_kind="a", state=b"s")


def a_spec(text: str = "x", **fields: object) -> JobSpec:
    return JobSpec(desktop=f"unix:/{text}", instruction=text, **fields)  # type: ignore[arg-type]


def play(folder: Path, story: Callable[[NatsJobStore], Awaitable[None]]) -> None:
    async def go() -> None:
        store = NatsJobStore(await connect(folder))
        try:
            await asyncio.wait_for(story(store), 60)
        finally:
            await store.close()

    asyncio.run(go())


async def another(name: str, clock: Callable[[], int] = boottime_ns) -> NatsJobStore:
    connection = Connection(FleetAddress(shared_server().url, name=name), clock)
    await connection.open()
    return NatsJobStore(connection)


async def a_car(folder: Path, name: str) -> tuple[CarJobs, asyncio.Event]:
    wake = asyncio.Event()
    connection = Connection(FleetAddress(shared_server().url, name=name))
    jobs = CarJobs(MemoryJobStore(), connection, Spool(folder / name), max_attempts=3, lease_s=3)
    jobs.start(wake.set)
    return jobs, wake


async def taken(jobs: CarJobs) -> Claim:
    while True:
        await jobs.can_claim(ANY)
        claim = await jobs.claim(ANY, "ignored", 3)
        if claim is not None:
            return claim
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("off_s", [-600, 600])
def test_a_cars_wrong_clock_ends_no_lease_and_moves_no_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_s: int
) -> None:
    """Its wall clock and its monotonic one are minutes off; a lease, a deadline and a wait end by the server's."""
    now_s, now_ns = time.time, time.time_ns

    async def story(store: NatsJobStore) -> None:
        job, _ = await store.submit(a_spec(deadline_s=60))
        mine = await store.claim(ANY, "car", 30)
        assert mine is not None
        monkeypatch.setattr(time, "time", lambda: now_s() + off_s)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + off_s * 10**9)
        wrong = await another("wrong", lambda: boottime_ns() + off_s * 10**9)
        true_ns = store.connection.now().utc_ns
        assert abs(wrong.connection.now().utc_ns - true_ns) < 2e9, "its time is the server's"
        assert await wrong.claim(ANY, "wrong", 10) is None
        assert await wrong.sweep() == []
        await store.renew(mine, 30)
        await store.finish(mine, Result(JobState.done))
        assert (await wrong.get(job)).state is JobState.done
        late, _ = await wrong.submit(a_spec("late", deadline_s=0.5))
        soon, _ = await wrong.submit(a_spec("soon"))
        its = await wrong.claim(ANY, "wrong", 1.0)
        while its is not None and its.job != soon:
            its = await wrong.claim(ANY, "wrong", 1.0)
        assert its is not None
        assert await store.sweep() == [], "neither lease nor deadline has passed, whoever counts"
        await asyncio.sleep(1.2)
        swept = {one.job: one.state for one in await store.sweep()}
        assert swept == {late: JobState.failed, soon: JobState.queued}, "both have, by the true clock"
        with pytest.raises(ClaimLost):
            await wrong.finish(its, Result(JobState.done))
        await wrong.close()

    play(tmp_path, story)


def test_a_car_hears_of_a_new_kind_of_job_while_it_waits_for_others(tmp_path: Path) -> None:
    """It never reads the list of lanes a second time here: what it learns, it hears."""

    async def story(store: NatsJobStore) -> None:
        jobs, _ = await a_car(tmp_path, "waiting")
        lanes = jobs._fleet.lanes
        lanes._fresh_s = 1e9
        asking = asyncio.create_task(taken(jobs))
        while lanes._read_s == float("-inf"):
            await asyncio.sleep(0.01)
        assert not lanes._known, "there is no kind of job yet"
        for agent in ("block_clicker", "random_clicker"):  # the second while it waits for another of the first
            name, _ = await store.submit(a_spec(agent, agent=agent))
            claim = await asking
            assert claim.job == name
            await jobs.finish(claim, Result(JobState.done))
            asking = asyncio.create_task(taken(jobs))
            while not jobs._fleet.offers._waiting:
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await jobs.close()

    play(tmp_path, story)


def test_two_cars_never_have_one_job(tmp_path: Path) -> None:
    async def story(store: NatsJobStore) -> None:
        others = [await another(f"car-{number}") for number in range(8)]
        names = [(await store.submit(a_spec(f"{number}")))[0] for number in range(20)]
        claims: list[Claim] = []

        async def take_all(one: NatsJobStore) -> None:
            while (claim := await one.claim(ANY, "car", 30)) is not None:
                claims.append(claim)

        await asyncio.gather(*(take_all(one) for one in others))
        assert sorted(claim.job for claim in claims) == sorted(names)
        assert len({claim.owner_epoch for claim in claims}) == len(names)
        for one in others:
            await one.close()

    play(tmp_path, story)


def test_poison_ends_after_its_tries_on_whatever_car(tmp_path: Path) -> None:
    async def story(store: NatsJobStore) -> None:
        job, _ = await store.submit(a_spec(retries=1))
        for number in range(2):
            claim = None
            while claim is None:
                claim = await store.claim(ANY, f"car-{number}", 10)
                await asyncio.sleep(0.1)
            state = await store.release(claim, "it broke", is_fault=True)
        assert state is JobState.failed
        assert "it failed 2 times" in (await store.get(job)).reason
        assert await store.claim(ANY, "car", 10) is None

    play(tmp_path, story)


def test_a_flapping_car_costs_a_job_nothing(tmp_path: Path) -> None:
    async def story(store: NatsJobStore) -> None:
        job, _ = await store.submit(a_spec())
        jobs, _ = await a_car(tmp_path, "flapping")
        for _ in range(5):
            claim = await taken(jobs)
            assert await jobs.release(claim, "yielded to the car", CHECKPOINT, actions=1) is JobState.queued
        kept = await store.get(job)
        assert (kept.attempts, kept.claims, kept.actions, kept.state) == (0, 5, 5, JobState.queued)
        await jobs.close()

    play(tmp_path, story)


def test_what_a_full_disk_does_not_take_is_said_and_the_fleet_still_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(store: NatsJobStore) -> None:
        job, _ = await store.submit(a_spec())
        jobs, _ = await a_car(tmp_path, "full")
        claim = await taken(jobs)

        def full(self: Spool, kept: object) -> None:
            raise JobStoreError("the fleet's spool cannot be written: No space left on device")

        monkeypatch.setattr(Spool, "keep", full)
        await jobs.finish(claim, Result(JobState.done, "42"))  # the fleet is there: the disk is not needed
        assert (await store.get(job)).answer == "42"
        await jobs.close()

    play(tmp_path, story)


def test_a_late_word_of_an_owner_that_lost_reaches_no_store(tmp_path: Path) -> None:
    async def story(store: NatsJobStore) -> None:
        job, _ = await store.submit(a_spec())
        jobs, _ = await a_car(tmp_path, "late")
        claim = await taken(jobs)
        with pytest.raises(FleetsJob):
            await jobs.cancel(job, "not the owner's to say")
        await store.cancel(job, "no more")
        with pytest.raises(ClaimLost):
            await jobs.renew(claim, 3)
        for attempt in (jobs.save(claim, CHECKPOINT), jobs.finish(claim, Result(JobState.done)), jobs.renew(claim, 3)):
            with pytest.raises(ClaimLost):
                await attempt
        assert (await store.get(job)).state is JobState.cancelled
        await jobs.close()
        assert not list((tmp_path / "late").glob("*.claim"))

    play(tmp_path, story)


def test_a_server_that_ignores_a_setting_is_refused() -> None:
    for version in ("2.9.10", "2.10.29", "", "unknown"):
        with pytest.raises(ServerUnfit, match=r"2\.11"):
            check_version(version)
    check_version("2.11.0")
    check_version("2.15.1-RC.2")
    with pytest.raises(ServerUnfit, match="allow_msg_ttl"):
        check_echo("IH_HOLDS", STREAMS["IH_HOLDS"], {**STREAMS["IH_HOLDS"], "allow_msg_ttl": False})


def test_it_comes_back_later_and_later_and_never_gives_up() -> None:
    assert [backoff_s(tries, lambda: 1.0) for tries in (0, 1, 2, 6, 7, 8, 1000)] == [1, 2, 4, 64, 128, 128, 128]
    assert backoff_s(9, lambda: 0.0) == 0.0


def test_a_car_comes_back_to_a_server_that_was_killed(tmp_path: Path) -> None:
    async def story() -> None:
        server = FleetServer(tmp_path / "nats")
        server.start()
        connection = Connection(FleetAddress(server.url, name="car"))
        await connection.open()
        await connection.set_up()
        connection.keep()
        for _ in range(2):
            server.kill()
            while connection.is_up:
                await asyncio.sleep(0.02)
            server.start()
            while not connection.is_up:
                await asyncio.sleep(0.05)
        assert await NatsJobStore(connection).counts() == dict.fromkeys(JobState, 0)
        await connection.close()
        server.kill()

    asyncio.run(asyncio.wait_for(story(), 90))
