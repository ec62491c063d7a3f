"""Installed bundles with small models, and a gate that closes when it was looked at often enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kernels.gate.word import GateToken
from runtime.store.bundle import Bundle, pack, sign
from runtime.store.device_key import DeviceKey, DevicePublicKey
from runtime.store.encrypt import encrypt
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore

INPUTS = [{"name": "x", "shape": ["n", 64], "dtype": "float32"}]
OUTPUTS = [{"name": "y", "shape": ["n", 64], "dtype": "float32"}]


class CountedGate:
    """Open for `looks` looks; None is for ever. Made a token by `as_token`: backends in Python ask only this."""

    def __init__(self, looks: int | None) -> None:
        self.looks, self.seen = looks, 0

    def is_open(self) -> bool:
        self.seen += 1
        return self.looks is None or self.seen <= self.looks

    address = 0  # kernels, which look by address, see no gate: what they do is tested where they are

    def as_token(self) -> GateToken:
        return cast(GateToken, self)

    def until(self, until_ns: int) -> GateToken:
        """The gate without a window: the looks are this one's window, so it is open unless it never was."""
        return CountedGate(0 if self.looks == 0 else None).as_token()


def chain(layers: int, *, width: int = 64, rows: int | str = "n") -> bytes:
    """Returns an ONNX model of `layers` matrix products with a Relu each: x (rows, width) -> y (rows, width)."""
    rng = np.random.default_rng(layers)
    weights, nodes = [], []
    for layer in range(layers):
        matrix = (rng.standard_normal((width, width)) / np.sqrt(width / 2)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        out = "y" if layer == layers - 1 else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [f"h{layer - 1}" if layer else "x", f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [out]))
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", [tensors[0]], [tensors[1]], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return cast(bytes, model.SerializeToString())


def installed(
    folder: Path,
    files: dict[str, bytes],
    models: dict[str, Any],
    *,
    name: str = "net",
    kind: str = "onnx",
    devices: Sequence[DevicePublicKey] = (),
) -> Bundle:
    """Returns an installed bundle, encrypted if there are `devices`; its store, key and sources lie in `folder`.

    This device's own key is that of `device_of(folder)`.
    """
    store = ModelStore(folder / "store")
    key_path = folder / "key"
    key = SigningKey.load(key_path) if key_path.exists() else SigningKey.create(key_path)
    store.trust(key.public)
    source = folder / f"source-{name}"
    source.mkdir()
    for file, data in files.items():
        (source / file).write_bytes(data)
    description = {"name": name, "version": "1", "kind": kind, "licence": "Apache-2.0", "models": models}
    pack(source, folder / f"{name}.ihb", description=description)
    made = folder / f"{name}.ihb"
    if devices:
        made = folder / f"{name}.encrypted.ihb"
        encrypt(folder / f"{name}.ihb", made, devices)
    sign(made, key)
    return store.install(made)


def device_of(folder: Path) -> DevicePublicKey:
    """Returns the key of the device whose store is that of `installed`, made at its first use."""
    return DeviceKey.load_or_create(ModelStore(folder / "store").device_key).public


def blocks(data: bytes) -> list[bytes]:
    """Returns pieces of `data`, 48 bytes each and spread over it, that occur nowhere by chance: what a leak shows."""
    step = max(48, len(data) // 400)
    found = [data[at : at + 48] for at in range(0, len(data) - 48, step)]
    return [block for block in found if len(set(block)) > 16]


def leaks(folder: Path, secrets: list[bytes]) -> list[Path]:
    """Returns the files below `folder` that hold any of `secrets`."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    contents = {path: path.read_bytes() for path in files}
    return [path for path, content in contents.items() if any(secret in content for secret in secrets)]


def entry(backend: str, *, file: str = "m.onnx", **more: Any) -> dict[str, Any]:
    """Returns a model of a description: a chain as above, by `backend`."""
    return {"file": file, "backends": [backend], "inputs": INPUTS, "outputs": OUTPUTS, **more}
