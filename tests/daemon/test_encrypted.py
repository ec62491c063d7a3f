"""Encrypted bundles in a real worker: they run, nothing of them lies in plain in the state; others' fail clearly."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.residency import int8_chain
from runtime.store.bundle import open_source, pack, sign
from runtime.store.device_key import DeviceKey
from runtime.store.encrypt import encrypt
from runtime.store.keys import SigningKey
from runtime.store.manifest import decode_manifest
from runtime.store.models import ModelStore
from tests.backends.made import blocks, leaks
from tests.daemon.car import Car, Desk
from tests.daemon.test_lanes import BUNDLE, READ, at, drive, status, until

FILES = {"recognise": "rec.onnx", "fixed": "fixed.onnx"}


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
    (source / "fixed.onnx").write_bytes(int8_chain(0))  # of one shape: it is packed when it is loaded
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


def packed(folder: Path) -> list[bytes]:
    """Returns pieces of all that a worker packed there of a plain bundle."""
    return [block for path in (folder / "state" / "cache").glob("*.weights") for block in blocks(path.read_bytes())]


def run(folder: Path, **settings: str) -> tuple[str, str, int]:
    """Runs one job of the model; returns (state, how it ended, models loaded)."""
    found: list[tuple[str, str, int]] = []

    async def story(made: Car, desks: list[Desk]) -> None:
        made.gate.open()
        job = await made.submit(desktop=at(folder, 0), model="own", **READ)
        ended = await made.until(job, "done", "failed")
        if settings:
            await until(made, lambda found: len(found.models) == len(FILES))
        computing = (await status(made)).computing
        view = await made.job(job)
        found.append((view.state, ended.detail, computing.loads if computing else 0))

    drive(folder, story, **settings)
    return found[0]


def test_it_works_as_the_plain_one_and_the_state_holds_nothing_of_it(tmp_path: Path) -> None:
    plain, own = tmp_path / "p", tmp_path / "o"
    plain.mkdir()
    own.mkdir()
    secrets = install(plain, own=None)
    expected = run(plain, **{"worker.resident": "own"})
    secrets += (more := packed(plain))
    assert more, "the plain run packs its weights and keeps them"
    assert leaks(plain / "state", secrets)

    install(own, own=True)
    state, reason, _ = run(own, **{"worker.resident": "own"})
    assert (state, reason) == expected[:2]
    assert leaks(own / "source", secrets), "the search finds what is there"
    assert leaks(own / "state", secrets) == []
    assert leaks(own / "run", secrets) == []
    assert [path.name for path in (own / "state" / "cache").iterdir()] == ["costs.json"]


def test_a_bundle_for_another_device_fails_its_job_and_says_why(tmp_path: Path) -> None:
    install(tmp_path, own=False)
    state, reason, loads = run(tmp_path)
    assert (state, loads) == ("failed", 0)
    assert "is encrypted for 1 device, and not for this one" in reason
    assert "idlehands model device-key" in json.dumps(reason)
