"""Identities at a fleet: mutual TLS, what a role may do, who is revoked."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.credentials import Authority
from runtime.fleet.errors import CredentialsError, FleetAway, ServerRefused
from runtime.fleet.server import FleetServer
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import JOBS
from runtime.jobs.life import JobState, Result
from runtime.jobs.spec import Batch, JobSpec
from runtime.jobs.store import Capabilities
from runtime.ledger.signing import public_hex


def with_server(folder: Path, story: Callable[[FleetServer, Authority], Awaitable[None]]) -> None:
    authority = Authority(folder / "fleet")
    server = FleetServer(folder / "nats", security=authority.server_settings())
    server.start()
    try:
        asyncio.run(asyncio.wait_for(story(server, authority), 60))
    finally:
        server.kill()


async def connect(server: FleetServer, authority: Authority, name: str, role: str) -> Connection:
    connection = Connection(FleetAddress(server.url, authority.enroll(name, role), name))
    await connection.open()
    return connection


async def roles(server: FleetServer, authority: Authority) -> None:
    operator = await connect(server, authority, "boss", "operator")
    await operator.set_up()
    submitter = await connect(server, authority, "shop", "submitter")
    car = await connect(server, authority, "car-7", "car")
    job, _ = await NatsJobStore(submitter).submit(JobSpec(desktop="unix:/d", instruction="x", idempotency_key="k"))
    store = NatsJobStore(car)
    claim = await store.claim(Capabilities(), "car-7", 10)
    assert claim is not None
    assert claim.job == job
    await store.renew(claim, 10)
    await store.finish(claim, Result(JobState.done, "42"))
    shop = NatsJobStore(submitter)
    assert (await shop.get(job)).answer == "42"
    await store.lanes.listen(0.0)
    await car.client.flush()
    scored, _ = await shop.submit(JobSpec(agent="batch", model="net", batch=Batch(({"x": [1]},))))
    await asyncio.wait_for(store.lanes.news.wait(), 30)  # a car may hear of new kinds of jobs
    claim = await store.claim(Capabilities(), "car-7", 10)
    assert claim is not None
    await store.put_results(claim, 0, [b"{}"])
    assert await shop.results(scored) == [(0, b"{}")]
    with pytest.raises(ServerRefused, match=r"(?i)permissions violation"):
        await submitter.request(f"ih.result.{scored}.0", b"made up", timeout_s=0.5)
    for forbidden in (f"STREAM.PURGE.{JOBS}", f"STREAM.DELETE.{JOBS}", "CONSUMER.CREATE.IH_OFFERS.spy.ih.offer.>"):
        with pytest.raises(ServerRefused, match=r"(?i)permissions violation"):
            await car.request(f"$JS.API.{forbidden}", timeout_s=0.5)
    with pytest.raises(ServerRefused, match=r"(?i)permissions violation"):
        await car.request("ih.lanes", b"mine", timeout_s=0.5)
    assert (authority.folder / "car-7" / "fleet.pub").read_text() == public_hex(authority.books_key())

    async def take(message: Msg) -> None:
        await message.respond(b"taken")

    await operator.client.subscribe("ih.receipt.*", cb=take)
    await operator.client.flush()
    assert (await car.request("ih.receipt.car-7", b"mine")).data == b"taken"
    with pytest.raises(ServerRefused, match=r"(?i)permissions violation"):
        await car.request("ih.receipt.car-8", b"in another's name", timeout_s=0.5)
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    await car.client.subscribe("_INBOX_shop.>", cb=hear)
    await submitter.call(f"STREAM.INFO.{JOBS}")
    await car.client.flush()
    assert heard == [], "another's answers are not heard"
    for one in (operator, submitter, car):
        await one.close()


async def revoked(server: FleetServer, authority: Authority) -> None:
    operator = await connect(server, authority, "boss", "operator")
    await operator.set_up()
    car = await connect(server, authority, "car-7", "car")
    authority.revoke("car-7")
    await asyncio.sleep(1.1)
    server.reload(authority.server_settings())
    for _ in range(200):
        if not car.client.is_connected:
            break
        await asyncio.sleep(0.05)
    with pytest.raises(FleetAway):
        await car.call(f"STREAM.INFO.{JOBS}")
    await car.close()
    with pytest.raises((ServerRefused, FleetAway)):
        await connect(server, authority, "car-7", "car")
    await operator.close()


def test_a_car_may_work_and_no_more(tmp_path: Path) -> None:
    with_server(tmp_path, roles)


def test_a_revoked_car_is_cut_off(tmp_path: Path) -> None:
    with_server(tmp_path, revoked)


def test_strangers_are_refused(tmp_path: Path) -> None:
    async def story(server: FleetServer, authority: Authority) -> None:
        stranger = Authority(tmp_path / "other").enroll("car-7", "car")
        for address in (
            FleetAddress(server.url, None, "x"),
            FleetAddress(server.url, stranger, "car-7"),
        ):
            with pytest.raises((FleetAway, ServerRefused)):
                await Connection(address).open()

    with_server(tmp_path, story)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "fleet")
    authority.enroll("car-1", "car")
    for path in (tmp_path / "fleet").rglob("*"):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        assert not mode & 0o022
        if path.suffix in (".key", ".nk", ".creds") or path.name == "key.pem":
            assert mode == 0o600, path
    for name in ("", "a b", "../x", "authority", "x" * 65, "a.b"):
        with pytest.raises(CredentialsError):
            authority.enroll(name, "car")
