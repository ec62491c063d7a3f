"""What is published is what was installed, and others install it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.store.bundle import verify
from runtime.store.download import FolderSource, discard, fetch
from runtime.store.errors import BundleError, UntrustedBundle
from runtime.store.keys import SigningKey, TrustedKeys
from runtime.store.models import ModelStore
from runtime.store.publish import publish
from tests.store.made import a_bundle, a_store


def test_an_installed_bundle_is_published_and_installed_elsewhere(
    tmp_path: Path, key: SigningKey, store: ModelStore
) -> None:
    trusted = TrustedKeys.load(store.trusted_folder)
    installed = store.install(a_bundle(tmp_path, key))
    made = publish(installed.folder, tmp_path / "out", trusted)
    assert made.path.name == "nav-1.0.ihb"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["nav-1.0.ihb", "nav-1.0.ihb.chunks"]
    assert verify(made.path, trusted) == installed.manifest
    other = a_store(tmp_path / "other", key)
    fetched = fetch(FolderSource(tmp_path / "out"), made.path.name, other)
    assert other.install(fetched.path).sha256 == installed.sha256
    discard(fetched)
    again = publish(a_bundle(tmp_path / "again", key), tmp_path / "out", trusted)
    assert again == made, "equal bundles are equal files"


def test_what_is_not_signed_or_not_whole_is_not_published(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    trusted = TrustedKeys.load(store.trusted_folder)
    with pytest.raises(UntrustedBundle):
        publish(a_bundle(tmp_path, None, form="unsigned.ihb"), tmp_path / "out", trusted)
    path = a_bundle(tmp_path, key)
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        publish(path, tmp_path / "out", trusted)
    assert list((tmp_path / "out").iterdir()) == []
