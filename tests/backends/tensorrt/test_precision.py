"""Int8 models made for TensorRT still read: the committed recogniser, as it is and in each precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from models.text_reader.strings import samples
from runtime.agent.geometry import Box
from runtime.agent.recognition import decode, read_alphabet, recogniser_image
from runtime.backends.protocol import ModelRefused
from runtime.backends.tensorrt.precision import PRECISIONS, prepare
from runtime.store.bundle import open_source
from runtime.store.manifest import decode_manifest
from tests.backends.made import chain

BUNDLE = Path(__file__).parents[3] / "models" / "bundles" / "text_reader.ihb"
STRINGS, SEED = 40, 12345


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with open_source(BUNDLE) as source:
        manifest = decode_manifest(source.head()[0])
        return {entry.path: b"".join(parts) for entry, parts in source.files(manifest)}


def read_right(model: bytes, alphabet: list[str]) -> int:
    """Returns how many rendered strings are read as they are."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, right = session.get_inputs()[0].name, 0
    for one in samples(STRINGS, SEED):
        image = recogniser_image(one.pixels, Box(*one.box))[0][None]
        said = decode(session.run(None, {name: image})[0][0], alphabet).text
        right += said.replace(" ", "") == one.text.replace(" ", "")
    return right


def test_it_reads_in_every_precision(files: dict[str, bytes]) -> None:
    alphabet = read_alphabet(files["alphabet.txt"])
    as_it_is = read_right(files["rec.onnx"], alphabet)
    assert as_it_is > STRINGS * 0.8
    for precision in PRECISIONS:
        assert read_right(prepare(files["rec.onnx"], precision, "rec"), alphabet) >= as_it_is * 0.9, precision


def test_int8_has_what_tensorrt_knows_and_the_others_no_quantised_tensor(files: dict[str, bytes]) -> None:
    for name in ("rec.onnx", "det.onnx"):
        for precision in PRECISIONS:
            graph = onnx.load_from_string(prepare(files[name], precision, name)).graph
            values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
            pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
            assert bool(pairs) == (precision == "int8")
            for node in pairs:
                zero = values[node.input[2]]
                assert zero.dtype == np.int8
                assert not zero.any()
                assert node.input[0] not in values or values[node.input[0]].dtype == np.int8
            if precision == "fp16":
                assert any(value.dtype == np.float16 for value in values.values())


def test_a_model_without_quantisation_stays_what_it_is() -> None:
    plain = onnx.load_from_string(prepare(chain(3), "int8", "chain")).graph
    assert [node.op_type for node in plain.node] == ["MatMul", "Relu"] * 3


@pytest.mark.parametrize("data", [b"", b"nonsense", chain(2)[:500]])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused, match="not an ONNX model"):
        prepare(data, "int8", "bundle 'x'")
