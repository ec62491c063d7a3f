"""Models that are cut short, altered or impossible: a clear error or a harmless model, never a crash."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kernels.graph.errors import FeedError, GraphError, MalformedModelError, UnsupportedModelError
from kernels.graph.model import GraphModel
from kernels.graph.onnx_reader import read_onnx
from tests.kernels.graph.qdq import Builder
from tests.kernels.graph.test_models import attention

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def images() -> bytes:
    b = Builder(12)
    x = b.q(b.input("x", [1, 3, 6, 8]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 3, 8, pads=[1, 1, 1, 1]), 0.3, 0)
    y = b.q(b.conv(y, 0.3, 8, 8, group=8, pads=[1, 1, 1, 1], strides=[2, 2]), 1.0, 128)
    y = b.op("Resize", y, "", b.const([1, 1, 2, 2], np.float32), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    b.output(b.op("Concat", y, b.op("MaxPool", x, kernel_shape=[1, 1]), axis=1))
    return b.model()


def tokens() -> bytes:
    b = Builder(13)
    b.output(attention(b, b.input("x", [1, 5, 16]), 16, 2), rank=3)
    return b.model()


MODELS = (images(), tokens())


def survive(data: bytes) -> None:
    """Loads and runs `data`; nothing but a GraphError may come out."""
    try:
        graph = GraphModel.load(data)
        shapes = {spec.name: tuple(d or 1 for d in spec.shape) for spec in graph.inputs}
        if sum(int(np.prod(s)) for s in shapes.values()) > 1 << 22:
            return
        dtypes = {spec.name: spec.dtype for spec in graph.inputs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN and overflow in altered constants are not our subject
            graph.start({name: np.ones(s, dtypes[name]) for name, s in shapes.items()}).step()
    except GraphError:
        return


@SETTINGS
@given(st.sampled_from(MODELS), st.data())
def test_cut_anywhere(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        survive(data[:at])


@SETTINGS
@given(st.sampled_from(MODELS), st.data())
def test_bits_flipped_anywhere(data: bytes, draw: st.DataObject) -> None:
    altered = bytearray(data)
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
        altered[at] ^= 1 << draw.draw(st.integers(0, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        survive(bytes(altered))


@SETTINGS
@given(st.sampled_from(MODELS), st.data())
def test_attributes_and_constants_replaced(data: bytes, draw: st.DataObject) -> None:
    """Well-formed protobuf that says something else: any integer in any attribute, any small constant."""
    model = onnx.load_from_string(data)
    numbers = st.one_of(st.integers(-3, 9), st.sampled_from([0, -1, 2**31 - 1, 2**31, 2**62, -(2**63), 1 << 20]))
    node = draw.draw(st.sampled_from([n for n in model.graph.node if n.attribute]))
    attribute = draw.draw(st.sampled_from(list(node.attribute)))
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = draw.draw(numbers)
    elif attribute.type == onnx.AttributeProto.INTS:
        values = draw.draw(st.lists(numbers, max_size=6))
        del attribute.ints[:]
        attribute.ints.extend(values)
    shapes = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    if shapes and draw.draw(st.booleans()):
        chosen = draw.draw(st.sampled_from(shapes))
        values = draw.draw(st.lists(numbers, min_size=1, max_size=6))
        chosen.CopyFrom(numpy_helper.from_array(np.array(values, np.int64), chosen.name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        survive(model.SerializeToString())


@SETTINGS
@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    with pytest.raises(GraphError):
        read_onnx(data)


def graph_of(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto] | None = None, shape: tuple[int, ...] = (1, 4)
) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, None)], initializers or []
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def test_a_cycle_is_named() -> None:
    data = graph_of([helper.make_node("Add", ["x", "b"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"]),
                     helper.make_node("Relu", ["b"], ["y"])])  # fmt: skip
    with pytest.raises(MalformedModelError, match=r"'first' .*'b'.*cyclic"):
        GraphModel.load(data)


def test_an_unknown_op_names_op_node_and_model() -> None:
    data = graph_of([helper.make_node("Det", ["x"], ["y"], name="odd_one")])
    with pytest.raises(UnsupportedModelError, match=r"model 'm\.onnx'.*'odd_one'.*Det"):
        GraphModel.load(data, name="m.onnx")


def test_a_size_that_overflows_is_refused() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 31, 1 << 31, 1 << 31], raw_data=b"1234")
    with pytest.raises(MalformedModelError, match="'w'"):
        GraphModel.load(graph_of([helper.make_node("Add", ["x", "w"], ["y"])], [tensor]))


def test_raw_data_shorter_than_its_shape_is_refused() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], raw_data=b"1234")
    with pytest.raises(MalformedModelError, match=r"needs 64 bytes, got 4"):
        GraphModel.load(graph_of([helper.make_node("Add", ["x", "w"], ["y"])], [tensor]))


def test_a_deep_chain_does_not_exhaust_the_stack() -> None:
    names = ["x", *(f"t{i}" for i in range(4000)), "y"]
    data = graph_of([helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)])
    survive(data)


def test_wrong_feeds_are_named() -> None:
    graph = GraphModel.load(MODELS[0])
    good = np.zeros((1, 3, 6, 8), np.float32)
    for feeds, words in (
        ({}, "'x' is missing"),
        ({"x": good.astype(np.float64)}, "float64, expected float32"),
        ({"x": good[:, :2]}, r"shape \[1, 2, 6, 8\], expected \[1, 3, 6, 8\]"),
        ({"x": good, "z": good}, "no input 'z'"),
    ):
        with pytest.raises(FeedError, match=words):
            graph.start(feeds)
