"""One signing key for all tests of bundles, and a store that trusts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from tests.store.made import a_store


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("keys") / "test.key")


@pytest.fixture
def store(tmp_path: Path, key: SigningKey) -> ModelStore:
    return a_store(tmp_path / "store", key)
