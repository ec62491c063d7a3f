"""Keys: made, kept from others, read, trusted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from runtime.store.errors import KeyFileError
from runtime.store.keys import PublicKey, SigningKey, TrustedKeys, development_key


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert SigningKey.load(tmp_path / "k").public.key_id == key.public.key_id
    with pytest.raises(KeyFileError, match="never overwritten"):
        SigningKey.create(tmp_path / "k")
    (tmp_path / "k").chmod(0o640)
    with pytest.raises(KeyFileError, match="mode 640, others may read it; chmod 600"):
        SigningKey.load(tmp_path / "k")


def test_signatures(tmp_path: Path) -> None:
    key, other = SigningKey.create(tmp_path / "a"), SigningKey.create(tmp_path / "b")
    signature = key.sign(b"text")
    assert key.public.verifies(signature, b"text")
    assert not key.public.verifies(signature, b"texT")
    assert not other.public.verifies(signature, b"text")
    assert not key.public.verifies(b"", b"text")


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    path = tmp_path / "k"
    for load in (SigningKey.load, PublicKey.load):
        with pytest.raises(KeyFileError, match="there is no"):
            load(path / "absent" if path.is_dir() else tmp_path / "absent")
    with pytest.raises(KeyFileError, match="cannot be read"):
        SigningKey.load(tmp_path)
    path.write_text("hello")
    path.chmod(0o600)
    for load in (SigningKey.load, PublicKey.load):
        with pytest.raises(KeyFileError, match="PEM"):
            load(path)
    curve = generate_private_key(SECP256R1())
    path.write_bytes(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyFileError, match="expected Ed25519"):
        SigningKey.load(path)
    path.write_bytes(curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(KeyFileError, match="expected Ed25519"):
        PublicKey.load(path)


def test_trusting(tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    assert TrustedKeys.load(trusted).by_id == {}
    key = SigningKey.create(tmp_path / "k")
    TrustedKeys.add(trusted, key.public)
    TrustedKeys.add(trusted, key.public)
    assert list(TrustedKeys.load(trusted).by_id) == [key.public.key_id]
    (trusted / "bad.pub").write_text("x")
    with pytest.raises(KeyFileError, match=r"bad\.pub"):
        TrustedKeys.load(trusted)


def test_the_development_key_is_made_once(tmp_path: Path) -> None:
    first = development_key(tmp_path / "keys", tmp_path / "trusted")
    again = development_key(tmp_path / "keys", tmp_path / "trusted")
    assert first.public.key_id == again.public.key_id
    assert list(TrustedKeys.load(tmp_path / "trusted").by_id) == [first.public.key_id]
