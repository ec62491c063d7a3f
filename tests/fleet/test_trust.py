"""How far a car is trusted: the rules alone, then a fleet's checks against cars that tell what a test has them tell."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.fleet.checks import Checker, Quarantine
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.credentials import Authority
from runtime.fleet.errors import FleetAway, ServerRefused
from runtime.fleet.server import FleetServer
from runtime.fleet.standings import Standings, UnknownCar
from runtime.fleet.store import NatsJobStore
from runtime.fleet.streams import PROOF
from runtime.fleet.trust import (
    NEW_BELOW,
    Finding,
    Standing,
    add,
    failed,
    judge,
    must_check,
    outvoted,
    passed,
    released,
)
from runtime.jobs.life import JobState, Result
from runtime.jobs.spec import JobSpec, Verification
from runtime.jobs.store import Capabilities, Claim

NEW = Standing(1, "car")
TRUTH = {f"frame {number}": f"click {number}" for number in range(6)}
LIE = {**TRUTH, "frame 2": "click elsewhere"}
ELSEWHERE = {f"other frame {number}": "click" for number in range(6)}


def test_ten_valid_in_a_row_then_one_in_n() -> None:
    standing = NEW
    for _ in range(NEW_BELOW):
        assert must_check(standing, 0.0, 0.999999)
        standing = passed(standing, 1)
    coins = random.Random(1)
    for valid in (10, 20, 100):
        standing = Standing(1, "car", valid=valid)
        checked = sum(must_check(standing, 0.0, coins.random()) for _ in range(20_000))
        assert abs(checked / 20_000 - 1 / valid) < 0.01
    assert must_check(standing, 0.5, 0.49), "the job's own rate raises it"
    assert not must_check(standing, 0.5, 0.51)
    assert not must_check(Standing(1, "car", valid=10), 0.0, 0.1), "a rate never lowers it, and 1/n is not above 1/n"


def test_a_failure_ends_the_row_and_a_release_begins_a_new_one() -> None:
    standing = failed(Standing(1, "car", valid=500), "it lied", 7)
    assert (standing.valid, standing.failures, standing.quarantined) == (0, 1, "it lied")
    again = released(standing, 8)
    assert (again.is_new, again.failures, again.quarantined, again.check_rate) == (True, 1, "", 1.0)


@pytest.mark.parametrize(
    ("first", "again", "actions", "finding"),
    [
        (TRUTH, TRUTH, 6, Finding.same),
        (LIE, TRUTH, 6, Finding.differ),
        (TRUTH, LIE, 6, Finding.differ),
        (TRUTH, ELSEWHERE, 6, Finding.unknown),  # screens that never were the same say nothing
        (LIE, ELSEWHERE, 6, Finding.unknown),
        ({}, TRUTH, 6, Finding.unknown),  # who tells nothing is not found to be right
        (TRUTH, {}, 6, Finding.unknown),
        ({}, {}, 0, Finding.unknown),
        (TRUTH, TRUTH, 7, Finding.unknown),  # nor who acts more often than it tells
        (TRUTH, {**ELSEWHERE, "frame 0": "click 0"}, 6, Finding.unknown),
        ({"frame 0": "x", **ELSEWHERE}, {"frame 0": "click 0"}, 6, Finding.differ),  # one lie is enough
    ],
)
def test_two_cars_are_compared_on_what_both_were_asked(
    first: dict[str, str], again: dict[str, str], actions: int, finding: Finding
) -> None:
    assert judge(first, again, actions) is finding


def test_the_third_outvotes_one_or_nobody() -> None:
    assert outvoted(LIE, TRUTH, TRUTH) == 0
    assert outvoted(TRUTH, LIE, TRUTH) == 1
    assert outvoted(LIE, TRUTH, {**TRUTH, "frame 2": "a third thing"}) is None
    assert outvoted(LIE, TRUTH, ELSEWHERE) is None
    assert outvoted(LIE, TRUTH, {}) is None
    assert outvoted(LIE, TRUTH, {**TRUTH, "frame 5": "x"}) is None, "a third that contradicts both is no witness"
    assert outvoted(TRUTH, TRUTH, TRUTH) is None


def test_who_says_two_things_to_one_question_has_said_neither() -> None:
    told: dict[str, str] = {}
    for said in ("click 0", "click 9", "click 0"):
        add(told, "frame 0", said)
    assert judge(told, {"frame 0": "click 0"}, 1) is Finding.differ


class Cars:
    """Light cars: each takes a job, tells the accounts that `says` gives it, and ends it."""

    def __init__(self, server: FleetServer, says: dict[str, dict[str, str]]) -> None:
        self._server, self._says = server, says
        self.stores: dict[str, NatsJobStore] = {}
        self.did: list[tuple[str, str]] = []

    async def start(self, authority: Authority | None = None) -> None:
        for name in self._says:
            folder = authority.enroll(name, "car") if authority else None
            connection = Connection(FleetAddress(self._server.url, folder, name))
            await connection.open()
            self.stores[name] = NatsJobStore(connection, defer=lambda wait_s: 0.0)

    async def work(self, name: str) -> Claim | None:
        store = self.stores[name]
        claim = await store.claim(Capabilities(car=name), name, 30)
        if claim is None:
            return None
        for asked, said in self._says[name].items():
            detail = json.dumps({"asked": asked, "said": said}).encode()
            await store.connection.say(f"{PROOF}{name}.{claim.job}", detail)
        await store.connection.client.flush()
        await store.finish(claim, Result(JobState.done, actions=len(TRUTH)))
        self.did.append((name, claim.job))
        return claim

    async def close(self) -> None:
        for store in self.stores.values():
            await store.close()


Story = Callable[[FleetServer, Connection, Cars], Awaitable[None]]


def play(folder: Path, says: dict[str, dict[str, str]], story: Story, authority: Authority | None = None) -> None:
    async def go() -> None:
        security = authority.server_settings() if authority else None
        server = FleetServer(folder / "nats", security=security)
        server.start()
        cars = Cars(server, says)
        mine = authority.enroll("operator", "operator") if authority else None
        operator = Connection(FleetAddress(server.url, mine, "operator"))
        try:
            await operator.open()
            await operator.set_up()
            operator.keep()
            await cars.start(authority)
            await story(server, operator, cars)
        finally:
            await operator.close()
            await cars.close()
            server.kill()

    asyncio.run(go())


async def submit(operator: Connection, number: int, **verification: float | bool) -> str:
    wanted = Verification(**{"repeatable": True, **verification})  # type: ignore[arg-type]
    spec = JobSpec(desktop=f"unix:/desk-{number}", instruction="click", verification=wanted)
    return (await NatsJobStore(operator).submit(spec))[0]


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to hold within 20 s")


async def opened(address: FleetAddress) -> None:
    """Connects to a server that may still be reading its settings."""
    for left in range(200, -1, -1):
        connection = Connection(address)
        try:
            await connection.open()
            break
        except (ServerRefused, FleetAway):
            if not left:
                raise
            await asyncio.sleep(0.1)
    await connection.close()


async def looked(checker: Checker) -> None:
    await checker._connection.client.flush()
    await asyncio.sleep(0.05)  # what was told is heard
    await checker.look()


async def works(cars: Cars, name: str) -> bool:
    """Has a car work once a job is there for it: an offer that was just given back may take a moment."""
    for _ in range(100):
        if await cars.work(name):
            return True
        await asyncio.sleep(0.05)
    return False


async def rounds(checker: Checker, cars: Cars) -> None:
    """Lets the checker look and every car work until every check is decided."""
    for _ in range(100):
        await looked(checker)
        if not checker._cases:
            return
        for name in cars.stores:
            await cars.work(name)
    raise AssertionError("there is always something left to do")


def test_a_lying_car_is_found_at_its_first_job_and_an_honest_one_reaches_one_in_n(tmp_path: Path) -> None:
    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        checker = Checker(operator, coin=lambda: 0.5)
        await checker.listen()
        for number in range(NEW_BELOW + 3):
            await submit(operator, number)
            assert await works(cars, "honest")
            await rounds(checker, cars)
        honest = await checker.standings.get("honest")
        assert (honest.valid, honest.failures, honest.quarantined, honest.undecided) == (NEW_BELOW, 0, "", 0)
        assert honest.check_rate == pytest.approx(1 / NEW_BELOW)
        assert sum(name == "honest" for name, _ in cars.did) == NEW_BELOW + 3, "it was never asked to check itself"

        job = await submit(operator, 100)
        assert await works(cars, "liar")
        await rounds(checker, cars)
        liar = await checker.standings.get("liar")
        assert liar.valid == 0
        assert liar.failures == 1
        assert job in liar.quarantined
        assert next(one.car for one in await checker.standings.all()) == "liar"
        assert (await checker.standings.get("honest")).valid == NEW_BELOW, "to outvote another is no merit"

        for wrong in ("liar", "nobody"):  # released, it begins anew; who was never checked cannot be
            if wrong == "nobody":
                with pytest.raises(UnknownCar, match="nobody"):
                    await checker.standings.release(wrong)
            else:
                assert (await checker.standings.release(wrong)).is_new

    play(tmp_path, {"honest": TRUTH, "second": TRUTH, "third": TRUTH, "liar": LIE}, story)


def test_a_liar_among_those_that_check_harms_itself_alone(tmp_path: Path) -> None:
    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        checker = Checker(operator, coin=lambda: 0.0)
        await checker.listen()
        await submit(operator, 1)
        assert await works(cars, "honest")
        await rounds(checker, cars)  # the liar comes first of those that may do it again
        assert (await checker.standings.get("honest")).valid == 1
        assert "decided otherwise than honest and second" in (await checker.standings.get("liar")).quarantined

    play(tmp_path, {"liar": LIE, "honest": TRUTH, "second": TRUTH}, story)


def test_a_trusted_liar_is_found_in_about_n_jobs(tmp_path: Path) -> None:
    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        checker = Checker(operator, coin=random.Random(3).random)
        await checker.listen()
        for _ in range(NEW_BELOW):
            await checker.standings.change("liar", passed)
        for jobs in range(1, 100):
            await submit(operator, jobs)
            assert await works(cars, "liar")
            await rounds(checker, cars)
            if (await checker.standings.get("liar")).quarantined:
                break
        coins = random.Random(3)
        drawn = next(number for number in range(1, 100) if coins.random() < 1 / NEW_BELOW)
        assert jobs == drawn, "the first coin that falls below 1/n finds it"

    play(tmp_path, {"liar": LIE, "honest": TRUTH, "second": TRUTH}, story)


def test_jobs_that_may_not_be_done_again_are_not(tmp_path: Path) -> None:
    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        checker = Checker(operator, coin=lambda: 0.0)
        await checker.listen()
        await submit(operator, 1, repeatable=False, rate=1.0)
        assert await works(cars, "liar")
        await rounds(checker, cars)
        assert len(cars.did) == 1
        assert await checker.standings.all() == []

    play(tmp_path, {"liar": LIE, "honest": TRUTH}, story)


def test_a_check_that_nobody_takes_is_given_up_without_a_verdict(tmp_path: Path) -> None:
    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        checker = Checker(operator, coin=lambda: 0.0, check_s=0.1)
        await checker.listen()
        await submit(operator, 1)
        assert await works(cars, "alone")
        await looked(checker)
        assert not await cars.work("alone")
        await asyncio.sleep(0.15)
        await looked(checker)
        await checker.look()
        alone = await checker.standings.get("alone")
        assert (alone.valid, alone.failures, alone.undecided) == (0, 0, 1)
        assert len(cars.did) == 1

    play(tmp_path, {"alone": TRUTH}, story)


def test_standings_outlive_the_server_and_the_checker(tmp_path: Path) -> None:
    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        before = await Standings(operator).change("car-1", lambda known, now_ns: failed(known, "it lied", now_ns))
        await Standings(operator).change("car.2", passed)
        server.kill()
        server.start()
        for _ in range(200):
            try:
                found = await Checker(operator).standings.all()
                break
            except FleetAway:
                await asyncio.sleep(0.1)
        assert found[0] == before
        assert [one.car for one in found] == ["car-1", "car.2"]

    play(tmp_path, {}, story)


def test_a_quarantined_car_is_refused_until_it_is_released(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "fleet")

    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        standings = Standings(operator)
        guard = Quarantine(standings, authority, server)
        liar = cars.stores["liar"].connection
        with pytest.raises(ServerRefused):
            await Standings(liar).change("liar", passed)  # no car writes its own standing
        await standings.change("liar", lambda known, now_ns: failed(known, "it lied", now_ns))
        await guard.enforce()
        await until(lambda: not liar.client.is_connected)
        address = FleetAddress(server.url, authority.enroll("liar", "car"), "liar")
        with pytest.raises((ServerRefused, FleetAway)):
            await Connection(address).open()
        assert (await Standings(cars.stores["honest"].connection).get("liar")).quarantined, "the others stay and see it"
        await standings.release("liar")
        await guard.enforce()
        await opened(address)

    play(tmp_path, {"liar": LIE, "honest": TRUTH}, story, authority)


def test_a_car_cannot_tell_in_another_cars_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "fleet")

    async def story(server: FleetServer, operator: Connection, cars: Cars) -> None:
        heard: list[str] = []

        async def hear(message: object) -> None:
            heard.append(message.subject)  # type: ignore[attr-defined]

        await operator.client.subscribe(f"{PROOF}>", cb=hear)
        await operator.client.flush()
        liar = cars.stores["liar"].connection
        await liar.say(f"{PROOF}honest.job", b"{}")
        await liar.say(f"{PROOF}liar.job", b"{}")
        await until(lambda: bool(heard))  # the server delivers in order: what was said first would be heard before it
        assert heard == [f"{PROOF}liar.job"]

    play(tmp_path, {"liar": LIE, "honest": TRUTH}, story, authority)
