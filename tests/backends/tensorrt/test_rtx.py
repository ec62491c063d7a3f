"""TensorRT for RTX as it is: it builds ahead of time without a GPU. Skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.chains import int8_chain
from runtime.backends.protocol import BackendMissing, Limits, ModelRefused, make_backend
from runtime.backends.tensorrt.engines import EngineSpec, build
from runtime.backends.tensorrt.library import load_library
from runtime.backends.tensorrt.precision import prepare
from runtime.store.bundle import open_source
from runtime.store.manifest import decode_manifest
from tests.backends.made import chain, installed
from tests.gpu import has_gpu

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: make test-gpu installs it")
BUNDLE = Path(__file__).parents[3] / "models" / "bundles" / "text_reader.ihb"


def built(data: bytes, precision: str, ranges: dict[str, tuple[int, int, int]]) -> bytes:
    spec = EngineSpec("00" * 32, precision, ranges, ("SM86", "SM89"))
    library = load_library("tensorrt_rtx")
    return build(library, prepare(data, precision, "it"), spec, b"", workspace_bytes=1 << 28, where="it")[0]


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_an_int8_model_is_built_for_other_devices(precision: str) -> None:
    plan = built(int8_chain(0), precision, {})
    least = 5_000_000 if precision == "int8" else 10_000_000  # its weights, a byte or two each
    assert least < len(plan) < least * 1.5


def test_the_committed_recogniser_is_built_with_open_dimensions() -> None:
    with open_source(BUNDLE) as source:
        manifest = decode_manifest(source.head()[0])
        files = {entry.path: b"".join(parts) for entry, parts in source.files(manifest)}
    ranges = {"p2o.DynamicDimension.0": (1, 1, 8), "?": (48, 48, 48), "p2o.DynamicDimension.1": (32, 320, 1600)}
    assert len(built(files["rec.onnx"], "int8", ranges)) > 1_000_000


def test_what_it_does_not_take_is_refused_with_its_own_words() -> None:
    with pytest.raises(ModelRefused, match="open dimension 'n'"):
        built(chain(2), "fp16", {})


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_without_a_gpu_a_load_says_so(tmp_path: Path) -> None:
    bundle = installed(tmp_path, {"m.onnx": int8_chain(0)}, {"model": {"file": "m.onnx", "backends": ["tensorrt_rtx"]}})
    with pytest.raises(BackendMissing, match=r"no CUDA driver here|knows 0 devices"):
        make_backend("tensorrt_rtx").load(bundle, Limits())
