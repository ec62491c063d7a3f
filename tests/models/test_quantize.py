"""Quantisation: the form of what comes out, what the report says, and that bad input changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.onnx_session import session_of
from models.quantize import OPSET, Feeds, QuantisationFailed, quantize


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A float net of opset 12: a convolution, one whose output channels differ a thousandfold, a matrix product."""
    random = np.random.default_rng(3)
    wild = random.normal(size=(8, 8, 3, 3)).astype(np.float32)
    wild *= np.geomspace(0.001, 1, 8, dtype=np.float32)[:, None, None, None]
    weights = {
        "w1": random.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "w2": wild,
        "w3": random.normal(size=(8, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="wild", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flatten"),
        helper.make_node("MatMul", ["e", "w3"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    onnx.checker.check_model(model)
    path = tmp_path / "float.onnx"
    onnx.save(model, path)
    return path


def feeds(count: int) -> list[Feeds]:
    random = np.random.default_rng(5)
    return [{"x": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def test_weights_are_s8_per_channel_and_activations_u8(net: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    report = quantize(net, target, feeds(8))
    model = onnx.load(target)
    assert model.opset_import[0].version == OPSET
    tensors = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    weights = [value for value in tensors.values() if value.dtype == np.int8 and value.ndim >= 2]
    assert len(weights) == 3
    scales = [node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert sorted(tensors[name].size for name in scales if tensors[name].size > 1) == [5, 8, 8]
    zeros = [node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {tensors[name].dtype for name in zeros} == {np.dtype(np.uint8)}
    assert report.quantised == 3
    assert report.snr_db > 25
    assert report.int8_bytes == target.stat().st_size


def test_the_report_ranks_every_layer(net: Path, tmp_path: Path) -> None:
    report = quantize(net, tmp_path / "int8.onnx", feeds(8))
    noises = [layer.snr_db for layer in report.most_sensitive]
    assert {layer.name for layer in report.most_sensitive} == {"first", "wild", "head"}
    assert noises == sorted(noises)
    assert min(noises) >= report.snr_db - 3  # errors of layers may cancel a little


def test_layers_stay_float_until_the_score_is_kept(net: Path, tmp_path: Path) -> None:
    given = feeds(4)
    expected = [_run(session_of(net), feed) for feed in given]

    def score(session: onnxruntime.InferenceSession) -> float:
        return -max(float(np.abs(_run(session, feed) - one).max()) for feed, one in zip(given, expected, strict=True))

    report = quantize(net, tmp_path / "int8.onnx", given, score=score, most_lost=1e-4)
    assert report.kept_float
    assert report.kept_float[0] == report.most_sensitive[0].name
    assert report.score_float is not None
    assert report.score_int8 is not None


def test_a_named_layer_stays_float(net: Path, tmp_path: Path) -> None:
    report = quantize(net, tmp_path / "int8.onnx", feeds(2), keep_float=["wild"])
    assert report.kept_float == ("wild",)
    assert report.quantised == 2


def test_float_results_are_not_rounded_again(net: Path, tmp_path: Path) -> None:
    rounded = quantize(net, tmp_path / "rounded.onnx", feeds(8))
    exact = quantize(net, tmp_path / "exact.onnx", feeds(8), float_results=["MatMul"])
    (head,) = (node for node in onnx.load(tmp_path / "exact.onnx").graph.node if node.name == "head")
    assert head.output[0] == "y"
    assert exact.quantised == rounded.quantised
    alone = [{layer.name: layer.snr_db for layer in report.most_sensitive} for report in (exact, rounded)]
    assert alone[0]["head"] > alone[1]["head"]


def test_shapes_can_be_fixed(net: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    quantize(net, target, feeds(2), shapes={"x": (1, 3, 16, 16)})
    session = session_of(target)
    assert session.get_inputs()[0].shape == [1, 3, 16, 16]


@pytest.mark.parametrize("wrong", ["empty", "garbage", "absent", "feeds"])
def test_bad_input_is_refused_and_the_target_left_alone(net: Path, tmp_path: Path, wrong: str) -> None:
    target = tmp_path / "int8.onnx"
    target.write_bytes(b"what was there")
    source, given = net, feeds(2)
    if wrong == "empty":
        given = []
    elif wrong == "garbage":
        source = tmp_path / "garbage.onnx"
        source.write_bytes(b"\x00" * 100 + b"no model")
    elif wrong == "absent":
        source = tmp_path / "absent.onnx"
    else:
        given = [{"x": np.zeros((1, 4, 16, 16), np.float32)}]
    with pytest.raises(QuantisationFailed):
        quantize(source, target, given)
    assert target.read_bytes() == b"what was there"


def _run(session: onnxruntime.InferenceSession, feed: Feeds) -> np.ndarray:
    return np.asarray(session.run(None, feed)[0])
