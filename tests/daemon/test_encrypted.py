"""Encrypted bundles in a real worker: they run, nothing of them lies in plain in the state; others' fail clearly.

What is packed of a model is searched for too: in the state, and in what the live worker holds open or mapped.
"""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from PIL import Image, ImageDraw, ImageFont

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


def write_on(desk: Desk) -> None:
    """Puts text on the screen, so that the model is not only loaded but packed and run."""
    sign = Image.new("RGB", (200, 24), "white")
    font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 14)
    ImageDraw.Draw(sign).text((4, 3), "Somewhere else", fill="black", font=font)
    desk.screen.pixels[200:224, 20:220, :3] = np.asarray(sign)
    desk.screen.changed()


def held_on_disk(pid: int, below: Path) -> list[bytes]:
    """Returns what a process holds of files that are no libraries: open ones, and mapped ones; deleted ones too."""
    found, skipped = [], ("/dev/", "/proc/", "/sys/", "/usr/", "/memfd:", "/lib")
    for folder in ("fd", "map_files"):
        for link in Path(f"/proc/{pid}/{folder}").iterdir():
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                is_file = stat.S_ISREG(link.stat().st_mode)
                if is_file and not target.startswith(skipped) and ".so" not in target:
                    found.append(link.read_bytes())
    assert any(str(below) in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()), "it is the worker"
    return found


def run(folder: Path, secrets: list[bytes] | None = None) -> tuple[str, bytes, int]:
    """Runs one job of the model; returns (state, how it ended, models loaded).

    With `secrets` none of them may be on disk while the worker lives, with its model loaded.
    """
    found: list[tuple[str, bytes, int]] = []

    async def story(made: Car, desks: list[Desk]) -> None:
        made.gate.open()
        write_on(desks[0])
        job = await made.submit(desktop=at(folder, 0), model="own", **READ)
        ended = await made.until(job, "done", "failed")
        computing = (await status(made)).computing
        if secrets is not None:
            (pid,) = made.workers()
            held = held_on_disk(pid, folder)
            assert not any(secret in content for secret in secrets for content in held)
            assert leaks(folder / "state", secrets) == []
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
    packed = [path for path in (plain / "state" / "cache").iterdir() if path.name != "costs.json"]
    assert packed, "a plain model's packed form is kept"
    before = len(secrets)
    for path in packed:
        secrets += blocks(path.read_bytes())
    assert len(secrets) > before + 50

    install(own, own=True)
    assert run(own, secrets) == expected
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
