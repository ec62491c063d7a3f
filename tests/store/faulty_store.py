"""Run under LD_PRELOAD by test_models.py: a fault at every write of one of the store's operations."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from tests.faults.attack import Ended, Mode, attack
from tests.store.made import FILES, a_bundle, a_store

MODE, OPERATION = Mode[sys.argv[1]], sys.argv[2]
MADE = Path(tempfile.mkdtemp())
KEY = SigningKey.create(MADE / "key")
OLD = a_bundle(MADE, KEY, form="old.ihb", version="1")
NEW = a_bundle(MADE, KEY, form="new.ihb", version="2", files={**FILES, "labels.txt": b"three\n" * 500})
READY = MADE / "ready"
a_store(READY, KEY).install(OLD)
if OPERATION != "install":
    ModelStore(READY).install(NEW)
if OPERATION == "gc":  # so that the new version is what nobody needs
    ModelStore(READY).rollback("nav")


def prepare(folder: Path) -> None:
    shutil.copytree(READY, folder / "store")


def act(folder: Path) -> None:
    store = ModelStore(folder / "store")
    operations = {
        "install": lambda: store.install(NEW),
        "remove": lambda: store.remove("nav", "2"),
        "rollback": lambda: store.rollback("nav"),
        "gc": store.gc,
        "pin": lambda: store.pin("nav", "2"),
    }
    operations[OPERATION]()


def check(folder: Path, ended: Ended) -> None:
    store = ModelStore(folder / "store")
    found = {model.version: model for model in store.list_models()}
    assert "1" in found
    for version in found:
        store.verify("nav", version)
    active = [version for version, model in found.items() if model.is_active]
    assert active in (["1"], ["2"]), found
    if OPERATION in ("install", "remove"):
        assert active == (["2"] if "2" in found else ["1"]), found
    if ended is Ended.done:
        assert ("2" in found) == (OPERATION in ("install", "rollback", "pin"))
        assert active == (["2"] if OPERATION in ("install", "pin") else ["1"])
        assert OPERATION != "pin" or found["2"].is_pinned
    # and it goes on, with nothing left lying about
    store.install(NEW)
    store.verify("nav@2")
    store.pin("nav", "2", is_pinned=False)
    store.remove("nav", "2")
    assert store.get("nav").manifest.version == "1"
    assert sorted(path.name for path in (store.root / "bundles").iterdir()) == [store.get("nav").sha256]
    assert list((store.root / "aside").iterdir()) == []


if __name__ == "__main__":
    points = attack(MODE, prepare, act, check)
    shutil.rmtree(MADE)
    print(points)
