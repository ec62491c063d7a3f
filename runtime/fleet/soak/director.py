"""A soak from beginning to end: how fast, then everything that can go wrong at once, then what the books say.

1  speed     windows in turn: bare NATS operations │ the job store, by the same clients, closed loop
2  trouble   jobs submitted at a pace that leaves cars idle; drivers return; processes and the server are killed -9;
             one process's link is cut without a word; the wall clocks of two thirds of the cars are minutes off
3  audit     every job in the store, every action at the desks, every receipt in every ledger
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernels.gate.word import boottime_ns
from runtime.fleet.bookkeeper import Bookkeeper
from runtime.fleet.books import Books
from runtime.fleet.connection import LAST_BACKOFF_S, Connection, FleetAddress
from runtime.fleet.errors import FleetAway
from runtime.fleet.server import FleetServer
from runtime.fleet.soak.audit import audit, percentiles
from runtime.fleet.soak.cars import Arguments
from runtime.fleet.soak.desks import Desks
from runtime.fleet.soak.proxy import CutLink
from runtime.fleet.soak.work import spec
from runtime.fleet.store import NatsJobStore, job_named
from runtime.fleet.streams import CONSUMER
from runtime.jobs.store import JobStoreError
from runtime.ledger.audit import waiting

SUBMITTERS = 32
LEASE_S = 5.0
CLOCKS_OFF_S = (0.0, 420.0, -420.0)  # the wall clock of each process's cars, in turn
ASK_AFTER_S = 5.0  # without news of a job that is done, the store is asked
ANSWERED_S = LAST_BACKOFF_S + 60.0  # a car that was cut off may pause that long before it tries its link again


@dataclass(frozen=True)
class SoakPlan:
    """What is done. `rate` jobs a second are submitted in the trouble; 0: a quarter of the speed measured."""

    cars: int
    jobs: int
    processes: int
    folder: Path
    window_s: float = 5.0
    rounds: int = 3
    rate: float = 0.0
    yield_share: float = 0.2
    pause_s: float = 0.05
    seed: int = 1
    say: Callable[[str], None] = lambda text: None


@dataclass
class Heard:
    """What the cars' processes told: when jobs were given up and taken, by one machine's clock."""

    yielded_ns: dict[str, int] = field(default_factory=dict)
    handovers_ns: list[tuple[int, int]] = field(default_factory=list)
    troubles_ns: list[tuple[int, int]] = field(default_factory=list)
    wanted: frozenset[str] = frozenset()  # what the measurement of the speed left over is worked too, and not counted
    done: set[str] = field(default_factory=set)
    claims: int = 0
    lost_claims: int = 0

    def handovers_ms(self, in_trouble: bool) -> list[float]:
        """Returns how long handovers took: those that a kill or a cut link fell upon, or those that it did not."""
        return [
            (taken - given) / 1e6
            for given, taken in self.handovers_ns
            if any(given < end and begin < taken for begin, end in self.troubles_ns) is in_trouble
        ]

    def hear(self, told: dict[str, Any]) -> None:
        if told["event"] == "yield":
            self.yielded_ns[told["job"]] = told["at_ns"]
        elif told["event"] == "done":
            self.done |= self.wanted & {told["job"]}
        elif told["event"] == "lost":
            self.lost_claims += 1
        elif told["event"] == "claim":
            self.claims += 1
            began_ns = self.yielded_ns.pop(told["job"], None)
            if began_ns is not None:
                self.handovers_ns.append((began_ns, told["at_ns"]))


class CarsProcess:
    """One process of cars; killed and started again as it comes."""

    def __init__(self, arguments: Arguments, heard: Heard) -> None:
        self.arguments, self._heard = arguments, heard
        self._counts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.over: dict[str, Any] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runtime.fleet.soak.cars", msgspec.json.encode(self.arguments).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=(Path(self.arguments.folder) / f"cars-{self.arguments.first}.log").open("ab"),
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        await self._counts.get()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if told["event"] in ("ready", "counted"):
                self._counts.put_nowait(told)
            elif told["event"] == "over":
                self.over = told
            else:
                self._heard.hear(told)

    async def do(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def count(self) -> dict[str, Any]:
        return await self._counts.get()

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self._reading

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 30)
        except asyncio.TimeoutError:
            self._process.kill()
        await self._reading

    def memory_bytes(self) -> int:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Soak:
    """One run of a plan."""

    def __init__(self, plan: SoakPlan) -> None:
        self.plan = plan
        self.run = uuid.uuid4().hex[:8]
        wanted = frozenset(job_named(f"{self.run}/{number}") for number in range(plan.jobs))
        self.heard, self.desks = Heard(wanted=wanted), Desks()
        self.server = FleetServer(plan.folder / "nats")
        self.memory: dict[str, int] = {"server": 0, "cars": 0}
        self.troubles: dict[str, int] = {"server_kills": 0, "process_kills": 0, "partitions": 0}
        self._draw = random.Random(plan.seed)

    async def go(self) -> dict[str, Any]:
        began_s = time.monotonic()
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        self.server.start()
        link = CutLink("127.0.0.1", self.server.port)
        await link.start()
        operator = Connection(FleetAddress(self.server.url, name="operator"))
        await operator.open()
        await operator.set_up()
        operator.keep()
        books = Books(self.plan.folder / "books.sqlite", Ed25519PrivateKey.generate())
        bookkeeper = Bookkeeper(operator, books)
        bookkeeper.start()
        desks_path = self.plan.folder / "desks"
        desks = await self.desks.serve(desks_path)
        processes = self._processes(desks_path, link, books.fleet)
        try:
            await asyncio.gather(*(one.start() for one in processes))
            self.plan.say(f"{self.plan.cars} cars in {len(processes)} processes")
            speed = await self._speed(processes)
            trouble = await self._trouble(operator, processes, link, speed["jobs_per_s"])
            await self._until_answered()
        finally:
            await asyncio.gather(*(one.stop() for one in processes), return_exceptions=True)
            desks.close()
            await link.stop()
            await bookkeeper.stop()
        broken = [text for one in processes if one.over is not None for text in one.over["broken"]]
        self.plan.say("reading every record and every ledger")
        apart_ns = operator.now().utc_ns - boottime_ns()
        troubles_ns = [(begin + apart_ns, end + apart_ns) for begin, end in self.heard.troubles_ns]
        found = await audit(NatsJobStore(operator), self.run, self.plan, self.desks, books, troubles_ns)
        books.close()
        await operator.close()
        self.server.stop()
        return {
            "cars": self.plan.cars,
            "jobs": self.plan.jobs,
            **found,
            "handover_ms": percentiles(self.heard.handovers_ms(False)),
            "handover_in_trouble_ms": percentiles(self.heard.handovers_ms(True)),
            **speed,
            **trouble,
            **self.troubles,
            "broken_cars": broken,
            "server_MiB": self.memory["server"] >> 20,
            "car_KiB": self.memory["cars"] // self.plan.cars >> 10,
            "pause_s": self.plan.pause_s,
            "yield_share": self.plan.yield_share,
            "lease_s": LEASE_S,
            "clocks_off_s": [one.arguments.clock_off_s for one in processes],
            "seconds": round(time.monotonic() - began_s, 1),
        }

    def _processes(self, desks: Path, link: CutLink, fleet_key: str) -> list[CarsProcess]:
        each, rest = divmod(self.plan.cars, self.plan.processes)
        first, processes = 0, []
        for number in range(self.plan.processes):
            count = each + (number < rest)
            server = f"nats://127.0.0.1:{link.port}" if number == 0 else self.server.url
            arguments = Arguments(
                server=server, folder=str(self.plan.folder), desks=str(desks), first=first, cars=count,
                seed=self.plan.seed, yield_share=self.plan.yield_share, pause_s=self.plan.pause_s, lease_s=LEASE_S,
                fleet_key=fleet_key, clock_off_s=CLOCKS_OFF_S[number % len(CLOCKS_OFF_S)],
            )  # fmt: skip
            processes.append(CarsProcess(arguments, self.heard))
            first += count
        return processes

    async def _speed(self, processes: list[CarsProcess]) -> dict[str, Any]:
        """Windows in turn, so that whatever else the machine does falls on both."""
        jobs: dict[str, float] = {"bare": 0, "store": 0}
        seconds: dict[str, float] = {"bare": 0, "store": 0}
        errors = 0
        for number in range(-1, self.plan.rounds):  # the first round warms up and is not counted
            for kind in jobs:
                seconds_s = self.plan.window_s if number >= 0 else min(2.0, self.plan.window_s)
                for one in processes:
                    await one.do(do=kind, seconds=seconds_s, run=f"{self.run}{kind}{number + 1}")
                counted = [await one.count() for one in processes]
                if number < 0:
                    continue
                jobs[kind] += sum(count["jobs"] for count in counted)
                seconds[kind] += max(count["seconds"] for count in counted)
                errors += sum(count["errors"] for count in counted)
                for count in counted:
                    if count["error"]:
                        self.plan.say(f"{kind}: {count['error']}")
                self._measure(processes)
            if number >= 0:
                rates = ", ".join(f"{kind} {jobs[kind] / seconds[kind]:.0f}/s" for kind in jobs)
                self.plan.say(f"speed, round {number + 1}: {rates}")
        bare, store = jobs["bare"] / seconds["bare"], jobs["store"] / seconds["store"]
        return {
            "jobs_per_s": round(store, 1),
            "bare_jobs_per_s": round(bare, 1),
            "speed_ratio": round(store / bare, 3) if bare else 0.0,
            "speed_errors": errors,
        }

    async def _trouble(
        self, operator: Connection, processes: list[CarsProcess], link: CutLink, jobs_per_s: float
    ) -> dict[str, Any]:
        rate = self.plan.rate or max(5.0, jobs_per_s / 4)
        for one in processes:
            await one.do(do="cars")
        began_s = time.monotonic()
        store = NatsJobStore(operator)
        numbers = iter(range(self.plan.jobs))
        submitting = [asyncio.create_task(self._submit(store, numbers, rate, began_s)) for _ in range(SUBMITTERS)]
        making_trouble = asyncio.create_task(self._make_trouble(processes, link, self.plan.jobs / rate))
        await asyncio.gather(*submitting)
        submitted_s = time.monotonic() - began_s
        await making_trouble
        await self._until_over(store, processes)
        return {"trouble_jobs_per_s": round(rate, 1), "submitted_s": round(submitted_s, 1),
                "over_s": round(time.monotonic() - began_s, 1)}  # fmt: skip

    async def _submit(self, store: NatsJobStore, numbers: Any, rate: float, began_s: float) -> None:
        for number in numbers:
            await asyncio.sleep(max(0.0, began_s + number / rate - time.monotonic()))
            while True:  # the key makes it one job, however often it is said
                try:
                    await store.submit(spec(number, self.run, priority=number % 3))
                    break
                except JobStoreError:
                    await asyncio.sleep(0.2)
            if number % 1000 == 999:
                self.plan.say(f"{number + 1} submitted")

    async def _make_trouble(self, processes: list[CarsProcess], link: CutLink, seconds: float) -> None:
        """In turn, evenly over the time: a process dies, a link is cut, the server dies."""
        deeds = [self._kill_a_process, self._cut, self._kill_the_server]
        count = max(3, int(seconds // 90) * 3)
        for number in range(count):
            await asyncio.sleep(seconds / (count + 1))
            self._measure(processes)
            began_ns = boottime_ns()
            await deeds[number % len(deeds)](processes, link)
            # An offer that was on its way to somebody who is gone comes again after the consumer's ack_wait.
            self.heard.troubles_ns.append((began_ns, boottime_ns() + CONSUMER["ack_wait"]))

    async def _kill_a_process(self, processes: list[CarsProcess], link: CutLink) -> None:
        one = self._draw.choice(processes[1:] or processes)
        self.plan.say(f"kill -9: a process of {one.arguments.cars} cars")
        await one.kill()
        self.troubles["process_kills"] += 1
        await asyncio.sleep(1.0)
        await one.start()
        await one.do(do="cars")

    async def _cut(self, processes: list[CarsProcess], link: CutLink) -> None:
        self.plan.say(f"the link of {processes[0].arguments.cars} cars is cut for {2 * LEASE_S:g} s")
        self.troubles["partitions"] += 1
        link.cut()
        await asyncio.sleep(2 * LEASE_S)
        link.mend()

    async def _kill_the_server(self, processes: list[CarsProcess], link: CutLink) -> None:
        self.plan.say("kill -9: the server")
        self.troubles["server_kills"] += 1
        self.server.kill()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(self.server.start)

    async def _until_over(self, store: NatsJobStore, processes: list[CarsProcess]) -> None:
        """Waits until no job is left; a minute without any progress ends the wait, and the audit tells the rest.

        The cars tell what they have done; the store is only asked when that stands still, since a process that was
        killed may have done some and not told.
        """
        done, since_s = -1, time.monotonic()
        while len(self.heard.done) < self.plan.jobs and time.monotonic() - since_s < 60.0:
            await asyncio.sleep(0.5)
            self._measure(processes)
            if len(self.heard.done) != done:
                done, since_s = len(self.heard.done), time.monotonic()
            elif time.monotonic() - since_s > ASK_AFTER_S:
                with contextlib.suppress(FleetAway):
                    async for record in store.records():
                        if record.job.state.is_over:
                            self.heard.done |= self.heard.wanted & {record.job.job}
                self.plan.say(f"{self.plan.jobs - len(self.heard.done)} jobs are not over")

    async def _until_answered(self) -> None:
        """Waits until every receipt is counter-signed, as long as a link may take; the audit tells the rest."""
        ledgers = [self.plan.folder / f"car-{number}" / "ledger" for number in range(self.plan.cars)]
        give_up_s, said = time.monotonic() + ANSWERED_S, -1
        while ledgers and time.monotonic() < give_up_s:
            ledgers = await asyncio.to_thread(_unanswered, ledgers)
            if len(ledgers) != said:
                said = len(ledgers)
                self.plan.say(f"{said} cars wait for a counter-signature")
            await asyncio.sleep(0.5)

    def _measure(self, processes: list[CarsProcess]) -> None:
        with contextlib.suppress(OSError, ProcessLookupError):
            if self.server.is_running():
                self.memory["server"] = max(self.memory["server"], self.server.memory_bytes())
            self.memory["cars"] = max(self.memory["cars"], sum(one.memory_bytes() for one in processes))


def _unanswered(ledgers: list[Path]) -> list[Path]:
    return [ledger for ledger in ledgers if any(waiting(ledger))]
