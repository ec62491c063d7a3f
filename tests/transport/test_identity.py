"""A folder of keys: what it holds, who may read it, whom it trusts."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runtime.transport.errors import IdentityError, NoIdentity
from runtime.transport.identity import Identity


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_create_and_load(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "car"
    assert not Identity.exists(folder)
    made = Identity.create(folder, "car 7")
    assert Identity.exists(folder)
    assert Identity.load(folder) == made
    assert len(made.fingerprint) == 64
    assert made.me.name == "car 7"
    assert mode(folder) == 0o700
    assert mode(made.key_path) == 0o600
    assert made.trusted() == {}
    assert sorted(path.name for path in folder.iterdir()) == ["certificate.pem", "key.pem", "trusted"]


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    made = Identity.create(tmp_path / "car", "car")
    with pytest.raises(IdentityError, match="holds a key already"):
        Identity.create(tmp_path / "car", "car")
    assert Identity.load(tmp_path / "car") == made


@pytest.mark.parametrize("name", ["", "n" * 65])
def test_a_name_that_does_not_fit(tmp_path: Path, name: str) -> None:
    with pytest.raises(IdentityError, match="1 to 64 characters"):
        Identity.create(tmp_path / "car", name)
    assert not Identity.exists(tmp_path / "car")


def test_no_identity_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NoIdentity, match=r"holds no key; start the daemon"):
        Identity.load(tmp_path)


@pytest.mark.parametrize(("what", "bits"), [("key.pem", 0o640), ("key.pem", 0o604), (".", 0o770), (".", 0o702)])
def test_keys_that_others_can_get_at_are_refused(tmp_path: Path, what: str, bits: int) -> None:
    Identity.create(tmp_path / "car", "car")
    (tmp_path / "car" / what).chmod(bits)
    with pytest.raises(IdentityError, match=f"{bits:04o}"):
        Identity.load(tmp_path / "car")


def test_a_key_that_is_not_the_certificates(tmp_path: Path) -> None:
    one = Identity.create(tmp_path / "one", "one")
    two = Identity.create(tmp_path / "two", "two")
    one.certificate_path.write_bytes(two.certificate_path.read_bytes())
    with pytest.raises(IdentityError, match="not the key of"):
        Identity.load(one.folder)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", bytes(100)])
def test_damaged_files(tmp_path: Path, damage: bytes) -> None:
    made = Identity.create(tmp_path / "car", "car")
    made.certificate_path.write_bytes(damage)
    with pytest.raises(IdentityError, match="cannot read the identity"):
        Identity.load(made.folder)


def test_trust_and_revoke(tmp_path: Path) -> None:
    car = Identity.create(tmp_path / "car", "car")
    desktop = Identity.create(tmp_path / "desktop", "desktop")
    peer = car.trust(desktop.certificate_pem)
    assert peer == desktop.me
    assert car.trust(desktop.certificate_pem.encode()) == peer, "twice is once"
    assert car.trusted() == {desktop.fingerprint: desktop.me}
    assert car.revoke(desktop.fingerprint[:8].upper()) == desktop.me
    assert car.trusted() == {}


@pytest.mark.parametrize("prefix", ["", "0", "not there"])
def test_revoking_needs_exactly_one(tmp_path: Path, prefix: str) -> None:
    car = Identity.create(tmp_path / "car", "car")
    car.trust(Identity.create(tmp_path / "desktop", "desktop").certificate_pem)
    with pytest.raises(IdentityError, match="8 digits"):
        car.revoke(prefix)
    assert len(car.trusted()) == 1


@pytest.mark.parametrize("given", ["", "not a certificate", "x" * 20_000])
def test_only_certificates_can_be_trusted(tmp_path: Path, given: str) -> None:
    car = Identity.create(tmp_path / "car", "car")
    with pytest.raises(IdentityError, match="not a certificate"):
        car.trust(given)


def test_a_private_key_is_not_taken_for_a_certificate(tmp_path: Path) -> None:
    car = Identity.create(tmp_path / "car", "car")
    with pytest.raises(IdentityError, match="not a certificate"):
        car.trust(car.key_path.read_bytes())


def test_a_trusted_file_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    car = Identity.create(tmp_path / "car", "car")
    desktop = Identity.create(tmp_path / "desktop", "desktop")
    car.trust(desktop.certificate_pem)
    stranger = Identity.create(tmp_path / "stranger", "stranger")
    (car.folder / "trusted" / f"{desktop.fingerprint}.pem").write_text(stranger.certificate_pem)
    with pytest.raises(IdentityError, match="holds the certificate"):
        car.trusted()
