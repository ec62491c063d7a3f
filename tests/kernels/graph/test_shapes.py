"""Convolutions and pools over shapes that nobody chose: odd sizes, uneven borders, strides, dilations and groups, on
every variant that this CPU has, against onnxruntime.

Working memory starts full of 0xff (NaN as floats, 255 as bytes) instead of zeros, as it is when another op lived there
before: what a kernel reads without its having been written shows. Float sums are compared within SUM_TOLERANCE of the
sum of magnitudes (onnxruntime adds in another order); all integer results but averages are equal, step for step.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kernels.graph import model as graph_model
from kernels.graph.errors import UnsupportedModelError
from kernels.graph.model import GraphModel, StepResult, supported_variants
from tests.kernels.graph.qdq import Array, Builder, reference

VARIANTS = supported_variants()
SUM_TOLERANCE = 2e-6
CHANNELS = st.one_of(st.integers(1, 40), st.sampled_from([47, 48, 63, 64, 65, 96, 100, 128, 130]))
SWEEP = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def used_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hands out memory that is not zero."""
    fresh = graph_model.huge_memory

    def used(size: int) -> mmap.mmap:
        memory = fresh(size)
        memory[:] = b"\xff" * len(memory)
        return memory

    monkeypatch.setattr(graph_model, "huge_memory", used)


@dataclass(frozen=True)
class Shape:
    """A windowed op: `batch` images of `c` channels and `size` to `n` channels."""

    batch: int
    c: int
    n: int
    group: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    seed: int

    @property
    def input(self) -> tuple[int, int, int, int]:
        return (self.batch, self.c, *self.size)

    @property
    def attributes(self) -> dict[str, Any]:
        return {"strides": list(self.strides), "dilations": list(self.dilations), "pads": list(self.pads)}

    def feed(self) -> dict[str, Array]:
        return {"x": np.random.default_rng(self.seed).uniform(-5, 6, self.input).astype(np.float32)}


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def shapes(draw: st.DrawFn, depthwise: bool = False) -> Shape:
    kernel, dilations = draw(pairs(1, 5)), draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3), (2, 2)]))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(draw(st.integers(0, max(1, span - 1))) for span in (*spans, *spans))
    least = [max(1, span - pads[i] - pads[i + 2]) for i, span in enumerate(spans)]
    size = draw(st.integers(least[0], least[0] + 9)), draw(st.integers(least[1], least[1] + 40))
    group = 1 if depthwise else draw(st.sampled_from([1, 1, 1, 2, 3]))
    c = draw(CHANNELS)
    c, n = (c, c) if depthwise else (-(-c // group) * group, -(-draw(CHANNELS) // group) * group)
    return Shape(draw(st.sampled_from([1, 1, 2])), c, n, c if depthwise else group, size, kernel, draw(pairs(1, 3)),
                 dilations, (pads[0], pads[1], pads[2], pads[3]), draw(st.integers(0, 1000)))  # fmt: skip


def outputs(model: bytes, feeds: dict[str, Array], variant: str) -> list[Array]:
    run = GraphModel.load(model, variant=variant).start(feeds)
    assert run.step() is StepResult.DONE
    return list(run.outputs().values())


def float_conv(b: Builder, x: str, s: Shape, c: int) -> str:
    weights = b.rng.uniform(-1, 1, (s.n, c // s.group, *s.kernel))
    bias = b.const(b.rng.uniform(-1, 1, s.n), np.float32)
    return b.op(
        "Conv", x, b.const(weights, np.float32), bias, kernel_shape=list(s.kernel), group=s.group, **s.attributes
    )


def check_float(model: bytes, feeds: dict[str, Array], taps: int) -> None:
    theirs = reference(model, feeds)
    for variant in VARIANTS:
        for mine, yours in zip(outputs(model, feeds, variant), theirs, strict=True):
            np.testing.assert_allclose(mine, yours, rtol=0, atol=6 * (taps + 1) * SUM_TOLERANCE, err_msg=variant)


def check_equal(model: bytes, feeds: dict[str, Array]) -> None:
    theirs = reference(model, feeds)
    for variant in VARIANTS:
        for mine, yours in zip(outputs(model, feeds, variant), theirs, strict=True):
            np.testing.assert_array_equal(mine, yours, err_msg=variant)


def taps_of(s: Shape) -> int:
    return s.c // s.group * s.kernel[0] * s.kernel[1]


@SWEEP
@given(shapes())
def test_float_convolution(s: Shape) -> None:
    b = Builder(s.seed)
    b.output(float_conv(b, b.input("x", list(s.input)), s, s.c))
    check_float(b.model(), s.feed(), taps_of(s))


@SWEEP
@given(shapes(depthwise=True))
def test_float_depthwise_convolution(s: Shape) -> None:
    b = Builder(s.seed)
    b.output(float_conv(b, b.input("x", list(s.input)), s, s.c))
    check_float(b.model(), s.feed(), taps_of(s))


@pytest.mark.parametrize("c", [1, 3, 32, 33])
@pytest.mark.parametrize("width", [1, 7, 31, 65])
def test_float_convolution_after_another(c: int, width: int) -> None:
    """The second one's border lies where something else was before."""
    s = Shape(1, c, c, 1, (9, width), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), c)
    b = Builder(c)
    first = b.op("Relu", float_conv(b, b.input("x", list(s.input)), s, c))
    b.output(float_conv(b, b.op("Mul", first, b.const([0.02], np.float32)), s, c))
    check_float(b.model(), s.feed(), 9 * c)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("size", [(1, 1), (2, 16), (3, 17), (5, 31)])
def test_few_planes_of_planes(n: int, size: tuple[int, int]) -> None:
    """A float convolution that looks at one pixel only reads planes where they lie; the other one turns them."""
    one = Shape(2, 19, n, 1, size, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), n)
    other = replace(one, kernel=(3, 3), pads=(1, 1, 1, 1))
    b = Builder(n)
    x = b.input("x", list(one.input))
    made = [float_conv(b, x, s, s.c) for s in (one, other)]
    b.output(b.op("Add", *made))
    check_float(b.model(), one.feed(), taps_of(other) + one.c)


@SWEEP
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.one_of(st.integers(1, 70), st.sampled_from([256, 257, 300])),
    st.integers(1, 70),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(0, 99),
)
def test_float_product(heads: int, m: int, k: int, n: int, turned: tuple[bool, bool], seed: int) -> None:
    """Of two operands that both move, each as it lies or turned, as attention makes them."""
    b, rng = Builder(seed), np.random.default_rng(seed)
    operands, feeds = [], {}
    for name, (rows, columns), is_turned in (("x", (m, k), turned[0]), ("y", (k, n), turned[1])):
        shape = [heads, columns, rows] if is_turned else [heads, rows, columns]
        feeds[name] = rng.uniform(-5, 6, shape).astype(np.float32)
        operand = b.input(name, list(shape))
        operands.append(b.op("Transpose", operand, perm=[0, 2, 1]) if is_turned else operand)
    b.output(b.op("MatMul", *operands), rank=3)
    check_float(b.model(), feeds, 6 * k)


@SWEEP
@given(shapes(), st.sampled_from([np.uint8, np.int8]))
def test_integer_convolution(s: Shape, activation: type[np.generic]) -> None:
    b = Builder(s.seed, activation)
    x = b.q(b.input("x", list(s.input)), 0.05, 100)
    b.output(b.q(b.conv(x, 0.05, s.c, s.n, s.kernel, s.group, **s.attributes), 0.7, 131))
    check_equal(b.model(), s.feed())


@SWEEP
@given(shapes(depthwise=True), st.sampled_from([np.uint8, np.int8]))
def test_integer_depthwise_convolution(s: Shape, activation: type[np.generic]) -> None:
    b = Builder(s.seed, activation)
    x = b.q(b.input("x", list(s.input)), 0.05, 100)
    b.output(b.q(b.conv(x, 0.05, s.c, s.n, s.kernel, s.group, **s.attributes), 0.3, 120))
    check_equal(b.model(), s.feed())


@pytest.mark.parametrize("c", [2, 8, 16, 32, 40])
@pytest.mark.parametrize(("kernel", "dilations", "strides"), [
    ((1, 3), (1, 3), (1, 1)), ((3, 3), (1, 2), (1, 1)), ((3, 5), (1, 2), (1, 2)), ((5, 5), (1, 4), (1, 1)),
])  # fmt: skip
def test_depthwise_taps_further_apart_than_pixels(
    c: int, kernel: tuple[int, int], dilations: tuple[int, int], strides: tuple[int, int]
) -> None:
    """Two pixels share an input column only where the next tap is the next pixel."""
    s = Shape(1, c, c, c, (6, 23), kernel, strides, dilations, (0, 2, 0, 3), c)
    b = Builder(c)
    x = b.q(b.input("x", list(s.input)), 0.05, 100)
    b.output(b.q(b.conv(x, 0.05, c, c, kernel, c, **s.attributes), 0.3, 120))
    check_equal(b.model(), s.feed())


@SWEEP
@given(shapes(), shapes())
def test_two_convolutions_that_want_different_borders(s: Shape, t: Shape) -> None:
    """One tensor in memory serves both readers: its border is the larger one on each side."""
    b = Builder(s.seed)
    size = (max(s.size[0], t.size[0]), max(s.size[1], t.size[1]))
    feed = np.random.default_rng(s.seed).uniform(-5, 6, (1, 8, *size)).astype(np.float32)
    x = b.q(b.input("x", [1, 8, *size]), 0.05, 100)
    y = b.q(b.op("Relu", b.conv(x, 0.05, 8, 24, (3, 3), pads=[1, 1, 1, 1])), 0.3, 0)
    for reader in (s, t):
        b.output(b.q(b.conv(y, 0.3, 24, reader.n, reader.kernel, **reader.attributes), 2.0, 128))
    check_equal(b.model(), {"x": feed})


def test_a_convolution_over_one_axis_is_refused_by_name() -> None:
    b = Builder(1)
    weights = b.const(b.rng.uniform(-1, 1, (4, 3, 3)), np.float32)
    b.output(b.op("Conv", b.input("x", [1, 3, 9]), weights, kernel_shape=[3], pads=[1, 1]), rank=3)
    with pytest.raises(UnsupportedModelError, match=r"conv_\d+_node.*two-dimensional"):
        GraphModel.load(b.model())


def pool_attributes(s: Shape) -> dict[str, Any]:
    """The window of `s` for a pool: not dilated, its pads narrower than the kernel."""
    pads = [min(pad, k - 1) for pad, k in zip(s.pads, s.kernel * 2, strict=True)]
    spans = zip(s.size, pads[:2], pads[2:], s.kernel, strict=True)
    assume(all(size + low + high >= k for size, low, high, k in spans))
    return {"strides": list(s.strides), "kernel_shape": list(s.kernel), "pads": pads}


@SWEEP
@given(shapes(depthwise=True), st.booleans())
def test_maximum_pool(s: Shape, quantised: bool) -> None:
    b = Builder(s.seed)
    x = b.input("x", list(s.input))
    y = b.op("MaxPool", b.q(x, 0.05, 100) if quantised else x, **pool_attributes(s))
    b.output(b.q(y, 0.05, 100) if quantised else y)
    check_equal(b.model(), s.feed())


@SWEEP
@given(shapes(depthwise=True), st.booleans(), st.booleans())
def test_average_pool(s: Shape, quantised: bool, count_pad: bool) -> None:
    b = Builder(s.seed)
    x = b.input("x", list(s.input))
    y = b.op(
        "AveragePool",
        b.q(x, 0.05, 100) if quantised else x,
        count_include_pad=int(count_pad),
        **pool_attributes(s),
    )
    b.output(b.q(y, 0.0437, 90) if quantised else y)
    model, feeds = b.model(), s.feed()
    theirs = reference(model, feeds)[0]
    for variant in VARIANTS:
        mine = outputs(model, feeds, variant)[0]
        if quantised:  # a mean half-way between two steps may fall on the other side: onnxruntime rounds in between
            steps = np.abs(mine - theirs) / 0.0437
            assert steps.max(initial=0) < 1.001, variant
            assert (steps > 0.5).sum() <= max(1, 0.01 * steps.size), variant
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5, err_msg=variant)
