"""Releases by TUF: what is released is installed, and each attack of its specification is refused."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from runtime.store.errors import UntrustedBundle
from runtime.store.keys import SigningKey
from runtime.store.manifest import Manifest
from runtime.store.models import ModelStore
from runtime.store.release_maker import ROLES, ReleaseMaker
from runtime.store.releases import NotReleased, ReleasesUnreachable
from tests.store.made import a_bundle, a_store


class Fleet:
    """A maker with its published folder, bundles by version, and a car that is enrolled."""

    def __init__(self, folder: Path, key: SigningKey) -> None:
        self.folder, self.key = folder, key
        self.age_days = 0.0
        self.keys = {role: SigningKey.create(folder / f"{role}.key") for role in ROLES}
        self.published = folder / "published"
        self.maker = ReleaseMaker.create(self.published, self.keys, self.now)
        self.store = self.a_car("car")

    def now(self) -> datetime:
        return datetime.now(timezone.utc) - timedelta(days=self.age_days)

    def a_car(self, name: str) -> ModelStore:
        store = a_store(self.folder / name, self.key)
        store.enrol((self.published / "1.root.json").read_bytes(), str(self.published))
        return store

    def bundle(self, version: str) -> Path:
        path = self.folder / f"{version}.ihb"
        return path if path.exists() else a_bundle(self.folder, self.key, form=f"{version}.ihb", version=version)

    def release(self, version: str) -> Path:
        self.maker.release(self.manifest(version))
        return self.bundle(version)

    def manifest(self, version: str) -> Manifest:
        self.bundle(version)
        other = a_store(self.folder / "maker", self.key)
        return other.install(self.bundle(version)).manifest

    def keep(self, name: str) -> Path:
        return Path(shutil.copytree(self.published, self.folder / name))

    def put_back(self, kept: Path, *names: str) -> None:
        for name in names or [path.name for path in kept.iterdir()]:
            shutil.copy(kept / name, self.published / name)


@pytest.fixture
def fleet(tmp_path: Path, key: SigningKey) -> Fleet:
    return Fleet(tmp_path, key)


def test_what_is_released_is_installed_and_nothing_else(fleet: Fleet) -> None:
    fleet.store.install(fleet.release("1"))
    with pytest.raises(NotReleased, match=r"'nav@2' is not among what .*published releases"):
        fleet.store.install(fleet.bundle("2"))
    fleet.store.install(fleet.release("2"))
    assert fleet.store.get("nav").manifest.version == "2"


def test_a_release_replaces_no_signature(fleet: Fleet) -> None:
    stranger = SigningKey.create(fleet.folder / "stranger")
    path = a_bundle(fleet.folder, stranger, form="x.ihb", version="9")
    with pytest.raises(UntrustedBundle, match="not trusted here"):
        fleet.store.install(path)


def test_another_manifest_under_a_released_version(fleet: Fleet) -> None:
    fleet.release("1")
    forged = a_bundle(fleet.folder, fleet.key, form="forged.ihb", version="1", description="another")
    with pytest.raises(NotReleased, match="another manifest is released"):
        fleet.store.install(forged)


def test_withdrawn(fleet: Fleet) -> None:
    path = fleet.release("1")
    fleet.maker.withdraw("nav", "1")
    with pytest.raises(NotReleased, match="not among"):
        fleet.store.install(path)


def test_an_older_release_is_refused_once_a_newer_one_was_installed(fleet: Fleet) -> None:
    fleet.release("1")
    fleet.store.install(fleet.release("2"))
    with pytest.raises(NotReleased, match="is release 1, release 2 was installed before"):
        fleet.store.install(fleet.bundle("1"))
    assert fleet.maker.release(fleet.manifest("1")) == 3  # the maker may say that it is the newest again
    fleet.store.install(fleet.bundle("1"))


def test_rollback_of_the_metadata(fleet: Fleet) -> None:
    old_path = fleet.release("1")
    old = fleet.keep("old")
    fleet.store.install(fleet.release("2"))
    fleet.put_back(old)
    with pytest.raises(NotReleased, match="not to be trusted"):
        fleet.store.install(old_path)


def test_freeze(fleet: Fleet) -> None:
    path = fleet.release("1")
    fleet.age_days = 8  # a timestamp is good for a week
    fleet.maker.renew()
    with pytest.raises(NotReleased, match="has expired"):
        fleet.store.install(path)
    fleet.age_days = 0
    fleet.maker.renew()
    fleet.store.install(path)


def test_mix_and_match(fleet: Fleet) -> None:
    path = fleet.release("1")
    old = fleet.keep("old")
    fleet.release("2")
    newest, before = (
        max(folder.glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0])) for folder in (fleet.published, old)
    )
    shutil.copy(before, newest)  # the targets of yesterday under the name that today's snapshot asks for
    with pytest.raises(NotReleased, match="not to be trusted"):
        fleet.store.install(path)


@pytest.mark.parametrize("name", ["timestamp.json", "*.snapshot.json", "*.targets.json"])
@pytest.mark.parametrize("damage", ["flipped", "empty", "endless"])
def test_damaged_or_endless_metadata(fleet: Fleet, name: str, damage: str) -> None:
    path = fleet.release("1")
    target = max(fleet.published.glob(name), key=lambda found: found.stat().st_mtime_ns)
    data = target.read_bytes()
    if damage == "endless":
        with open(target, "ab") as out:
            out.truncate(1 << 40)  # sparse: a terabyte of zeros behind what is right
    else:
        target.write_bytes(data.replace(b'"version"', b'"versiom"', 1) if damage == "flipped" else b"")
    with pytest.raises((NotReleased, ReleasesUnreachable)):
        fleet.store.install(path)
    target.write_bytes(data)
    fleet.store.install(path)


def test_a_key_that_was_replaced_signs_nothing_any_more(fleet: Fleet) -> None:
    path = fleet.release("1")
    stolen = fleet.keys["timestamp"]
    fleet.maker.replace_key("timestamp", SigningKey.create(fleet.folder / "new"))
    fleet.store.install(path)  # the car follows the new root
    forged = Metadata.from_file(str(fleet.published / "timestamp.json"))
    forged.signed.version += 1
    forged.sign(CryptoSigner(stolen.secret))
    forged.to_file(str(fleet.published / "timestamp.json"))
    with pytest.raises(NotReleased, match="not to be trusted"):
        fleet.store.install(fleet.bundle("1"))


def test_the_root_key_itself_can_be_replaced(fleet: Fleet) -> None:
    path = fleet.release("1")
    fleet.maker.replace_key("root", SigningKey.create(fleet.folder / "new"))
    fleet.maker.replace_key("targets", SigningKey.create(fleet.folder / "newer"))
    fleet.store.install(path)
    fleet.a_car("another").install(path)  # enrolled with the first root, years ago


def test_a_root_that_nobody_vouches_for(fleet: Fleet) -> None:
    path = fleet.release("1")
    keys = {role: SigningKey.create(fleet.folder / f"evil-{role}") for role in ROLES}
    evil = ReleaseMaker.create(fleet.folder / "evil", keys)
    evil.release(fleet.manifest("1"))
    shutil.copy(fleet.folder / "evil" / "1.root.json", fleet.published / "2.root.json")
    with pytest.raises(NotReleased, match="not to be trusted"):
        fleet.store.install(path)


def test_an_unreachable_source_installs_nothing_and_stops_nothing(fleet: Fleet) -> None:
    fleet.store.install(fleet.release("1"))
    path = fleet.release("2")
    shutil.rmtree(fleet.published)
    with pytest.raises(ReleasesUnreachable, match="what is installed runs on"):
        fleet.store.install(path)
    fleet.store.verify("nav@1")


@pytest.mark.parametrize("root", [b"", b"{}", b"garbage"])
def test_roots_that_are_none(fleet: Fleet, root: bytes) -> None:
    with pytest.raises(NotReleased, match="no trusted root"):
        fleet.store.enrol(root, str(fleet.published))


@pytest.mark.parametrize("source", ["relative/folder", "http://plain.example", ""])
def test_sources_that_are_none(fleet: Fleet, source: str) -> None:
    with pytest.raises(NotReleased, match="expected an absolute folder or an https"):
        fleet.store.enrol((fleet.published / "1.root.json").read_bytes(), source)
