"""Encrypted bundles in a real worker: they run, nothing of them lies in plain in the state; others' fail clearly.

What is packed of a model is searched for in tests/backends/test_encrypted.py.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from runtime.store.bundle import open_source, pack, sign
from runtime.store.device_key import DeviceKey
from runtime.store.encrypt import encrypt
from runtime.store.keys import SigningKey
from runtime.store.manifest import decode_manifest
from runtime.store.models import ModelStore
from tests.backends.made import blocks, leaks
from tests.daemon.car import Car, Desk
from tests.daemon.test_lanes import BUNDLE, READ, at, drive, status

FILES = {"recognise": "rec.onnx"}


def install(folder: Path, *, own: bool | None) -> list[bytes]:
    """Installs the committed text reader, encrypted for this device, for another, or (None) for nobody.

    Returns pieces of its weights."""
    store = ModelStore(folder / "state" / "models")
    key = SigningKey.create(folder / "made.key")
    store.trust(key.public)
    device, stranger = DeviceKey.load_or_create(store.device_key), DeviceKey(X25519PrivateKey.generate())
    source = folder / "source"
    source.mkdir()
    with open_source(BUNDLE) as opened:
        for entry, parts in opened.files(decode_manifest(opened.head()[0])):
            (source / entry.path).write_bytes(b"".join(parts))
    models = {role: {"file": file, "backends": ["native"]} for role, file in FILES.items()}
    description = {"name": "own", "version": "1", "kind": "text_reader", "licence": "Apache-2.0", "models": models}
    made = folder / "plain.ihb"
    pack(source, made, description=description)
    if own is not None:
        made = folder / "made.ihb"
        encrypt(folder / "plain.ihb", made, [(device if own else stranger).public])
    sign(made, key)
    store.install(made)
    return [block for file in FILES.values() for block in blocks((source / file).read_bytes())]


def run(folder: Path) -> tuple[str, bytes, int]:
    """Runs one job of the model; returns (state, how it ended, models loaded)."""
    found: list[tuple[str, bytes, int]] = []

    async def story(made: Car, desks: list[Desk]) -> None:
        made.gate.open()
        job = await made.submit(desktop=at(folder, 0), model="own", **READ)
        ended = await made.until(job, "done", "failed")
        computing = (await status(made)).computing
        view = await made.job(job)
        found.append((view.state, ended.detail, computing.loads if computing else 0))

    drive(folder, story)
    return found[0]


def test_it_works_as_the_plain_one_and_the_state_holds_nothing_of_it(tmp_path: Path) -> None:
    plain, own = tmp_path / "p", tmp_path / "o"
    plain.mkdir()
    own.mkdir()
    secrets = install(plain, own=None)
    expected = run(plain)
    assert leaks(plain / "state", secrets)

    install(own, own=True)
    assert run(own) == expected
    assert expected[2] == 1, "the model was loaded"
    assert leaks(own / "source", secrets), "the search finds what is there"
    assert leaks(own / "state", secrets) == []
    assert leaks(own / "run", secrets) == []
    assert [path.name for path in (own / "state" / "cache").iterdir()] == ["costs.json"]


def test_a_bundle_for_another_device_fails_its_job_and_says_why(tmp_path: Path) -> None:
    install(tmp_path, own=False)
    state, reason, loads = run(tmp_path)
    assert (state, loads) == ("failed", 0)
    assert "is encrypted for 1 device, and not for this one" in str(reason)
    assert "idlehands model device-key" in str(reason)
