"""A device's key: made once, kept from others, told as a line that a slip does not turn into another device."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from runtime.store.device_key import DeviceKey, DevicePublicKey
from runtime.store.errors import KeyFileError, StoreUnusable
from runtime.store.keys import SigningKey


def test_it_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.key"
    made = DeviceKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert DeviceKey.load_or_create(path).public == DeviceKey.load(path).public == made.public
    assert made.public.raw not in path.read_bytes()


def test_one_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    with pytest.raises(KeyFileError, match="there is no device key"):
        DeviceKey.load(path)
    DeviceKey.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"device key .* has mode 640"):
        DeviceKey.load_or_create(path)
    path.chmod(0o600)
    path.write_bytes(b"none")
    with pytest.raises(KeyFileError, match="no unencrypted private key"):
        DeviceKey.load(path)
    SigningKey.create(tmp_path / "other.key")
    with pytest.raises(KeyFileError, match="expected X25519"):
        DeviceKey.load(tmp_path / "other.key")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnusable):
        DeviceKey.load_or_create(tmp_path / "file" / "device.key")


def test_its_line_is_checked() -> None:
    public = DeviceKey(X25519PrivateKey.generate()).public
    assert DevicePublicKey.parse(f" {public.text}\n") == public
    for at, old in enumerate(public.text):
        with pytest.raises(KeyFileError, match="is no device's key"):
            DevicePublicKey.parse(public.text[:at] + ("0" if old != "0" else "1") + public.text[at + 1 :])
    with pytest.raises(KeyFileError, match="is no device's key"):
        DevicePublicKey.parse(public.text[:-1])


def test_a_file_key_is_for_one_device_one_sender_and_one_path() -> None:
    secret, other = (DeviceKey(X25519PrivateKey.generate()) for _ in range(2))
    sender = X25519PrivateKey.generate()
    sent = sender.public_key().public_bytes_raw()
    wrapped = secret.public.wrap(b"k" * 32, sender, "m.onnx")
    assert secret.unwrap(wrapped, sent, "m.onnx") == b"k" * 32
    assert other.unwrap(wrapped, sent, "m.onnx") is None
    assert secret.unwrap(wrapped, sent, "n.onnx") is None
    assert secret.unwrap(wrapped, other.public.raw, "m.onnx") is None
    assert secret.unwrap(wrapped[:-1], sent, "m.onnx") is None
    assert secret.unwrap(wrapped, bytes(32), "m.onnx") is None


def test_a_key_whose_secret_everyone_knows_is_not_encrypted_for() -> None:
    with pytest.raises(KeyFileError, match="not a key of X25519 that can be encrypted for"):
        DevicePublicKey(bytes(32)).wrap(b"k" * 32, X25519PrivateKey.generate(), "m.onnx")
