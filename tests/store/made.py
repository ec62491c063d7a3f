"""Bundles for tests: small, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.store.bundle import pack, sign
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore

DESCRIPTION: dict[str, Any] = {
    "name": "nav",
    "version": "1.0",
    "kind": "onnx",
    "licence": "Apache-2.0",
    "models": {"model": {"file": "net/model.onnx", "backends": ["null"], "memory_bytes": 1000}},
    "training": {"seed": 7, "data": "none"},
}
FILES = {"net/model.onnx": b"weights " * 300, "labels.txt": b"one\ntwo\n", "empty": b""}


def a_source(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    """Returns a folder with the files of a bundle."""
    for name, data in (FILES if files is None else files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def a_bundle(
    folder: Path,
    key: SigningKey | None,
    *,
    form: str = "nav.ihb",
    files: dict[str, bytes] | None = None,
    **changes: Any,
) -> Path:
    """Returns a packed bundle in `folder`, signed if there is a key; `changes` go over DESCRIPTION."""
    made = folder / form
    pack(a_source(folder / f"{form}-source", files), made, description={**DESCRIPTION, **changes})
    if key is not None:
        sign(made, key)
    return made


def a_store(root: Path, key: SigningKey, **options: Any) -> ModelStore:
    """Returns an empty store that trusts `key`."""
    store = ModelStore(root, **options)
    store.trust(key.public)
    return store
