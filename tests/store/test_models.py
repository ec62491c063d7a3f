"""The store of installed bundles: whole whatever happens to it, and clear about what it refuses."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.store.errors import (
    BundleError,
    ModelNotFound,
    QuotaExceeded,
    StoreError,
    StoreUnusable,
    UntrustedBundle,
    VersionTaken,
)
from runtime.store.files import sole_writer
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from tests.faults.attack import Mode, run_module
from tests.store.made import FILES, a_bundle, a_store


def versions(store: ModelStore) -> dict[str, tuple[bool, bool]]:
    return {model.version: (model.is_active, model.is_pinned) for model in store.list_models()}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["nav.ihb", "nav-folder"])
def test_installed_and_read_back(tmp_path: Path, key: SigningKey, store: ModelStore, form: str) -> None:
    bundle = store.install(a_bundle(tmp_path, key, form=form))
    assert bundle == store.get("nav") == store.get("nav", "1.0") == store.get("nav@1.0") == store.verify("nav")
    assert bundle.reference == "nav@1.0"
    assert len(bytes.fromhex(bundle.sha256)) == 32
    for name, data in FILES.items():
        assert bundle.path(name).read_bytes() == data
        assert stat.S_IMODE(bundle.path(name).stat().st_mode) == 0o444
    (model,) = store.list_models()
    assert (model.name, model.kind, model.total_bytes) == ("nav", "onnx", sum(map(len, FILES.values())))
    assert ModelStore(store.root).get("nav") == bundle  # another process, nothing but the folder


def test_the_same_bundle_has_one_identity_in_both_forms(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    one = store.install(a_bundle(tmp_path, key, form="nav.ihb"))
    assert store.install(a_bundle(tmp_path, key, form="folder")) == one
    assert len(store.list_models()) == 1


def test_nothing_is_found_in_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "absent")
    assert store.list_models() == []
    assert store.used_bytes() == 0
    with pytest.raises(ModelNotFound, match=r"no model 'nav' is installed in .*absent; there are: none"):
        store.get("nav")
    assert not (tmp_path / "absent").exists()


def test_unknown_names_and_versions(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    store.install(a_bundle(tmp_path, key))
    with pytest.raises(ModelNotFound, match="there are: nav"):
        store.get("navi")
    with pytest.raises(ModelNotFound, match=r"no version 9; there are: 1\.0"):
        store.get("nav@9")
    with pytest.raises(ModelNotFound, match=r"no version >=2,<3; there are: 1\.0"):
        store.get("nav@>=2,<3")
    for name in ("../trusted/x", "../trusted/x@>=1"):
        with pytest.raises(BundleError, match="expected name or name@version"):
            store.get(name)
    with pytest.raises(BundleError, match="has no file absent"):
        store.get("nav").path("absent")


def test_a_range_is_the_active_version_or_the_newest(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    for version in ("1.9", "1.10", "2.0"):
        store.install(a_bundle(tmp_path, key, form=version, version=version))
    assert store.versions() == {"nav": ("1.9", "1.10", "2.0")}
    assert store.get("nav@>=1,<2").reference == "nav@1.10"
    store.activate("nav", "1.9")
    assert store.get("nav@>=1,<2").reference == "nav@1.9"
    assert store.get("nav@>1.9").reference == "nav@2.0"


def test_a_version_never_changes_its_meaning(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    store.install(a_bundle(tmp_path, key))
    before = tree(store.root)
    with pytest.raises(VersionTaken):
        store.install(a_bundle(tmp_path, key, form="other.ihb", description="changed"))
    assert tree(store.root) == before


def test_refusals_change_nothing(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    store.install(a_bundle(tmp_path, key))
    before = tree(store.root)
    stranger = SigningKey.create(tmp_path / "k")
    damaged = a_bundle(tmp_path, key, form="damaged", version="2")
    (damaged / "labels.txt").write_bytes(b"one\ntwO\n")
    for path, error in [
        (a_bundle(tmp_path, None, form="unsigned.ihb", version="3"), UntrustedBundle),
        (a_bundle(tmp_path, stranger, form="stranger.ihb", version="4"), UntrustedBundle),
        (damaged, BundleError),
    ]:
        with pytest.raises(error):
            store.install(path)
        assert tree(store.root) == before


def test_a_key_that_is_trusted_no_more(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    store.install(a_bundle(tmp_path, key))
    for path in store.trusted_folder.iterdir():
        path.unlink()
    with pytest.raises(UntrustedBundle, match="not trusted here"):
        store.get("nav")
    assert "not trusted" in store.list_models()[0].problem


def test_damage_is_found_and_mended_by_installing_again(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    path = a_bundle(tmp_path, key)
    bundle = store.install(path)
    file = bundle.path("labels.txt")
    for damage in (b"ONE\ntwo\n", b"short"):
        file.unlink()
        file.write_bytes(damage)
        with pytest.raises(BundleError, match=r"labels\.txt"):
            store.verify("nav")
        store.install(path)
        assert store.verify("nav").path("labels.txt").read_bytes() == FILES["labels.txt"]
    (bundle.folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match="install it again"):
        store.get("nav")
    assert store.list_models()[0].problem
    store.install(path)
    store.verify("nav")
    file.unlink()
    with pytest.raises(BundleError, match="is absent; install it again"):
        bundle.path("labels.txt")


def test_equal_files_are_one(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    store.install(a_bundle(tmp_path, key))
    used = store.used_bytes()
    store.install(a_bundle(tmp_path, key, form="b.ihb", version="1.1", files={**FILES, "labels.txt": b"three\n"}))
    grown = store.used_bytes() - used
    assert grown < len(FILES["net/model.onnx"])
    assert os.path.samefile(store.get("nav@1.0").path("net/model.onnx"), store.get("nav@1.1").path("net/model.onnx"))
    store.remove("nav", "1.0")
    store.verify("nav")


def test_damage_does_not_spread_to_a_version_that_shares_the_file(
    tmp_path: Path, key: SigningKey, store: ModelStore
) -> None:
    bundle = store.install(a_bundle(tmp_path, key))
    shared = bundle.path("net/model.onnx")
    shared.chmod(0o644)
    shared.write_bytes(b"X" * len(FILES["net/model.onnx"]))
    store.install(a_bundle(tmp_path, key, form="b.ihb", version="1.1"))
    store.verify("nav@1.1")


def test_activation_rollback_pins_and_gc(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    for version in ("1", "2", "3", "4"):
        store.install(a_bundle(tmp_path, key, form=f"{version}.ihb", version=version))
    assert store.get("nav").manifest.version == "4"
    store.install(a_bundle(tmp_path, key, form="5.ihb", version="5"), activate=False)
    assert store.get("nav").manifest.version == "4"
    assert store.rollback("nav") == "3"
    assert store.rollback("nav") == "2"
    store.activate("nav", "5")
    store.pin("nav", "4")
    assert versions(store) == {
        "1": (False, False),
        "2": (False, False),
        "3": (False, False),
        "4": (False, True),
        "5": (True, False),
    }
    with pytest.raises(StoreError, match="pinned; unpin it first"):
        store.remove("nav", "4")
    assert store.gc() == ["nav@1", "nav@3"]  # 2 is where a rollback would go
    assert store.rollback("nav") == "2"
    with pytest.raises(ModelNotFound, match="no version that was active before 2"):
        store.rollback("nav")
    store.pin("nav", "4", is_pinned=False)
    store.remove("nav", "2")
    assert store.get("nav").manifest.version in ("4", "5")
    for version in ("4", "5"):
        store.remove("nav", version)
    assert store.list_models() == []
    assert store.used_bytes() == 0
    for call in (store.rollback, lambda name: store.remove(name, "1"), lambda name: store.activate(name, "1")):
        with pytest.raises(ModelNotFound):
            call("nav")


def test_the_quota_holds(tmp_path: Path, key: SigningKey) -> None:
    size = sum(map(len, FILES.values()))
    store = a_store(tmp_path / "store", key, quota_bytes=size + 2000)
    store.install(a_bundle(tmp_path, key))
    before = tree(store.root)
    with pytest.raises(QuotaExceeded, match=f"{size + 2000} are in use|of the store's"):
        store.install(a_bundle(tmp_path, key, form="b.ihb", version="2"))
    assert tree(store.root) == before


def test_one_writer_at_a_time_and_readers_beside(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    path = a_bundle(tmp_path, key)
    store.install(path)
    with sole_writer(store.root / "lock"):
        with pytest.raises(StoreUnusable, match="being changed by another process"):
            store.install(path)
        store.get("nav")
        store.list_models()


def test_a_damaged_index_is_told(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    path = a_bundle(tmp_path, key)
    store.install(path)
    index = store.root / "names" / "nav.json"
    for damage in (b"", b"{", b'{"format":9,"versions":{},"active":""}'):
        index.write_bytes(damage)
        with pytest.raises(StoreUnusable, match=r"nav\.json"):
            store.get("nav")
    index.unlink()
    store.install(path)
    store.verify("nav")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("operation", ["install", "remove", "rollback", "gc", "pin", "fetch", "canary"])
def test_a_fault_at_any_write_leaves_the_store_whole(mode: Mode, operation: str) -> None:
    printed = run_module("tests.store.faulty_store", mode.name, operation)
    assert int(printed.split()[-1]) > (2 if operation == "pin" else 5), printed
