"""Mutual TLS: who gets in, who is told what, and what a stranger can do before it has proved who it is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.transport.dial import dial, listen
from runtime.transport.errors import (
    ExpiredCertificate,
    StreamBroken,
    TransportError,
    Unreachable,
    WrongCertificate,
)
from runtime.transport.identity import Identity
from runtime.transport.memory import pair
from runtime.transport.stream import Stream
from runtime.transport.tcp import dial_tcp
from runtime.transport.tls import MAX_STRANGERS, context, secure
from tests.transport.links import identities


async def echo(stream: Stream) -> None:
    while data := await stream.receive():
        await stream.send(data)


async def say_hello(address: str, car: Identity) -> bytes:
    """Dials, says hello and returns the answer, as a session does."""
    stream = await dial(address, car)
    try:
        await stream.send(b"hello")
        return await stream.receive()
    finally:
        stream.close()
        await stream.wait_closed()


def with_desktop(desktop: Identity, test: Callable[[str], Awaitable[None]]) -> None:
    async def main() -> None:
        server = await listen("tls://127.0.0.1:0", desktop, echo)
        try:
            await asyncio.wait_for(test(server.address), 15)
        finally:
            await server.close()

    asyncio.run(main())


def test_both_sides_know_each_other_by_fingerprint(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)

    async def test(address: str) -> None:
        stream = await dial(address, car)
        assert stream.peer == desktop.fingerprint
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        stream.close()

    with_desktop(desktop, test)


def test_a_desktop_that_the_car_does_not_trust(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    car.revoke(desktop.fingerprint[:12])
    car.trust(Identity.create(tmp_path / "another", "another").certificate_pem)

    async def test(address: str) -> None:
        with pytest.raises(WrongCertificate, match=r"not trusted here.*trust each other"):
            await say_hello(address, car)

    with_desktop(desktop, test)


def test_a_car_that_the_desktop_does_not_trust_is_told_so_and_others_still_get_in(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    stranger = Identity.create(tmp_path / "stranger", "stranger")
    stranger.trust(desktop.certificate_pem)

    async def test(address: str) -> None:
        with pytest.raises(WrongCertificate, match="does not trust our certificate"):
            await say_hello(address, stranger)
        assert await say_hello(address, car) == b"hello"

    with_desktop(desktop, test)


def test_a_revocation_takes_effect_without_a_restart(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    other = Identity.create(tmp_path / "other", "other")
    desktop.trust(other.certificate_pem)

    async def test(address: str) -> None:
        assert await say_hello(address, car) == b"hello"
        desktop.revoke(car.fingerprint)
        with pytest.raises(WrongCertificate, match="does not trust our certificate"):
            await say_hello(address, car)

    with_desktop(desktop, test)


def test_a_side_that_trusts_nobody_lets_nobody_in(tmp_path: Path) -> None:
    lonely = Identity.create(tmp_path / "lonely", "lonely")
    near, _ = pair()
    with pytest.raises(WrongCertificate, match="trusts nobody"):
        asyncio.run(secure(near, lonely, is_server=False))


@pytest.mark.parametrize("whose", ["car", "desktop"])
def test_an_expired_certificate_says_which_one(tmp_path: Path, whose: str) -> None:
    valid = {"car": 825.0, "desktop": 825.0, whose: -0.5}
    car = Identity.create(tmp_path / "car", "car", valid_days=valid["car"])
    desktop = Identity.create(tmp_path / "desktop", "desktop", valid_days=valid["desktop"])
    car.trust(desktop.certificate_pem)
    desktop.trust(car.certificate_pem)
    expected = "our certificate is not valid now" if whose == "car" else "is not valid now: certificate has expired"

    async def test(address: str) -> None:
        with pytest.raises(ExpiredCertificate, match=expected):
            await say_hello(address, car)

    with_desktop(desktop, test)


def test_only_the_one_peer_that_was_asked_for(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    other = Identity.create(tmp_path / "other", "other")
    car.trust(other.certificate_pem)

    async def main() -> None:
        near, far = pair()
        results = await asyncio.gather(
            secure(near, car, is_server=False, only=other.fingerprint),
            secure(far, desktop, is_server=True),
            return_exceptions=True,
        )
        assert isinstance(results[0], WrongCertificate)

    asyncio.run(main())


def test_a_certificate_signed_by_a_trusted_one_is_not_trusted(tmp_path: Path) -> None:
    """A peer must not be able to let others in by signing for them."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    car, desktop = identities(tmp_path)
    forged = Identity.create(tmp_path / "forged", "forged")
    forged.trust(desktop.certificate_pem)
    signer = serialization.load_pem_private_key(car.key_path.read_bytes(), None)
    key = serialization.load_pem_private_key(forged.key_path.read_bytes(), None)
    assert isinstance(signer, Ed25519PrivateKey)
    assert isinstance(key, Ed25519PrivateKey)
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.load_pem_x509_certificate(car.certificate_pem.encode()).subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(signer, None)
    )
    forged.certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    async def test(address: str) -> None:
        with pytest.raises(TransportError, match="our certificate"):
            await say_hello(address, forged)

    with_desktop(desktop, test)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
def test_an_older_tls_is_refused(tmp_path: Path, version: ssl.TLSVersion) -> None:
    car, desktop = identities(tmp_path)

    async def test(address: str) -> None:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.load_verify_locations(cadata=desktop.certificate_pem)
        old.load_cert_chain(car.certificate_path, car.key_path)
        old.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]), ssl=old)

    with_desktop(desktop, test)


def test_no_tickets_and_so_no_early_data(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)
    made = context(desktop, car.certificate_pem, True)
    assert made.num_tickets == 0
    assert made.minimum_version is ssl.TLSVersion.TLSv1_3
    assert made.verify_mode is ssl.CERT_REQUIRED


def test_strangers_that_say_nothing_or_garbage_get_nothing_and_stop_nobody(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)

    async def test(address: str) -> None:
        port = int(address.rpartition(":")[2])
        silent = [await dial_tcp("127.0.0.1", port, 5) for _ in range(3 * MAX_STRANGERS)]
        loud = await dial_tcp("127.0.0.1", port, 5)
        await loud.send(b"GET / HTTP/1.1\r\n\r\n")
        answered = b""
        with contextlib.suppress(StreamBroken):
            answered = await loud.receive()
        assert answered[:1] in (b"", b"\x15"), "nothing but a TLS alert"
        assert await say_hello(address, car) == b"hello"
        for stream in [*silent, loud]:
            stream.close()

    with_desktop(desktop, test)


def test_a_link_that_is_cut_without_goodbye_is_not_a_clean_end(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)

    async def main() -> None:
        near, far = pair()
        secured, _ = await asyncio.gather(secure(near, car, is_server=False), secure(far, desktop, is_server=True))
        far.close()
        with pytest.raises(StreamBroken, match="without the goodbye"):
            await secured.receive()

    asyncio.run(main())


def test_altered_bytes_end_the_link(tmp_path: Path) -> None:
    car, desktop = identities(tmp_path)

    async def main() -> None:
        near, far = pair()
        secured, other = await asyncio.gather(secure(near, car, is_server=False), secure(far, desktop, is_server=True))
        await secured.send(b"press nothing")
        record = bytearray(await far.receive())
        record[-1] ^= 1
        feed, fed = pair()
        other._inner = fed
        await feed.send(record)
        with pytest.raises(TransportError, match=r"bad record mac|decryption failed"):
            await other.receive()

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        with pytest.raises(Unreachable, match=r"cannot connect to 127.0.0.1:1: .*start `idlehands desktop` there"):
            await dial_tcp("127.0.0.1", 1, 5)
        with pytest.raises(Unreachable, match="is not known"):
            await dial_tcp("no-such-host.invalid", 1, 5)

    asyncio.run(main())


def test_cars_of_the_same_name_are_told_apart_and_all_get_in(tmp_path: Path) -> None:
    desktop = Identity.create(tmp_path / "desktop", "desktop")
    cars = [Identity.create(tmp_path / f"car{number}", "car") for number in range(4)]
    for car in cars:
        desktop.trust(car.certificate_pem)
        car.trust(desktop.certificate_pem)

    async def test(address: str) -> None:
        for car in cars:
            assert await say_hello(address, car) == b"hello"

    with_desktop(desktop, test)
