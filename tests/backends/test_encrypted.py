"""Encrypted models on every backend: the same outputs, nothing in plain on the disk, and nobody else's device.

That nothing leaks is looked for as it is found: the same search over a run of the plain bundle must find it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from bench.chains import ROWS, WIDTH, int8_chain
from runtime.backends.cuda.host import HostDevice
from runtime.backends.protocol import Limits, ModelUnsupported, StepResult, load_model
from runtime.backends.tensorrt.backend import TensorRTBackend
from runtime.backends.tensorrt.fake import HostTensorRT
from runtime.daemon.assets import BundleAssets
from runtime.store.bundle import Bundle
from runtime.store.device_key import DeviceKey, DevicePublicKey
from runtime.store.errors import WrongDevice
from tests.backends.made import blocks, chain, device_of, entry, installed, leaks
from tests.kernels.lm.synthetic import synthetic_model

ROWS_OF_FLOATS = np.random.default_rng(3).standard_normal((7, 64), dtype=np.float32)
INT8_ROWS = np.random.default_rng(5).standard_normal((ROWS, WIDTH), dtype=np.float32)
PROMPT = np.array([3, 1, 4], np.int32)
LM = {"file": "m.gguf", "backends": ["native"], "options": {"native": {"max_tokens": 9, "context": 64}}}
# name: (file, its bytes, its entry, feeds)
MODELS: dict[str, tuple[str, bytes, dict[str, Any], dict[str, NDArray[Any]]]] = {
    "native": ("m.onnx", chain(8), entry("native"), {"x": ROWS_OF_FLOATS}),
    "native, int8": ("m.onnx", int8_chain(0), {"file": "m.onnx", "backends": ["native"]}, {"x": INT8_ROWS}),
    "native, language model": ("m.gguf", synthetic_model(ffn=256).raw, LM, {"tokens": PROMPT}),
    "onnxruntime": ("m.onnx", chain(8), entry("onnxruntime"), {"x": ROWS_OF_FLOATS}),
}


def a_bundle(folder: Path, name: str, devices: list[DevicePublicKey]) -> Bundle:
    file, data, model, _ = MODELS[name]
    folder.mkdir(exist_ok=True)
    return installed(folder, {file: data}, {"model": model}, devices=devices)


def result(bundle: Bundle, cache: Path, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    cache.mkdir(exist_ok=True)
    model = load_model(bundle, Limits(cache_folder=cache))[1]
    model.set_threads(2)
    run = model.start(feeds)
    assert run.step(None) is StepResult.DONE
    found = run.outputs()
    model.close()
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_same_outputs_and_nothing_in_plain_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _, data, _, feeds = MODELS[name]
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    plain, own = tmp_path / "plain", tmp_path / "own"
    expected = result(a_bundle(plain, name, []), plain / "cache", feeds)
    # Beside the file itself, what this backend packs of it and keeps: all of it is searched for.
    secrets = blocks(data)
    for path in (plain / "cache").iterdir():
        secrets += blocks(path.read_bytes())
    assert len(secrets) > 50
    assert leaks(plain / "store", secrets), "the search finds what is there"
    assert name == "onnxruntime" or leaks(plain / "cache", secrets)

    bundle = a_bundle(own, name, [device_of(own)])
    for _ in range(2):
        found = result(bundle, own / "cache", feeds)
        assert all(np.array_equal(found[output], expected[output]) for output in expected)
    for place in (own / "store", own / "keys", own / "cache", tmp_path / "tmp"):
        assert leaks(place, secrets) == []
    assert list((own / "cache").iterdir()) == list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("name", [*MODELS, "null"])
def test_another_device_is_refused(tmp_path: Path, name: str) -> None:
    stranger = DeviceKey(X25519PrivateKey.generate()).public
    if name == "null":
        bundle = installed(tmp_path, {"m.onnx": b"w"}, {"model": entry("null")}, devices=[stranger])
    else:
        bundle = a_bundle(tmp_path, name, [stranger])
    device_of(tmp_path)
    with pytest.raises(WrongDevice, match="is encrypted for 1 device, and not for this one"):
        load_model(bundle, Limits())


def test_tensorrt_leaves_it_to_the_next_backend(tmp_path: Path) -> None:
    model = {"file": "m.onnx", "backends": ["tensorrt", "native"]}
    bundle = installed(tmp_path, {"m.onnx": int8_chain(0)}, {"model": model}, devices=[device_of(tmp_path)])
    device = HostDevice()
    backend = TensorRTBackend(library=lambda name: HostTensorRT(device), device=lambda: device)
    with pytest.raises(ModelUnsupported, match="model 'model' is encrypted, and an engine would keep its weights"):
        backend.load(bundle, Limits(cache_folder=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    assert load_model(bundle, Limits())[0] == "native"


def test_an_agents_other_files_are_decrypted_too(tmp_path: Path) -> None:
    files = {"m.onnx": b"w", "table.bin": b"what it knows"}
    bundle = installed(tmp_path, files, {"model": entry("null")}, devices=[device_of(tmp_path)])
    assert bundle.path("table.bin").read_bytes() != files["table.bin"]
    assert BundleAssets(bundle, Limits()).file("table.bin") == files["table.bin"]


def test_a_language_models_weights_are_in_memory_once(tmp_path: Path) -> None:
    import os

    from kernels.lm.model import LanguageModel

    before = set(os.listdir("/proc/self/fd"))
    model = LanguageModel.load_in_memory(synthetic_model().raw, "m.gguf")
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1, "the tokeniser's; that of the weights was let go"
    assert model.tokenizer.get_vocab_size() == 50
    del model
    assert set(os.listdir("/proc/self/fd")) == before
