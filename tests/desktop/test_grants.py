"""Grants: a job's token is good for these cars, this desktop, one job and its time, and for nothing else."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runtime.desktop.connector import serve_desktop
from runtime.desktop.errors import SessionRefused
from runtime.desktop.grants import Grant, GrantBook, GrantError
from runtime.desktop.memory import MemoryDesktop, MemoryScreen
from runtime.desktop.remote import RemoteDesktop
from runtime.transport.dial import dial
from runtime.transport.identity import Identity
from tests.transport.links import identities


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Identity, Identity]:
    return identities(tmp_path)


def book_of(desktop: Identity, clock: Callable[[], float]) -> GrantBook:
    return GrantBook(desktop, desktop.folder.parent / "state", clock)


def test_it_opens_this_desktop_to_this_car_for_one_job(ends: tuple[Identity, Identity]) -> None:
    car, desktop = ends
    book = book_of(desktop, Clock())
    token = book.issue(["car"], hours=1).encode()
    assert len(token) <= 512
    assert book.check(token, "job-1", car.fingerprint) == ""
    assert book.check(token, "job-1", car.fingerprint) == "", "after a reconnect too"
    assert book.check(token, "job-2", car.fingerprint) == "the grant was used for another job"
    assert [used.job for used in book.used()] == ["job-1"]


def test_it_is_bound_to_both_ends_to_the_job_and_to_its_time(tmp_path: Path, ends: tuple[Identity, Identity]) -> None:
    car, desktop = ends
    clock = Clock()
    book = book_of(desktop, clock)
    named = book.issue([car.fingerprint[:8]], hours=1, job="job-1").encode()
    assert book.check(named, "job-1", "ab" * 32) == "the grant is for another car"
    assert book.check(named, "job-1", "uid:0") == "the grant is for another car"
    assert book.check(named, "job-2", car.fingerprint) == "the grant is for another job"
    other = Identity.create(tmp_path / "other", "other")
    assert book_of(other, clock).check(named, "job-1", car.fingerprint) == "the grant is for another desktop"
    assert not book.used(), "what was refused is nobody's"
    clock.now_s += 3601
    assert book.check(named, "job-1", car.fingerprint) == "the grant has run out"
    local = book.issue(["uid:0"], hours=1).encode()
    assert book.check(local, "job", "uid:0") == ""


def test_what_was_altered_or_made_up_opens_nothing(ends: tuple[Identity, Identity]) -> None:
    car, desktop = ends
    book = book_of(desktop, Clock())
    token = book.issue(["car"], hours=1, job="job").encode()
    for at in range(5, len(token)):
        altered = bytearray(token)
        altered[at] = ord("A") if altered[at] != ord("A") else ord("B")
        said = book.check(bytes(altered), "job", car.fingerprint)
        assert said or base64.urlsafe_b64decode(altered[5:] + b"==") == base64.urlsafe_b64decode(token[5:] + b"==")
    for made_up in (b"", b"hunter2", b"ihg1.", b"ihg1.!!!!", b"\xff" * 512, token[:-9], b"ihg1." + b"A" * 400):
        assert book.check(made_up, "job", car.fingerprint) == "the token is no grant"
    forged = msgspec.msgpack.encode(
        Grant(1, bytes.fromhex(desktop.fingerprint), (bytes.fromhex(car.fingerprint),), "", 9_999_999_999, bytes(9))
    )
    signed = b"ihg1." + base64.urlsafe_b64encode(car.sign(b"idlehands grant\0" + forged) + forged).rstrip(b"=")
    assert book.check(signed, "job", car.fingerprint) == "the grant is not signed by this desktop"


def test_a_revoked_grant_and_one_that_ran_out(ends: tuple[Identity, Identity]) -> None:
    car, desktop = ends
    clock = Clock()
    book = book_of(desktop, clock)
    used, unused = (book.issue(["car"], hours=1) for _ in range(2))
    assert book.check(used.encode(), "job", car.fingerprint) == ""
    name = book.used()[0].name
    assert book.revoke(name[:16]) == name
    book.revoke(unused)
    for token in (used, unused):
        assert book.check(token.encode(), "job", car.fingerprint) == "the grant was revoked"
    clock.now_s += 3601
    assert book.used() == []
    assert not any((desktop.folder.parent / "state" / "grants").iterdir()), "forgotten once they have run out"


def test_a_grant_that_cannot_be_made(ends: tuple[Identity, Identity]) -> None:
    book = book_of(ends[1], Clock())
    with pytest.raises(GrantError, match="0 trusted cars are called 'nobody'"):
        book.issue(["nobody"], hours=1)
    with pytest.raises(GrantError, match="1 to 3 cars, got 0"):
        book.issue([], hours=1)
    with pytest.raises(GrantError, match="at most a year"):
        book.issue(["car"], hours=1e6)
    with pytest.raises(GrantError, match="no grant"):
        book.revoke("ihg1.what")


def test_the_desktop_checks_the_token_and_says_what_is_wrong_with_it(
    tmp_path: Path, ends: tuple[Identity, Identity]
) -> None:
    car, desktop = ends
    told: list[dict[str, object]] = []

    async def main() -> None:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        screen = MemoryDesktop(MemoryScreen(64, 64))
        serving = asyncio.ensure_future(
            serve_desktop(
                screen,
                "tls://127.0.0.1:0",
                desktop,
                tmp_path / "state",
                told.append,
                ready=address.set_result,
                require_grant=True,
            )
        )
        where = await address

        async def attempt(job: str, token: str) -> None:
            stream = await dial(where, car)
            async with await RemoteDesktop.connect(stream, job=job, owner_epoch=1, token=token) as remote:
                await remote.next_frame()

        with pytest.raises(SessionRefused, match="asks for a grant"):
            await attempt("job", "")
        with pytest.raises(SessionRefused, match="the token is no grant"):
            await attempt("job", "hunter2")
        token = GrantBook(desktop, tmp_path / "state").issue(["car"], hours=1)
        await attempt("job", token)
        await attempt("job", token)
        with pytest.raises(SessionRefused, match="used for another job"):
            await attempt("another", token)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        screen.close()

    asyncio.run(main())
    assert [event["reason"] for event in told if event["event"] == "session_refused"] == ["bad_token"] * 3
