"""The native backend besides the contract: a real gate word, a model that is another's, what it keeps on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from kernels.gate.word import GateReader, State, boottime_ns
from kernels.gate.writer import GateWriter
from runtime.backends.native import NativeBackend
from runtime.backends.protocol import Limits, ModelRefused, ModelUnsupported, StepResult, load_model
from tests.backends.made import chain, entry, installed

FEED = {"x": np.random.default_rng(3).standard_normal((7, 64), dtype=np.float32)}


def test_the_gate_word_itself_stops_it(tmp_path: Path) -> None:
    model = NativeBackend().load(installed(tmp_path, {"m.onnx": chain(8)}, {"model": entry("native")}), Limits())
    whole = model.start(FEED)
    assert whole.step(None) is StepResult.DONE
    with GateWriter(tmp_path / "gate") as writer:
        run = model.start(FEED)
        token = GateReader(tmp_path / "gate").token(writer.gate_epoch)
        assert run.step(token) is StepResult.PREEMPTED
        for _ in range(100):  # the lease is short, this machine may be busy: an opening that ran out is no answer
            now_ns = boottime_ns()
            writer.publish(State.OPEN, [], now_ns + 200_000_000)
            if run.step(GateReader(tmp_path / "gate").token(writer.gate_epoch)) is StepResult.DONE:
                break
        assert np.array_equal(run.outputs()["y"], whole.outputs()["y"])


def test_it_agrees_with_onnxruntime(tmp_path: Path) -> None:
    found = []
    for name in ("native", "onnxruntime"):
        bundle = installed(tmp_path, {"m.onnx": chain(8)}, {"model": entry(name)}, name=name)
        run = load_model(bundle, Limits())[1].start(FEED)
        run.step(None)
        found.append(run.outputs()["y"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_an_operator_that_it_does_not_know_is_the_next_backends(tmp_path: Path) -> None:
    node = helper.make_node("Sin", ["x"], ["y"])
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "y")]
    graph = helper.make_graph([node], "sine", [tensors[0]], [tensors[1]])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8).SerializeToString()
    model = entry("native") | {"backends": ["native", "onnxruntime"]}
    bundle = installed(tmp_path, {"m.onnx": data}, {"model": model})
    with pytest.raises(ModelUnsupported, match="Sin"):
        NativeBackend().load(bundle, Limits())
    assert load_model(bundle, Limits())[0] == "onnxruntime"


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    bundle = installed(tmp_path, {"m.onnx": b"\xff\x00garbage"}, {"model": entry("native")})
    with pytest.raises(ModelRefused, match="model 'model'"):
        NativeBackend().load(bundle, Limits())


def test_what_it_packed_is_kept_where_it_may_be(tmp_path: Path) -> None:
    bundle = installed(tmp_path, {"m.onnx": chain(4)}, {"model": entry("native")})
    outputs = []
    for _ in range(2):
        run = NativeBackend().load(bundle, Limits(cache_folder=tmp_path / "cache")).start(FEED)
        run.step(None)
        outputs.append(run.outputs()["y"])
        assert list((tmp_path / "cache").iterdir())
    assert np.array_equal(outputs[0], outputs[1])
