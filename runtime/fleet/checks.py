"""Spot checks, on the fleet's side: hears what cars tell of their decisions, has jobs done again, and judges.

    a job ends ─► must_check? ─► again, on another car ─┬─ the same ──► valid: one more in a row
                                                        ├─ unknown ───► no verdict: the screens differed
                                                        └─ differ ────► a third car ─► the outvoted one is quarantined

Only a job whose desktop's owner says `verification.repeatable` is done again. Whether is drawn when it is over, so the
car that did it could not know; the cars that do it again can, so for them it counts only if they fail. What was told is
in memory: a checker that is started anew forgets the checks under way, and knows every standing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from nats.aio.msg import Msg

from runtime.fleet import trust
from runtime.fleet.connection import Connection
from runtime.fleet.credentials import Authority
from runtime.fleet.records import token
from runtime.fleet.server import FleetServer
from runtime.fleet.standings import Standings
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import PROOF
from runtime.fleet.trust import Accounts, Finding
from runtime.jobs.account import Account
from runtime.jobs.life import Job, JobError, JobState

log = logging.getLogger("idlehands.fleet.checks")
LOOK_S = 0.5
CHECK_S = 3600.0  # a check that no other car has taken by then is given up
MOST_JOBS, MOST_ACCOUNTS = 20_000, 10_000
LABEL = "idlehands.check"


@dataclass
class Case:
    """A job that is being checked: the cars that did it, in order, with what each of them told."""

    job: Job
    again: str  # the job that is done again now
    until_s: float
    runs: list[tuple[str, Accounts]] = field(default_factory=list)


class Checker:
    """Needs an operator's connection. `coin` draws from [0, 1)."""

    def __init__(
        self,
        connection: Connection,
        *,
        coin: Callable[[], float] = random.random,
        check_s: float = CHECK_S,
    ) -> None:
        self.standings = Standings(connection)
        self._connection, self._coin, self._check_s = connection, coin, check_s
        self._store = NatsJobStore(connection)
        self._told: dict[str, dict[str, dict[str, str]]] = {}  # by job, by car
        self._cases: dict[str, Case] = {}  # by the job that is done again
        self._heard_by: object = None

    async def run(self) -> None:
        """Checks for as long as it is let; while the fleet is away nothing is judged."""
        while True:
            try:
                if self._connection.is_up:
                    await self.listen()
                    await self.look()
            except JobError as error:
                log.info("no check now: %s", error.message)
            await asyncio.sleep(LOOK_S)

    async def listen(self) -> None:
        """Hears accounts from now on, over this connection's present client."""
        client = self._connection.client
        if self._heard_by is not client:
            await client.subscribe(f"{PROOF}*.*", cb=self._hear)
            self._heard_by = client

    async def look(self) -> None:
        """Judges what is over by now."""
        for job in {**self._told, **self._cases}:
            known = await self._store.get(job)
            case = self._cases.get(job)
            if known.state.is_over:
                told = self._told.pop(job, {}).get(token(known.owner), {})
                if case is None:
                    await self._first(known, told)
                else:
                    del self._cases[job]
                    await self._again(case, known, told)
            elif case is not None and time.monotonic() > case.until_s:
                await self._store.cancel(job, "no other car was there to check")

    async def _hear(self, message: Msg) -> None:
        *_, car, job = message.subject.split(".")
        try:
            account = msgspec.json.decode(message.data, type=dict[str, str])
            heard = Account(account["asked"][:64], account["said"][:64])
        except (msgspec.MsgspecError, KeyError):
            return
        if job not in self._told and len(self._told) >= MOST_JOBS:
            del self._told[next(iter(self._told))]  # the oldest goes unchecked
        accounts = self._told.setdefault(job, {}).setdefault(car, {})
        if len(accounts) < MOST_ACCOUNTS:
            trust.add(accounts, heard.asked, heard.said)

    async def _first(self, job: Job, told: Accounts) -> None:
        """A job that was not a check is over: draws whether it is checked."""
        wanted = job.spec.verification
        is_one_cars = job.claims == 1 and job.state is not JobState.cancelled
        if not wanted.repeatable or not is_one_cars or LABEL in job.spec.labels:
            return
        standing = await self.standings.get(job.owner)
        if not standing.quarantined and trust.must_check(standing, wanted.rate, self._coin()):
            await self._ask(Case(job, "", 0.0, [(job.owner, told)]))

    async def _again(self, case: Case, again: Job, told: Accounts) -> None:
        """The job was done again: compares."""
        car, first = case.runs[0]
        if not again.owner or again.claims != 1:
            await self.standings.change(car, trust.left_open)
            return
        case.runs.append((again.owner, told))
        if len(case.runs) == 2:
            finding = trust.judge(first, told, case.job.actions)
            if finding is Finding.differ:
                await self._ask(case)
            else:
                await self.standings.change(car, trust.passed if finding is Finding.same else trust.left_open)
            return
        number = trust.outvoted(first, case.runs[1][1], told)
        if number is None:
            await self.standings.change(car, trust.left_open)
            return
        wrong = case.runs[number][0]
        others = " and ".join(name for name, _ in case.runs if name != wrong)
        why = f"job {case.job.job}: it decided otherwise than {others} on the same frame"
        await self.standings.change(wrong, lambda standing, now_ns: trust.failed(standing, why, now_ns))
        log.warning("car %s is quarantined: %s", wrong, why)
        if number == 1:
            await self.standings.change(car, trust.passed)

    async def _ask(self, case: Case) -> None:
        """Has the job done again by a car that has not done it."""
        spec = case.job.spec
        cars = tuple(dict.fromkeys((*spec.needs.other_than, *(car for car, _ in case.runs))))
        spec = msgspec.structs.replace(
            spec,
            needs=msgspec.structs.replace(spec.needs, other_than=cars),
            labels={**spec.labels, LABEL: case.job.job},
            idempotency_key=f"check {case.job.job} {len(case.runs)}",
            deadline_s=self._check_s,
        )
        case.again, _ = await self._store.submit(spec)
        case.until_s = time.monotonic() + self._check_s
        self._cases[case.again] = case


class Quarantine:
    """Keeps quarantined cars out: their credentials are refused by the server until they are released."""

    def __init__(self, standings: Standings, authority: Authority, server: FleetServer) -> None:
        self._standings, self._authority, self._server = standings, authority, server

    async def enforce(self) -> None:
        """Has the server refuse who is quarantined now, and take back who is not any more."""
        out = {standing.car for standing in await self._standings.all() if standing.quarantined}
        if self._authority.quarantine(out):
            self._server.reload(self._authority.server_settings())

    async def run(self) -> None:
        while True:
            try:
                await self.enforce()
            except JobError as error:
                log.info("who is quarantined is not known now: %s", error.message)
            await asyncio.sleep(LOOK_S)
