"""Small quantised models on every variant that this CPU has, against onnxruntime's integer result.

Products, tables and what is fused into them must be equal to the last bit of the quantised result. Where onnxruntime
itself leaves the definition (its QLinearAdd and QLinearMul work in fixed point), one step of the output's scale is
allowed, and few of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.graph import _graph
from kernels.graph.model import GraphModel, StepResult, supported_variants
from tests.kernels.graph.qdq import Array, Builder, reference

VARIANTS = supported_variants()


def outputs(model: bytes, feeds: dict[str, Array], variant: str) -> list[Array]:
    run = GraphModel.load(model, variant=variant).start(feeds)
    assert run.step() is StepResult.DONE
    return list(run.outputs().values())


def feed(shape: tuple[int, ...], seed: int = 3) -> Array:
    return np.random.default_rng(seed).uniform(-5, 6, shape).astype(np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("c", "n", "kernel", "attributes", "size"),
    [
        (3, 16, (3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, (17, 23)),
        (16, 24, (3, 3), {"pads": [1, 1, 1, 1]}, (9, 30)),
        (96, 24, (3, 3), {"pads": [1, 1, 1, 1]}, (5, 13)),
        (18, 40, (1, 1), {}, (6, 7)),
        (48, 56, (1, 1), {}, (3, 25)),
        (12, 72, (5, 3), {"pads": [2, 1, 2, 1], "strides": [1, 2]}, (8, 11)),
        (8, 9, (3, 3), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, (9, 9)),
        (20, 1, (1, 1), {}, (4, 4)),
        (32, 33, (1, 3), {"pads": [0, 1, 0, 1]}, (1, 40)),
        (24, 24, (3, 3), {"pads": [1, 0, 0, 1], "group": 4}, (7, 9)),
        # tiles: inputs that lie in place and a rest that does not, sixteen gathered at once, too many to gather
        (1024, 40, (1, 1), {}, (3, 9)),
        (256, 17, (3, 3), {"pads": [1, 1, 1, 1]}, (2, 30)),
        (480, 8, (3, 3), {"pads": [1, 1, 1, 1]}, (2, 20)),
    ],
)
def test_conv(
    variant: str, c: int, n: int, kernel: tuple[int, int], attributes: dict[str, Any], size: tuple[int, int]
) -> None:
    b = Builder(c + n)
    x = b.q(b.input("x", [1, c, *size]), 0.05, 100)
    b.output(b.q(b.op("Relu", b.conv(x, 0.05, c, n, kernel, **attributes)), 0.4, 0))
    b.output(b.q(b.conv(x, 0.05, c, n, kernel, **attributes), 0.7, 131))
    model, feeds = b.model(), {"x": feed((1, c, *size))}
    for ours, theirs in zip(outputs(model, feeds, variant), reference(model, feeds), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("c", [8, 16, 24, 32, 40, 48, 64, 88, 96, 100, 160])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [
        ((3, 3), (1, 1), (8, 15)),
        ((3, 3), (2, 1), (9, 8)),
        ((5, 5), (1, 1), (7, 11)),
        ((5, 5), (2, 2), (11, 9)),
        ((5, 5), (2, 1), (13, 9)),
        ((7, 7), (2, 1), (9, 9)),
    ],
)
def test_depthwise(
    variant: str, c: int, kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]
) -> None:
    b = Builder(c)
    pad = kernel[0] // 2
    x = b.q(b.input("x", [1, c, *size]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, c, c, kernel, group=c, pads=[pad] * 4, strides=list(stride)), 0.3, 120)
    b.output(b.q(b.op("HardSwish", y), 0.2, 5))
    model, feeds = b.model(), {"x": feed((1, c, *size))}
    np.testing.assert_array_equal(outputs(model, feeds, variant)[0], reference(model, feeds)[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_chain_of_activations_is_one_table(variant: str) -> None:
    """Conv, a learned scale and shift, hard swish, again scale and shift: as in PP-OCR's backbone."""
    b = Builder(1)
    x = b.q(b.input("x", [1, 8, 6, 10]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 8, 32), 0.3, 120)
    y = b.op("Add", b.op("Mul", b.const([1.3], np.float32), y), b.const([0.2], np.float32))
    z = b.op("Clip", b.op("Add", y, b.const([3.0], np.float32)), b.const(0.0, np.float32), b.const(6.0, np.float32))
    z = b.op("Div", b.op("Mul", y, z), b.const([6.0], np.float32))
    z = b.q(z, 0.2, 3)
    b.output(b.q(b.conv(z, 0.2, 32, 16, (1, 1)), 0.9, 128))
    model, feeds = b.model(), {"x": feed((1, 8, 6, 10))}
    np.testing.assert_array_equal(outputs(model, feeds, variant)[0], reference(model, feeds)[0])
    plan = GraphModel.load(model, variant=variant).prepare({"x": (1, 8, 6, 10)})
    assert plan.labels.count("ewise") == 2  # the input's quantisation and the output's dequantisation, nothing between


@pytest.mark.parametrize("variant", VARIANTS)
def test_squeeze_excite_residual_and_feature_pyramid(variant: str) -> None:
    b = Builder(2)
    x = b.q(b.input("x", [1, 16, 8, 12]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 16, 24, pads=[1, 1, 1, 1]), 0.3, 120)
    s = b.q(b.op("GlobalAveragePool", y), 0.1, 90)
    s = b.op("HardSigmoid", b.q(b.conv(s, 0.1, 24, 24, (1, 1)), 0.2, 128), alpha=0.2, beta=0.5)
    y = b.op("Add", y, b.op("Mul", y, s))
    small = b.q(b.conv(x, 0.05, 16, 24, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]), 0.4, 110)
    up = b.op("Resize", small, "", b.const([1, 1, 2, 2], np.float32), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    total = b.q(b.op("Add", y, up), 0.5, 128)
    joined = b.q(b.op("Concat", total, up, axis=1), 0.6, 130)
    b.output(b.q(b.conv(joined, 0.6, 48, 8, pads=[1, 1, 1, 1]), 4.0, 128))
    model, feeds = b.model(), {"x": feed((1, 16, 8, 12))}
    ours, theirs = outputs(model, feeds, variant)[0], reference(model, feeds)[0]
    steps = np.abs(ours - theirs) / 4.0
    assert steps.max() <= 1.001
    assert (steps > 0.5).mean() < 0.01


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize(("channels", "width"), [(1, 40), (2, 7), (3, 300), (4, 257), (5, 9)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_planes_become_pixels(variant: str, channels: int, width: int, pads: int) -> None:
    b = Builder(6)
    x = b.q(b.input("x", [2, channels, 6, width]), 0.03, 117)
    b.output(b.q(b.conv(x, 0.03, channels, 8, pads=[pads] * 4), 0.4, 128))
    model, feeds = b.model(), {"x": feed((2, channels, 6, width))}
    np.testing.assert_array_equal(outputs(model, feeds, variant)[0], reference(model, feeds)[0])
    kinds = GraphModel.load(model, variant=variant).prepare({"x": (2, channels, 6, width)}).labels
    assert ("planes" in kinds) == (2 <= channels <= 4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_transposed_convolution_and_sigmoid(variant: str) -> None:
    b = Builder(4)
    x = b.q(b.input("x", [1, 24, 5, 7]), 0.05, 100)
    values = b.rng.integers(-127, 128, (24, 6, 2, 2)).astype(np.int8)
    w = b.op("DequantizeLinear", b.const(values), b.const(0.01, np.float32), b.const(0, np.int8))
    y = b.q(b.op("ConvTranspose", x, w, kernel_shape=[2, 2], strides=[2, 2]), 0.1, 128)
    y = b.op("Add", y, b.const(b.rng.uniform(-1, 1, (1, 6, 1, 1)), np.float32))
    b.output(b.op("Sigmoid", y))
    model, feeds = b.model(), {"x": feed((1, 24, 5, 7))}
    # onnxruntime sums the transposed convolution in float: a tie may fall on the other side, one step of 0.1
    ours, theirs = outputs(model, feeds, variant)[0], reference(model, feeds)[0]
    assert (np.abs(ours - theirs) > 1e-6).mean() < 0.01
    assert np.abs(ours - theirs).max() < 0.03


@pytest.mark.parametrize("variant", VARIANTS)
def test_transposed_convolution_that_was_left_in_float(variant: str) -> None:
    b = Builder(4)
    x = b.q(b.input("x", [1, 24, 5, 7]), 0.05, 100)
    w = b.const(b.rng.uniform(-1, 1, (24, 6, 2, 2)), np.float32)
    bias = b.const(b.rng.uniform(-1, 1, 6), np.float32)
    b.output(b.op("ConvTranspose", b.op("Relu", x), w, bias, kernel_shape=[2, 2], strides=[2, 2]))
    model, feeds = b.model(), {"x": feed((1, 24, 5, 7))}
    np.testing.assert_allclose(outputs(model, feeds, variant)[0], reference(model, feeds)[0], rtol=1e-4, atol=1e-4)


def attention(b: Builder, x: str, d: int, heads: int) -> str:
    def projection(name: str) -> str:
        w, _ = b.weights((d, d), axis=1)
        y = b.op("Add", b.op("MatMul", q, w), b.const(b.rng.uniform(-1, 1, d), np.float32))
        y = b.op("Reshape", y, b.const([0, 0, heads, d // heads], np.int64))
        return b.q(b.op("Transpose", y, perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]), 0.05, 128)

    w, b0 = b.const(b.rng.uniform(0.5, 1.5, d), np.float32), b.const(b.rng.uniform(-1, 1, d), np.float32)
    q = b.q(b.op("LayerNormalization", x, w, b0, axis=-1), 0.04, 120)
    scores = b.op("Mul", b.q(b.op("MatMul", projection("q"), projection("k")), 0.5, 128), b.const(0.1, np.float32))
    mixed = b.q(b.op("MatMul", b.q(b.op("Softmax", scores, axis=-1), 1 / 255, 0), projection("v")), 0.04, 128)
    y = b.op("Reshape", b.op("Transpose", mixed, perm=[0, 2, 1, 3]), b.const([0, 0, d], np.int64))
    out, _ = b.weights((d, d), axis=1)
    return b.op("Add", x, b.op("MatMul", b.q(y, 0.04, 128), out))


def gelu(b: Builder, x: str) -> str:
    inner = b.op("Add", b.op("Erf", b.op("Mul", x, b.const(0.70710678, np.float32))), b.const(1, np.float32))
    return b.op("Mul", b.op("Mul", x, inner), b.const(0.5, np.float32))


@pytest.mark.parametrize("variant", VARIANTS)
def test_vision_transformer_block(variant: str) -> None:
    b = Builder(5)
    y = attention(b, b.input("x", [2, 37, 48]), 48, 3)
    w, _ = b.weights((48, 96), axis=1)
    h = gelu(b, b.op("MatMul", b.q(y, 0.1, 128), w))
    b.output(h, rank=3)
    b.output(b.op("ReduceMean", h, axes=[1], keepdims=0), rank=2)
    model, feeds = b.model(), {"x": feed((2, 37, 48))}
    ours, theirs = outputs(model, feeds, variant), reference(model, feeds)
    for a, r in zip(
        ours, theirs, strict=True
    ):  # float parts differ in the last bits, and then a quantised value by one step
        assert np.abs(a - r).max() < 0.02 * np.abs(r).max()
        assert np.abs(a - r).mean() < 2e-4 * np.abs(r).max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_pools_gemm_and_softmax(variant: str) -> None:
    b = Builder(6)
    x = b.q(b.input("x", [3, 8, 9, 12]), 0.05, 100)
    y = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = b.q(b.op("AveragePool", y, kernel_shape=[2, 2], strides=[1, 2]), 0.05, 100)
    flat = b.op("Flatten", y, axis=1)
    w, scale = b.weights((10, 8 * 4 * 3))
    bias = b.const(b.rng.integers(-900, 900, 10), np.int32)
    shift = b.op("DequantizeLinear", bias, b.const(scale * np.float32(0.05)), b.const(np.zeros(10, np.int32)), axis=0)
    b.output(b.op("Softmax", b.q(b.op("Gemm", flat, w, shift, transB=1), 0.2, 128), axis=1), rank=2)
    model, feeds = b.model(), {"x": feed((3, 8, 9, 12))}
    np.testing.assert_allclose(outputs(model, feeds, variant)[0], reference(model, feeds)[0], atol=2e-6)


def test_signed_activations_are_the_same_model() -> None:
    feeds = {"x": feed((1, 8, 6, 6))}
    found = []
    for activation in (np.uint8, np.int8):
        b = Builder(7, activation)
        x = b.q(b.input("x", [1, 8, 6, 6]), 0.05, 100)
        b.output(b.q(b.conv(x, 0.05, 8, 16, pads=[1, 1, 1, 1]), 0.3, 120))
        model = b.model()
        found.append(outputs(model, feeds, VARIANTS[0])[0])
        np.testing.assert_array_equal(found[-1], reference(model, feeds)[0])
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_float_model_without_any_quantisation(variant: str) -> None:
    b = Builder(8)
    x = b.input("x", [2, 3, 9, 7])
    w = b.const(b.rng.standard_normal((5, 3, 3, 3)), np.float32)
    y = b.op(
        "Conv",
        x,
        w,
        b.const(b.rng.standard_normal(5), np.float32),
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        strides=[2, 1],
    )
    y = b.op("Tanh", y)
    y = b.op("Transpose", b.op("Reshape", y, b.const([0, 5, -1], np.int64)), perm=[0, 2, 1])
    b.output(b.op("MatMul", y, b.const(b.rng.standard_normal((5, 4)), np.float32)), rank=3)
    model, feeds = b.model(), {"x": feed((2, 3, 9, 7))}
    np.testing.assert_allclose(outputs(model, feeds, variant)[0], reference(model, feeds)[0], atol=1e-5)


def test_variants_agree_to_the_last_bit() -> None:
    """Float parts too: all variants compute the same operations in the same order."""
    b = Builder(9)
    y = attention(b, b.input("x", [1, 29, 64]), 64, 4)
    b.output(gelu(b, y), rank=3)
    model, feeds = b.model(), {"x": feed((1, 29, 64))}
    wanted = outputs(model, feeds, "scalar")[0]
    for variant in VARIANTS:
        np.testing.assert_array_equal(outputs(model, feeds, variant)[0], wanted)


def test_any_width_with_the_same_weights() -> None:
    b = Builder(10)
    x = b.q(b.input("x", ["n", 3, 8, "w"]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 3, 16, pads=[1, 1, 1, 1], strides=[2, 2]), 0.3, 0)
    shape = b.op("Slice", b.op("Shape", y), b.const([0], np.int64), b.const([2], np.int64), b.const([0], np.int64))
    y = b.op("Reshape", y, b.op("Concat", shape, b.const([-1], np.int64), axis=0))
    b.output(b.op("Transpose", y, perm=[0, 2, 1]), rank=3)
    model = b.model()
    graph = GraphModel.load(model)
    packed = 0
    for n, width in ((1, 10), (2, 10), (1, 33)):
        feeds = {"x": feed((n, 3, 8, width))}
        run = graph.start(feeds)
        assert run.step() is StepResult.DONE
        (ours,) = run.outputs().values()
        np.testing.assert_array_equal(ours, reference(model, feeds)[0])
        packed = packed or len(graph.weights_memory)
        assert len(graph.weights_memory) == packed


def pictures() -> tuple[bytes, dict[str, Array]]:
    """Returns a model of any number of small pictures, and eight of them."""
    b = Builder(14)
    x = b.q(b.input("x", ["n", 3, 8, 12]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 3, 16, pads=[1, 1, 1, 1], strides=[2, 2]), 0.3, 0)
    b.output(b.op("Softmax", b.op("Flatten", y, axis=1), axis=1), rank=2)
    return b.model(), {"x": feed((8, 3, 8, 12))}


@pytest.mark.parametrize(("images_in_cache", "parts"), [(0, 8), (1, 8), (3, 4), (7, 2), (8, 1)])
def test_a_batch_in_parts_is_the_same(images_in_cache: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In as few equal parts as fit the cache, one picture at least; each picture is what it is alone."""
    model, feeds = pictures()
    graph = GraphModel.load(model, independent_batch=True)
    one = graph.prepare({"x": (1, 3, 8, 12)})
    monkeypatch.setattr("kernels.graph.model.CACHE_BYTES", images_in_cache * one.arena_bytes)
    run = graph.start(feeds)
    assert run.step() is StepResult.DONE
    assert run.position == (run.position[2], 0, parts * len(one.labels))
    (found,) = run.outputs().values()
    np.testing.assert_array_equal(found, outputs(model, feeds, VARIANTS[0])[0])
    for i in range(8):
        np.testing.assert_array_equal(found[i : i + 1], outputs(model, {"x": feeds["x"][i : i + 1]}, VARIANTS[0])[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n", [8, 16, 24, 33, 48, 66, 100])
@pytest.mark.parametrize("k", [24, 64, 72, 128, 200])
def test_product_of_any_number_of_rows(variant: str, n: int, k: int) -> None:
    """Tiles of 16 and 32 rows and channels, whole, cut and overlapping; inputs of whole tiles and with a rest."""
    b = Builder(n + k)
    x = b.q(b.input("x", ["m", k]), 0.05, 100)
    w, _ = b.weights((k, n), axis=1)
    y = b.op("MatMul", x, w)
    b.output(b.q(y, 2.0, 131), rank=2)
    b.output(b.op("Softmax", b.q(b.op("MatMul", x, b.weights((k, n), axis=1)[0]), 0.5, 120)), rank=2)
    model = b.model()
    graph, plain = (GraphModel.load(model, variant=which) for which in (variant, VARIANTS[-1]))
    for m in (1, 15, 16, 17, 31, 32, 40, 47, 48, 300):
        feeds = {"x": feed((m, k), m)}
        for ours, wanted in zip(run_of(graph, feeds), run_of(plain, feeds), strict=True):
            np.testing.assert_array_equal(ours, wanted, f"{m} rows")


def run_of(graph: GraphModel, feeds: dict[str, Array]) -> list[Array]:
    run = graph.start(feeds)
    assert run.step() is StepResult.DONE
    return list(run.outputs().values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_activations_before_a_product_of_two_tensors_are_looked_up(variant: str) -> None:
    """Scale, shift and hard swish of one tensor, times a number a channel: a table, then one instruction."""
    b = Builder(5)
    x = b.q(b.input("x", [1, 8, 6, 10]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 8, 32, (1, 1)), 0.3, 120)
    s = b.op("Sigmoid", b.q(b.conv(b.q(b.op("GlobalAveragePool", y), 0.1, 90), 0.1, 32, 32, (1, 1)), 0.2, 128))
    y = b.op("HardSwish", b.op("Add", b.op("Mul", y, b.const([1.3], np.float32)), b.const([0.2], np.float32)))
    b.output(b.q(b.op("Mul", y, s), 0.2, 9))
    model, feeds = b.model(), {"x": feed((1, 8, 6, 10))}
    np.testing.assert_array_equal(outputs(model, feeds, variant)[0], reference(model, feeds)[0])
    plan = GraphModel.load(model, variant=variant).prepare({"x": (1, 8, 6, 10)})
    most = max(instructions_of(plan.ops))
    assert most <= 2, "HardSwish alone is five instructions"


def instructions_of(ops: bytes) -> list[int]:
    """Returns how many instructions each element-wise op of a plan has."""
    rows = np.frombuffer(ops, np.int64).reshape(-1, 1 + _graph.PARAMS)
    at = 1 + _graph.PARAM_NAMES["ewise"].index("instructions")
    return [int(row[at]) for row in rows if _graph.KINDS[row[0]] == "ewise"]


def test_a_result_that_nothing_else_reads_is_written_to_the_caller() -> None:
    model, feeds = pictures()
    graph = GraphModel.load(model)
    assert graph.prepare({"x": feeds["x"].shape}).labels[-1] == "rows", "a softmax, and no copy after it"
