"""One process of a soak: many light cars, each with its own connection, spool, identity and ledger.

Commands come as JSON lines on stdin, answers go as JSON lines to stdout:

    {"do": "bare", "seconds": s}     the NATS operations of a job, and nothing else, by every client    ─► {"jobs": n}
    {"do": "store", "seconds": s}    the same jobs through the job store                                ─► {"jobs": n}
    {"do": "cars"}                   be cars until stdin closes; every yield and claim is told as it happens
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernels.gate.word import boottime_ns
from runtime.errors import RuntimeFault
from runtime.fleet.buckets import Bucket
from runtime.fleet.car import CarJobs
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.lanes import Lanes
from runtime.fleet.offers import ACK, Offers
from runtime.fleet.receipts import Mailer
from runtime.fleet.records import RECORD_VERSION, Hold, Lane, Record, encode
from runtime.fleet.soak.desks import DeskLink
from runtime.fleet.soak.work import ACTIONS, AGENT, YIELDED, Progress, checkpoint, spec, work
from runtime.fleet.spool import Spool
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import HOLD, HOLDS, JOB, JOBS
from runtime.jobs.life import ClaimLost, JobError, JobState, Result, claimed, submitted
from runtime.jobs.memory import MemoryJobStore
from runtime.jobs.store import Capabilities, Claim
from runtime.ledger.audit import read_entries
from runtime.ledger.entry import Entry, Run
from runtime.ledger.ledger import Ledger

ABLE = Capabilities(agents=frozenset({AGENT}))
BARE_LANE = Lane("any", "any", "bare", "-", 0)
ASK_S = 2.0


class Arguments(msgspec.Struct, frozen=True):
    """Handed over on the command line as JSON. `yield_share` of the jobs are interrupted by a driver.

    `fleet_key` is the public key that counter-signs receipts. The cars' wall clock is wrong by `clock_off_s`.
    """

    server: str
    folder: str
    desks: str
    first: int
    cars: int
    seed: int
    yield_share: float
    pause_s: float
    lease_s: float
    fleet_key: str
    clock_off_s: float = 0.0


class Car:
    """One light car."""

    def __init__(self, number: int, arguments: Arguments, desks: DeskLink) -> None:
        self.name = f"car-{number}"
        self._arguments, self._desks = arguments, desks
        self._folder = Path(arguments.folder) / self.name
        self._draw = random.Random(f"{arguments.seed}/{number}")
        self.connection = Connection(FleetAddress(arguments.server, name=self.name, ping_s=2.0))
        self._busy_until_s = 0.0
        self._mailer: Mailer | None = None

    async def open(self) -> None:
        while True:
            try:
                await self.connection.open()
                return
            except (JobError, RuntimeFault):
                await asyncio.sleep(self._draw.random())

    async def live(self) -> None:
        """Takes jobs, works them, yields now and then, books every run, and tells what happens."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(self._folder / "ledger", _key(self._folder))
        self._mailer = Mailer(ledger, self.connection, {self._arguments.fleet_key})
        self._mailer.start()
        spool = Spool(self._folder / "spool")
        left = list(spool.read())
        jobs = CarJobs(
            MemoryJobStore(),
            self.connection,
            spool,
            max_attempts=1000,
            lease_s=self._arguments.lease_s,
            asked_s=3 * ASK_S,
        )
        wake = asyncio.Event()
        jobs.start(wake.set)
        booked = {(found.job, found.owner_epoch) for found in read_entries(ledger.folder) if isinstance(found, Entry)}
        for kept in left:  # a process before this one was killed with it
            if kept.end is None:
                if (kept.job.job, kept.owner_epoch) not in booked:
                    await self._book(ledger, kept.claim, 0, 0.0)
                with contextlib.suppress(ClaimLost):
                    await jobs.release(kept.claim, "its process was killed", is_fault=True)
        while True:
            if time.monotonic() < self._busy_until_s:  # the driver is in the car
                await asyncio.sleep(self._busy_until_s - time.monotonic())
            await jobs.can_claim(ABLE)
            claim = await jobs.claim(ABLE, self.name, self._arguments.lease_s)
            if claim is not None:
                await self._run(jobs, ledger, claim)
                continue
            try:
                await asyncio.wait_for(wake.wait(), ASK_S)
            except asyncio.TimeoutError:
                continue
            wake.clear()

    async def close(self) -> None:
        if self._mailer is not None:
            await self._mailer.stop()
        await self.connection.close()

    async def _run(self, jobs: CarJobs, ledger: Ledger, claim: Claim) -> None:
        _tell(event="claim", job=claim.job, at_ns=boottime_ns(), car=self.name)
        stop_at = self._draw.randrange(ACTIONS) if self._draw.random() < self._arguments.yield_share else -1
        renewing = asyncio.create_task(self._renew(jobs, claim))
        ended = await work(jobs, claim, self._desks, self._arguments.pause_s, lambda done: done == stop_at)
        renewing.cancel()
        await self._book(ledger, claim, ended.actions, ended.seconds)
        try:
            if ended.kind == "done":
                await jobs.finish(claim, Result(JobState.done, actions=ended.actions))
                if not jobs.untold:  # else the fleet hears of it later, and the director asks the store
                    _tell(event="done", job=claim.job)
            elif ended.kind == "yielded":
                _tell(event="yield", job=claim.job, at_ns=boottime_ns(), car=self.name)
                self._busy_until_s = time.monotonic() + 0.5
                await jobs.release(claim, YIELDED, checkpoint(ended.progress), actions=ended.actions)
        except ClaimLost:
            _tell(event="lost", job=claim.job, at_ns=boottime_ns(), car=self.name)

    async def _renew(self, jobs: CarJobs, claim: Claim) -> None:
        while True:
            await asyncio.sleep(self._arguments.lease_s / 3)
            try:
                await jobs.renew(claim, self._arguments.lease_s)
            except ClaimLost:
                return
            except JobError:
                continue  # away: the next action waits for it

    async def _book(self, ledger: Ledger, claim: Claim, actions: int, seconds: float) -> None:
        run = Run(
            job=claim.job,
            owner_epoch=claim.owner_epoch,
            gate_epochs=(1, 1),
            model=AGENT,
            seconds=seconds,
            cpu_s=0.0,
            actions=actions,
        )
        await asyncio.to_thread(ledger.append, run)

    async def bare(self, until_s: float, run: str) -> int:
        """The requests of submit, claim, two saves and finish, with what they carry, and no thought between them."""
        jobs, holds = Bucket(self.connection, JOBS, JOB), Bucket(self.connection, HOLDS, HOLD)
        offers, done = Offers(self.connection), 0
        made = spec(0, run)
        body = encode(_a_record(made, self.connection))
        while time.monotonic() < until_s:
            name = f"bare{self.name.replace('-', '')}n{done}{run}"
            revision = await jobs.put(name, body, 0)
            await offers.publish(BARE_LANE, name, name)
            offer = next(iter(await offers.pull([BARE_LANE])), None)
            if offer is None:
                continue
            entry = await jobs.get(offer.job)
            revision = entry.revision if entry is not None else 0
            hold = await holds.put(f"j{offer.job}", encode(Hold(1, offer.job, self.name, 0, 0, "", offer.ack)), 0, 10)
            for _ in range(2 + ACTIONS):
                revision = await jobs.put(offer.job, body, revision)
            await holds.delete(hold)
            await offers.answer(offer.ack, ACK)
            done += 1
        return done

    async def store(self, until_s: float, run: str) -> int:
        """The same through the product's store, with its records and its rules."""
        store, done = NatsJobStore(self.connection), 0
        while time.monotonic() < until_s:
            await store.submit(spec(1_000_000 * int(self.name[4:]) + done, run))
            claim = await store.claim(ABLE, self.name, self._arguments.lease_s)
            if claim is None:
                continue
            for number in range(ACTIONS):
                await store.save(claim, checkpoint(Progress(number, number + 1)))
            await store.finish(claim, Result(JobState.done, actions=ACTIONS))
            done += 1
        return done


def _a_record(made: Any, connection: Connection) -> Record:
    now = connection.now()
    job, first = submitted("0" * 32, made, now)
    job, second = claimed(job, "car-0", 1, 10.0, now)
    return Record(RECORD_VERSION, 1, job, (first, second))


def _key(folder: Path) -> Ed25519PrivateKey:
    path = folder / "car.key"
    if path.exists():
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    key = Ed25519PrivateKey.generate()
    raw, none = serialization.Encoding.Raw, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(raw, serialization.PrivateFormat.Raw, none))
    return key


def _tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def run_cars(arguments: Arguments) -> None:
    desks = DeskLink()
    await desks.open(Path(arguments.desks))
    cars = [Car(arguments.first + number, arguments, desks) for number in range(arguments.cars)]
    for begin in range(0, len(cars), 50):  # a herd of handshakes at once is no part of this
        await asyncio.gather(*(car.open() for car in cars[begin : begin + 50]))
    lanes = Lanes(cars[0].connection)
    await lanes.ensure(BARE_LANE)
    _tell(event="ready", cars=len(cars))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    living: list[asyncio.Task[None]] = []
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "cars":
            living = [asyncio.create_task(car.live()) for car in cars]
        else:
            until_s = time.monotonic() + command["seconds"]
            each = (getattr(car, command["do"])(until_s, command["run"]) for car in cars)
            began_s = time.monotonic()
            counts = await asyncio.gather(*each, return_exceptions=True)
            errors = [count for count in counts if not isinstance(count, int)]
            jobs = sum(count for count in counts if isinstance(count, int))
            said = str(errors[0]) if errors else ""
            _tell(event="counted", jobs=jobs, seconds=time.monotonic() - began_s, errors=len(errors), error=said)
    for task in living:
        task.cancel()
    ended = await asyncio.gather(*living, return_exceptions=True)
    broken = [str(one) for one in ended if isinstance(one, Exception) and not isinstance(one, asyncio.CancelledError)]
    await asyncio.gather(*(car.close() for car in cars))
    _tell(event="over", broken=broken[:5], count=len(broken))


def main() -> None:
    arguments = msgspec.json.decode(sys.argv[1], type=Arguments)
    true_s, true_ns, off_s = time.time, time.time_ns, arguments.clock_off_s
    time.time = lambda: true_s() + off_s
    time.time_ns = lambda: true_ns() + round(off_s * 1e9)
    asyncio.run(run_cars(arguments))


if __name__ == "__main__":
    main()
