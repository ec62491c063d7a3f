"""A job's token: the desktop's owner lets these cars work one job here until then, and nobody else.

    "ihg1." + base64url( Ed25519 signature by the desktop's key, 64 bytes | what was signed, MessagePack:
                         [version, desktop, cars, job, ends, id] )

It is bound to both ends: to the desktop by its key, to the cars by the certificates that TLS has proved (`uid:N` on a
Unix socket). A grant without a job's name belongs to the first job that shows it; which one that was is a file in
`grants` of the state folder, made before the session is opened. Removing trust in a car ends its grants too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from firmware_bridge.files import replace
from runtime.desktop.errors import DesktopError
from runtime.transport.errors import IdentityError
from runtime.transport.identity import Identity, is_signed

GRANTS_FOLDER = "grants"
MAX_CARS = 3  # more do not fit into the 512 bytes that a hello's token may have
_BEGIN, _SIGNATURE_BYTES, _ID_BYTES = "ihg1.", 64, 9
_PURPOSE = b"idlehands grant\0"
_REVOKED = "revoked"
_FILE = re.compile(r"[0-9]{10}-[0-9a-f]{18}\Z")


class GrantError(DesktopError):
    """A grant cannot be made as it was asked for, or there is none of that name."""

    next_step = "see `idlehands desktop grant --help`; `idlehands desktop peers` lists the cars"


class Grant(msgspec.Struct, array_like=True, frozen=True):
    """What is signed. `desktop` and the cars that prove themselves by TLS are SHA-256 of certificates."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    desktop: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    cars: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=MAX_CARS)]
    job: Annotated[str, msgspec.Meta(max_length=128)]
    ends: Annotated[int, msgspec.Meta(ge=0, le=9_999_999_999)]
    id: Annotated[bytes, msgspec.Meta(min_length=_ID_BYTES, max_length=_ID_BYTES)]

    @property
    def name(self) -> str:
        """How the grant is called: its file's name, and what `--revoke` takes."""
        return f"{self.ends:010d}-{self.id.hex()}"


@dataclass(frozen=True)
class Used:
    """A grant that was shown or revoked, for people."""

    name: str
    ends: int
    job: str
    is_revoked: bool


class GrantBook:
    """Makes and checks the grants of the desktop `identity`; who used which is kept in `folder`. `now_s` is UTC."""

    def __init__(self, identity: Identity, folder: Path, now_s: Callable[[], float] = time.time) -> None:
        self._identity, self._folder, self._now_s = identity, folder / GRANTS_FOLDER, now_s

    def issue(self, cars: Sequence[str], *, hours: float, job: str = "") -> str:
        """Returns a token for `cars`: fingerprints (from 8 digits on) or names of trusted peers, or uid:N.

        Raises GrantError for a car that is not trusted or not one, for too many of them, and for an end in the past.
        """
        if not 1 <= len(cars) <= MAX_CARS:
            raise GrantError(f"a grant is for 1 to {MAX_CARS} cars, got {len(cars)}")
        if not 0 < hours <= 24 * 366:
            raise GrantError(f"a grant lasts at most a year, got {hours:g} hours")
        named = tuple(self._car(car) for car in cars)
        ends = int(self._now_s() + hours * 3600)
        grant = Grant(1, self._desktop(), named, job, ends, secrets.token_bytes(_ID_BYTES))
        payload = msgspec.msgpack.encode(grant)
        token = _BEGIN + base64.urlsafe_b64encode(self._identity.sign(_PURPOSE + payload) + payload).decode().rstrip(
            "="
        )
        if len(token) > 512:
            raise GrantError(f"the token would have {len(token)} bytes, 512 fit", next_step="name fewer cars")
        return token

    def check(self, token: bytes, job: str, peer: str) -> str:
        """Returns why `peer` may not work `job` with `token`, "" if it may; the grant belongs to `job` from then on."""
        try:
            grant, payload, signature = _read(token)
        except (ValueError, msgspec.DecodeError):
            return "the token is no grant"
        if grant.desktop != self._desktop():
            return "the grant is for another desktop"
        if not is_signed(self._identity.me, _PURPOSE + payload, signature):
            return "the grant is not signed by this desktop"
        if grant.ends <= self._now_s():
            return "the grant has run out"
        if _car_bytes(peer) not in grant.cars:
            return "the grant is for another car"
        if grant.job and grant.job != job:
            return "the grant is for another job"
        return self._claim(grant, job)

    def revoke(self, beginning: str) -> str:
        """Ends the one grant whose name, or whose token, begins so. Returns its name. Raises GrantError."""
        if beginning.startswith(_BEGIN):
            try:
                name = _read(beginning.encode())[0].name
            except (ValueError, msgspec.DecodeError) as error:
                raise GrantError("this token is no grant") from error
        else:
            names = [used.name for used in self.used() if beginning and used.name.startswith(beginning)]
            if len(names) != 1:
                raise GrantError(f"{len(names)} used grants begin with {beginning!r}; an unused one needs its token")
            name = names[0]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(self._folder / name, _REVOKED.encode(), is_durable=True, mode=0o600)
        return name

    def used(self) -> list[Used]:
        """Returns the grants that were used or revoked and have not run out; forgets those that have."""
        found = []
        for path in sorted(self._folder.glob("*")) if self._folder.is_dir() else ():
            if not _FILE.match(path.name):
                continue
            ends = int(path.name.partition("-")[0])
            if ends <= self._now_s():
                path.unlink(missing_ok=True)
                continue
            said = path.read_text()
            found.append(Used(path.name, ends, said.removeprefix("job "), said == _REVOKED))
        return found

    def _claim(self, grant: Grant, job: str) -> str:
        """Gives the grant to `job` if it is nobody's. Who may have it is decided by who makes its file."""
        path = self._folder / grant.name
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = self._folder / f".{grant.name}.{os.getpid()}"
            replace(beside, f"job {job}".encode(), is_durable=True, mode=0o600)
            with suppress(FileExistsError):
                os.link(beside, path)
            beside.unlink()
        said = path.read_text()
        if said == _REVOKED:
            return "the grant was revoked"
        return "" if said == f"job {job}" else "the grant was used for another job"

    def _desktop(self) -> bytes:
        return bytes.fromhex(self._identity.fingerprint)

    def _car(self, car: str) -> bytes:
        if car.startswith("uid:"):
            return _car_bytes(car)
        try:
            trusted = self._identity.trusted().values()
        except IdentityError as error:
            raise GrantError(error.message) from error
        found = [
            one for one in trusted if one.name == car or (len(car) >= 8 and one.fingerprint.startswith(car.lower()))
        ]
        if len(found) != 1:
            raise GrantError(f"{len(found)} trusted cars are called {car!r}, expected one")
        return _car_bytes(found[0].fingerprint)


def _car_bytes(peer: str) -> bytes:
    """Returns a peer as a grant names it: a fingerprint's bytes, or the hash of what a local peer is called."""
    return bytes.fromhex(peer) if re.fullmatch("[0-9a-f]{64}", peer) else hashlib.sha256(peer.encode()).digest()


def _read(token: bytes) -> tuple[Grant, bytes, bytes]:
    """Returns (grant, what was signed, the signature), unchecked. Raises ValueError, msgspec.DecodeError."""
    text = token.decode("ascii")
    if not text.startswith(_BEGIN):
        raise ValueError("no grant")
    body = text.removeprefix(_BEGIN)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    signature, payload = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
    return msgspec.msgpack.decode(payload, type=Grant), payload, signature
