"""Bundles for some devices: installed by anyone, read by those alone, and never what their maker did not sign."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from runtime.store import bundle as bundles
from runtime.store.bundle import Bundle, sign, verify
from runtime.store.device_key import DeviceKey
from runtime.store.encrypt import encrypt
from runtime.store.envelope import seal
from runtime.store.errors import BundleError, KeyFileError, StoreUnusable, UntrustedBundle, WrongDevice
from runtime.store.keys import SigningKey, TrustedKeys
from runtime.store.manifest import FileEntry, Manifest, decode_manifest
from runtime.store.models import ModelStore
from tests.store.made import FILES, a_bundle

WEIGHTS = "net/model.onnx"


def device(store: ModelStore) -> DeviceKey:
    return DeviceKey.load_or_create(store.device_key)


def stranger() -> DeviceKey:
    return DeviceKey(X25519PrivateKey.generate())


def encrypted(folder: Path, key: SigningKey, *devices: DeviceKey, form: str = "nav.ihb", **options: Any) -> Path:
    made = folder / f"encrypted-{form}"
    encrypt(a_bundle(folder, None, form=form), made, [one.public for one in devices], **options)
    sign(made, key)
    return made


@pytest.mark.parametrize("form", ["nav.ihb", "nav"])
def test_it_is_installed_without_a_key_and_read_with_it(
    tmp_path: Path, key: SigningKey, store: ModelStore, form: str
) -> None:
    made = encrypted(tmp_path, key, stranger(), device(store), form=form)
    assert verify(made, TrustedKeys([key.public])).encryption is not None
    secret = store.device_key.read_bytes()
    store.device_key.unlink()
    bundle = store.install(made)
    assert store.verify("nav").sha256 == bundle.sha256
    with pytest.raises(WrongDevice, match="encrypted for 2 devices, and this one has no key yet"):
        bundle.read(WEIGHTS)
    store.device_key.write_bytes(secret)
    store.device_key.chmod(0o600)
    for file, data in FILES.items():
        assert bundle.is_encrypted(file)
        assert bundle.read(file) == data
        assert bundle.path(file).read_bytes() != data


def test_only_the_files_that_are_named_are_encrypted(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    bundle = store.install(encrypted(tmp_path, key, device(store), files=[WEIGHTS]))
    assert bundle.read("labels.txt") == bundle.path("labels.txt").read_bytes() == FILES["labels.txt"]
    assert not bundle.is_encrypted("labels.txt")
    assert bundle.read(WEIGHTS) == FILES[WEIGHTS] != bundle.path(WEIGHTS).read_bytes()


def test_another_device_is_refused_before_anything_is_opened(
    tmp_path: Path, key: SigningKey, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = store.install(encrypted(tmp_path, key, stranger()))
    own = device(store).public.key_id
    monkeypatch.setattr(bundles, "unseal", lambda *_: pytest.fail("something was opened"))
    for refuse in (bundle.read, bundle.check_device):
        with pytest.raises(WrongDevice, match=f"for 1 device, and not for this one, whose key is {own[:16]}") as told:
            refuse(WEIGHTS)
        assert "model device-key" in str(told.value)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    bundle = store.install(encrypted(tmp_path, key, device(store)))
    store.device_key.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 644"):
        bundle.read(WEIGHTS)


def replaced(bundle: Bundle, data: bytes) -> Bundle:
    """The installed weights are `data` now, whoever could write there."""
    path = bundle.path(WEIGHTS)
    path.unlink()
    path.write_bytes(data)
    return bundle


def test_what_anyone_may_encrypt_for_the_device_is_not_what_was_signed(
    tmp_path: Path, key: SigningKey, store: ModelStore
) -> None:
    made = encrypted(tmp_path, key, device(store))
    forged = b"".join(seal([b"malware " * 300], WEIGHTS, [device(store).public]))
    bundle = replaced(store.install(made), forged)
    assert bundle.path(WEIGHTS).stat().st_size == len(forged)  # the size alone tells nothing
    with pytest.raises(BundleError, match="is not the file that its manifest names"):
        bundle.read(WEIGHTS)


def test_what_was_damaged_since_is_refused(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    bundle = store.install(encrypted(tmp_path, key, device(store)))
    data = bytearray(bundle.path(WEIGHTS).read_bytes())
    data[-20] ^= 1
    with pytest.raises(BundleError, match="chunk 0 of its encryption does not open"):
        replaced(bundle, bytes(data)).read(WEIGHTS)
    replaced(bundle, FILES[WEIGHTS].ljust(len(data)))
    with pytest.raises(BundleError, match="is not an encrypted file of this version"):
        bundle.read(WEIGHTS)


def test_encrypting_takes_the_signature_and_leaves_the_original(tmp_path: Path, key: SigningKey) -> None:
    original = a_bundle(tmp_path, key)
    before = original.read_bytes()
    made = tmp_path / "made.ihb"
    manifest = encrypt(original, made, [stranger().public])
    assert original.read_bytes() == before
    old = decoded(original)
    assert (manifest.name, manifest.models, manifest.training) == (old.name, old.models, old.training)
    with pytest.raises(UntrustedBundle, match="not signed"):
        verify(made, TrustedKeys([key.public]))


def decoded(path: Path) -> Manifest:
    with bundles.open_source(path) as source:
        return decode_manifest(source.head()[0])


def test_no_plain_byte_is_written_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # what was aside stays, to be looked at
    original = a_bundle(tmp_path / "from", None)
    made = tmp_path / "to"
    made.mkdir()
    encrypt(original, made / "made.ihb", [stranger().public])
    written = [path for path in made.rglob("*") if path.is_file()]
    assert len(written) == 1 + len(FILES)
    assert not [path for path in written if b"weights weights" in path.read_bytes()]


def test_what_cannot_be_encrypted(tmp_path: Path, key: SigningKey) -> None:
    plain, whom = a_bundle(tmp_path, None), [stranger().public]
    made = encrypted(tmp_path, key, stranger(), form="other.ihb")
    with pytest.raises(BundleError, match="encrypted already"):
        encrypt(made, tmp_path / "twice.ihb", whom)
    with pytest.raises(BundleError, match="has no file gone"):
        encrypt(plain, tmp_path / "x.ihb", whom, files=["gone"])
    with pytest.raises(BundleError, match="no device"):
        encrypt(plain, tmp_path / "x.ihb", [])
    with pytest.raises(BundleError, match="exists already"):
        encrypt(plain, made, whom)
    with pytest.raises(StoreUnusable):
        encrypt(plain, tmp_path / "gone" / "x.ihb", whom)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_a_manifest_cannot_name_what_it_has_not() -> None:
    entry = FileEntry("m", "0" * 64, 1)
    manifest = Manifest(format=1, name="nav", version="1", kind="onnx", licence="x", files=(entry,))
    data = manifest.encode().replace(b'"files"', b'"encryption":{"devices":["%s"],"files":["n"]},"files"' % (b"1" * 64))
    with pytest.raises(BundleError, match="file 'n' is said to be encrypted"):
        decode_manifest(data)
