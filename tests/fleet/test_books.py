"""The fleet's books and a car's mailer: taken once and in order, attacked, and through outages on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.fleet import receipts as receipts_module
from runtime.fleet.bookkeeper import Bookkeeper
from runtime.fleet.books import PARCEL_CAP, Answer, Books, BooksError, Parcel
from runtime.fleet.connection import Connection, FleetAddress
from runtime.fleet.errors import CredentialsError
from runtime.fleet.receipts import Mailer, fleet_key
from runtime.fleet.server import FleetServer
from runtime.ledger.audit import verify, waiting
from runtime.ledger.chain import Chain
from runtime.ledger.entry import Run
from runtime.ledger.ledger import Ledger
from runtime.ledger.receipt import Receipt, verify_receipt
from runtime.ledger.signing import public_hex

FLEET_KEY, CAR_KEY, OTHER_KEY = (Ed25519PrivateKey.generate() for _ in range(3))


def a_run(number: int, epoch: int = 1) -> Run:
    return Run(
        job=f"job-{number}", owner_epoch=epoch, gate_epochs=(1, 1), model="m", seconds=1, cpu_s=1, actions=number
    )


def a_chain(count: int, key: Ed25519PrivateKey = CAR_KEY, first: int = 1) -> list[Receipt]:
    chain, made = Chain(key), []
    for number in range(first, first + count):
        entry = chain.entry(a_run(number), number)
        chain.take(entry)
        made.append(Receipt(entry=entry))
    return made


def books_in(folder: Path) -> Books:
    return Books(folder / "books.sqlite", FLEET_KEY)


def send(books: Books, receipts: list[Receipt], car: str = "car-1", at_ns: int = 5) -> Answer:
    return books.take([(car, msgspec.json.encode(Parcel(tuple(receipts))))], at_ns)[0]


def test_receipts_are_taken_in_order_and_answered_again(tmp_path: Path) -> None:
    books, made = books_in(tmp_path), a_chain(5)
    first = send(books, made[:3])
    assert (len(first.countersignatures), first.wanted, first.refused) == (3, 4, "")
    for receipt, word in zip(made, first.countersignatures, strict=False):
        signed = msgspec.structs.replace(receipt, countersignature=word)
        verify_receipt(signed, car=public_hex(CAR_KEY), fleet={public_hex(FLEET_KEY)})
    gap = send(books, made[4:])
    assert (gap.countersignatures, gap.wanted, gap.refused) == ((), 4, "")
    books.close()
    books = books_in(tmp_path)  # what was answered is on the disk
    again = send(books, made)  # three of them for the second time
    assert (len(again.countersignatures), again.wanted, books.count()) == (5, 6, 5)
    books.close()


def test_what_is_refused(tmp_path: Path) -> None:
    books, made = books_in(tmp_path), a_chain(3)
    send(books, made[:2])
    twin = Chain(CAR_KEY, n=2, previous=made[1].entry.hash)
    forged = msgspec.structs.replace(made[2].entry, joules=1e6)
    cases = {
        "its hash is": [Receipt(entry=forged)],
        "signature is not": [Receipt(entry=msgspec.structs.replace(forged, hash=forged.digest()))],
        "expected a receipt of car": a_chain(3, OTHER_KEY)[2:],
        "does not follow": [Receipt(entry=Chain(CAR_KEY, n=2).entry(a_run(9), 1))],
        "its ledger was replaced": a_chain(1, first=7),
        "in the books already": [Receipt(entry=twin.entry(a_run(2), 1))],
    }
    for words, receipts in cases.items():
        answer = send(books, receipts)
        assert words in answer.refused
        assert (answer.countersignatures, answer.wanted) == ((), 3)
    assert "no parcel" in books.take([("car-1", b"{]")], 1)[0].refused
    too_many = msgspec.json.encode({"receipts": [made[0]] * (PARCEL_CAP + 1)})
    assert "no parcel" in books.take([("car-1", too_many)], 1)[0].refused
    assert books.count() == 2
    assert send(books, made[2:]).wanted == 4, "nothing of the refused ones was left behind"
    books.close()


def test_a_run_that_two_cars_claim_is_told(tmp_path: Path) -> None:
    books = books_in(tmp_path)
    send(books, a_chain(3))
    assert books.contested() == 0
    assert send(books, a_chain(2, OTHER_KEY, first=3), car="car-2").refused == ""
    assert books.contested() == 1
    books.close()


def test_books_that_cannot_be_written_answer_nothing(tmp_path: Path) -> None:
    with pytest.raises(BooksError, match="cannot be opened"):
        Books(tmp_path, FLEET_KEY)
    books = books_in(tmp_path)
    books._db.execute("PRAGMA query_only=1")
    with pytest.raises(BooksError, match="cannot be written"):
        send(books, a_chain(1))
    books._db.execute("PRAGMA query_only=0")
    assert send(books, a_chain(1)).wanted == 2
    books.close()


class Post:
    """A car's ledger and mailer, and a fleet that can lose its books or its server."""

    def __init__(self, folder: Path, server: FleetServer) -> None:
        self.folder, self.server = folder, server
        self.ledger = Ledger(folder / "ledger", CAR_KEY)
        self.car = Connection(FleetAddress(server.url, name="car-1"))
        self.operator = Connection(FleetAddress(server.url, name="operator"))
        self.mailer = Mailer(self.ledger, self.car, {public_hex(FLEET_KEY)})
        self.number = 0

    def book(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.ledger.append(a_run(self.number))

    def open_books(self, key: Ed25519PrivateKey = FLEET_KEY) -> None:
        self.books = Books(self.folder / "books.sqlite", key)
        self.bookkeeper = Bookkeeper(self.operator, self.books)
        self.bookkeeper.start()

    async def close_books(self) -> None:
        await self.bookkeeper.stop()
        self.books.close()

    async def until_answered(self, count: int) -> None:
        for _ in range(3000):
            if verify(self.ledger.folder).countersigned == count and not list(waiting(self.ledger.folder)):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"answered: {verify(self.ledger.folder)}, expected {count}")


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, story: Callable[[Post], Awaitable[None]]) -> None:
    monkeypatch.setattr(receipts_module, "LOOK_S", 0.02)
    monkeypatch.setattr(receipts_module, "AWAY_PAUSE_S", 0.1)
    monkeypatch.setattr(receipts_module, "LAST_PAUSE_S", 0.1)

    async def go() -> None:
        server = FleetServer(folder / "nats")
        server.start()
        post = Post(folder, server)
        try:
            await post.operator.open()
            await post.operator.set_up()
            post.operator.keep()
            post.car.keep()
            post.mailer.start()
            await story(post)
        finally:
            await post.mailer.stop()
            await post.close_books()
            await post.car.close()
            await post.operator.close()
            post.ledger.close()
            server.kill()

    asyncio.run(asyncio.wait_for(go(), 60))


def test_what_was_booked_during_outages_is_answered_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(post: Post) -> None:
        post.book(3)  # nobody keeps books yet
        await asyncio.sleep(0.3)
        post.open_books()
        await post.until_answered(3)
        post.server.kill()
        post.book(2)
        await asyncio.to_thread(post.server.start)
        await post.until_answered(5)
        await post.close_books()
        for part in post.folder.glob("books.sqlite*"):
            part.unlink()
        post.open_books()  # the fleet lost them: the car sends all again
        post.book(PARCEL_CAP + 1)
        await post.until_answered(PARCEL_CAP + 6)
        assert post.books.count() == PARCEL_CAP + 6
        await post.mailer.stop()
        post.book(1)
        post.mailer = Mailer(post.ledger, post.car, {public_hex(FLEET_KEY)})  # as after a crash
        post.mailer.start()
        await post.until_answered(PARCEL_CAP + 7)

    play(tmp_path, monkeypatch, story)


def test_a_full_queue_is_read_from_the_disk_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "QUEUE_CAP", 7)

    async def story(post: Post) -> None:
        post.book(40)
        post.open_books()
        await post.until_answered(40)
        assert post.books.count() == 40

    play(tmp_path, monkeypatch, story)


def test_what_is_booked_while_the_disk_is_read_is_answered_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts_module, "QUEUE_CAP", 3)

    async def story(post: Post) -> None:
        looks = 0

        def waiting_then_more(folder: Path) -> Iterator[Receipt]:
            nonlocal looks
            looks += 1
            found = list(waiting(folder))
            if looks == 2:
                post.book(5)  # more than is heard of at once
            return iter(found)

        monkeypatch.setattr(receipts_module, "waiting", waiting_then_more)
        post.open_books()
        post.book(4)
        await post.until_answered(9)
        assert post.books.count() == 9

    play(tmp_path, monkeypatch, story)


def test_another_than_the_fleet_signs_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(post: Post) -> None:
        post.open_books(OTHER_KEY)
        post.book(2)
        for _ in range(500):
            if "none of the fleet's keys" in caplog.text:
                break
            await asyncio.sleep(0.01)
        assert "none of the fleet's keys" in caplog.text
        assert len(list(waiting(post.ledger.folder))) == 2

    play(tmp_path, monkeypatch, story)


def test_the_fleets_key_comes_with_the_credentials(tmp_path: Path) -> None:
    assert fleet_key(None) is None
    with pytest.raises(CredentialsError, match=r"fleet\.pub cannot be read"):
        fleet_key(tmp_path)
