"""Run under LD_PRELOAD by test_models.py: a fault at every write of one of the store's operations."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from runtime.store.canary import Limits
from runtime.store.chunks import write_index
from runtime.store.download import FolderSource, discard, fetch
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from runtime.store.trials import Trials
from tests.faults.attack import Ended, Mode, attack
from tests.store.made import FILES, a_bundle, a_store

MODE, OPERATION = Mode[sys.argv[1]], sys.argv[2]
MADE = Path(tempfile.mkdtemp())
KEY = SigningKey.create(MADE / "key")
OLD = a_bundle(MADE, KEY, form="old.ihb", version="1")
NEW = a_bundle(MADE, KEY, form="new.ihb", version="2", files={**FILES, "labels.txt": b"three\n" * 500})
READY = MADE / "ready"
a_store(READY, KEY).install(OLD)
if OPERATION == "fetch":
    NEW.with_name(NEW.name + ".chunks").write_bytes(write_index(NEW))
elif OPERATION != "install":
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
        "fetch": lambda: fetched(store),
        "canary": lambda: tried(store),
    }
    operations[OPERATION]()


def fetched(store: ModelStore) -> None:
    """As `idlehands model fetch` does it."""
    made = fetch(FolderSource(NEW.parent), NEW.name, store)
    store.install(made.path)
    discard(made)


def tried(store: ModelStore) -> None:
    """As `idlehands model canary` and the daemon do it: a trial begins, counts, and ends."""
    trials = Trials(store)
    trials.start("nav", "1", 500, Limits())
    trials.tell("nav", "1", is_done=True, actions=3, seconds=2.0, joules=5.0)
    trials.end("nav", "stopped")


def check(folder: Path, ended: Ended) -> None:
    store = ModelStore(folder / "store")
    found = {model.version: model for model in store.list_models()}
    assert "1" in found
    for version in found:
        store.verify("nav", version)
    active = [version for version, model in found.items() if model.is_active]
    assert active in (["1"], ["2"]), found
    for trial in Trials(store).all():
        assert (trial.stable, trial.canary) == ("2", "1")
        assert ended is not Ended.done or trial.ended == "stopped"
    if OPERATION in ("install", "remove", "fetch"):
        assert active == (["2"] if "2" in found else ["1"]), found
    if ended is Ended.done:
        assert ("2" in found) == (OPERATION in ("install", "rollback", "pin", "fetch", "canary"))
        assert active == (["2"] if OPERATION in ("install", "pin", "fetch", "canary") else ["1"])
        assert OPERATION != "pin" or found["2"].is_pinned
    # and it goes on, with nothing left lying about
    if OPERATION == "fetch":
        fetched(store)
        assert list((store.root / "downloads").iterdir()) == []
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
