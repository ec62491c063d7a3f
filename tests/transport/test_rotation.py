"""A key is changed, and its peers follow without ever being without one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from runtime.transport.errors import IdentityError, TransportError
from runtime.transport.identity import Identity
from runtime.transport.memory import pair
from runtime.transport.rotation import accept, finish, prepare
from runtime.transport.tls import secure
from tests.transport.links import identities


def meet(car: Identity, desktop: Identity) -> None:
    async def main() -> None:
        near, far = pair()
        ends = await asyncio.gather(
            secure(near, car, is_server=False), secure(far, desktop, is_server=True), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    asyncio.run(main())


def test_a_rotation_from_its_beginning_to_the_end_of_the_old_key(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    before = car.fingerprint
    statement = prepare(car)
    assert prepare(car) == statement or msgspec.json.decode(prepare(car))["certificate"] in statement
    meet(car, desktop)
    old, new = accept(desktop, statement)
    assert old.fingerprint == before
    assert set(desktop.trusted()) == {before, new.fingerprint}
    meet(car, desktop)  # the peer has accepted, this side goes on with the old key
    assert before in desktop.trusted()
    now = finish(car)
    assert now.fingerprint == new.fingerprint
    meet(now, desktop)
    assert set(desktop.trusted()) == {new.fingerprint}, "the old key is trusted no more"
    meet(now, desktop)
    with pytest.raises(IdentityError, match="holds no key"):
        finish(now)


def test_a_peer_that_has_not_accepted_refuses_and_may_accept_later(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    statement = prepare(car)
    now = finish(car)
    with pytest.raises(TransportError):
        meet(now, desktop)
    accept(desktop, statement)
    meet(now, desktop)


def test_only_the_owner_of_a_trusted_certificate_names_its_next(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    stranger = Identity.create(tmp_path / "stranger", "stranger")
    with pytest.raises(IdentityError, match="not trusted here"):
        accept(desktop, prepare(stranger))
    said = msgspec.json.decode(prepare(stranger))
    said["old"] = car.fingerprint
    with pytest.raises(IdentityError, match="not signed by the key of car"):
        accept(desktop, msgspec.json.encode(said))
    swapped = msgspec.json.decode(prepare(car))
    swapped["certificate"] = stranger.certificate_pem
    with pytest.raises(IdentityError, match="not signed"):
        accept(desktop, msgspec.json.encode(swapped))
    for garbage in (
        b"",
        b"{}",
        b"\xff",
        b"[" * 100,
        b'{"old": "", "certificate": "x", "signature": ""}',
        b" " * 70_000,
    ):
        with pytest.raises(IdentityError, match="no rotation statement"):
            accept(desktop, garbage)
    assert set(desktop.trusted()) == {car.fingerprint}


def test_a_crash_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    _, new = accept(desktop, prepare(car))
    os.replace(car.folder / "next" / "key.pem", car.folder / "key.pem")
    assert Identity.load(car.folder).fingerprint == new.fingerprint
    assert not (car.folder / "next").exists()
