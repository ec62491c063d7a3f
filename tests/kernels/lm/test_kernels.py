"""Each kernel against plain numpy, and each instruction set's variant against the reference, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lm import _lm
from kernels.lm.gguf import GgufError, Tensor, parse_gguf
from kernels.lm.model import variants
from kernels.lm.repack import TYPES, repack
from tests.kernels.lm.synthetic import gguf_bytes, random_tensor

FAST = [name for name in variants() if name != "scalar"]
INT8_TOLERANCE = 0.02
"""Of the output's size: what rounding activations to 8 bits in blocks of 32 may cost."""


def packed(kind: str, rows: int, cols: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    raw, values = random_tensor(np.random.default_rng(seed), kind, rows, cols)
    gguf = parse_gguf(memoryview(gguf_bytes({}, {"w": (kind, rows, cols, raw)})), Path("w.gguf"))
    return repack(gguf.tensors["w"]), values


def product(variant: str, kind: str, panels: np.ndarray, x: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    y = np.full((len(x), 16 * len(panels)), np.nan, np.float32) if start is None else start.copy()
    _lm.matmul(variant, TYPES.index(kind), panels, x, y, start is not None)
    return y


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("rows", "cols"), [(16, 256), (40, 512), (1, 256)])
def test_product_is_that_of_the_unpacked_matrix(kind: str, rows: int, cols: int) -> None:
    panels, values = packed(kind, rows, cols)
    x = np.random.default_rng(5).normal(size=(3, cols)).astype(np.float32)
    expected = x.astype(np.float64) @ values.T
    got = product("scalar", kind, panels, x)
    tolerance = 1e-5 if kind in ("F16", "F32") else INT8_TOLERANCE
    np.testing.assert_allclose(got[:, :rows], expected, atol=tolerance * np.abs(expected).max())
    assert (got[:, rows:] == 0).all(), "padding rows are zero"


@pytest.mark.parametrize("variant", FAST)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 11, 12, 13, 16, 29, 37])
def test_variants_give_the_same_bits(variant: str, kind: str, tokens: int) -> None:
    panels, _ = packed(kind, 48, 768 if kind == "Q6_K" else 544, seed=tokens)
    rng = np.random.default_rng(tokens)
    x = (rng.normal(size=(tokens, 768 if kind == "Q6_K" else 544)) * 10 ** rng.uniform(-3, 3, (tokens, 1))).astype(
        np.float32
    )
    expected = product("scalar", kind, panels, x)
    assert product(variant, kind, panels, x).tobytes() == expected.tobytes()
    start = rng.normal(size=expected.shape).astype(np.float32)
    assert product(variant, kind, panels, x, start).tobytes() == product("scalar", kind, panels, x, start).tobytes()


@pytest.mark.parametrize("variant", FAST)
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "Q6_K"])
def test_extreme_weights_do_not_saturate(variant: str, kind: str) -> None:
    size = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34, "Q6_K": 210}[kind]
    cols = 256
    one = np.full((16, cols // (256 if kind == "Q6_K" else 32), size), 0xFF, np.uint8)
    one[..., -2:] = [0, 0x3C]  # 1.0 where Q6_K has its scale
    one[..., :4] = np.array([0, 0x3C, 0, 0x3C]) if kind == "Q4_1" else one[..., :4]
    one[..., :2] = [0, 0x3C] if kind in ("Q4_0", "Q8_0") else one[..., :2]
    if kind == "Q8_0":
        one[..., 2:] = 0x7F
    panels = repack(Tensor("w", kind, 16, cols, one.reshape(-1)))
    x = np.full((2, cols), 127.0, np.float32)
    x[1] = -127.0
    expected = product("scalar", kind, panels, x)
    assert np.isfinite(expected).all()
    assert product(variant, kind, panels, x).tobytes() == expected.tobytes()


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=32, max_size=32))
@settings(max_examples=200, deadline=None)
def test_quantised_blocks_agree_and_stay_within_half_a_step(values: list[float]) -> None:
    x = np.array(values, np.float32)
    q = np.zeros(32, np.int8)
    scale, _, neg128, half = _lm.quantise("scalar", x, q)
    assert neg128 == -128 * int(q.astype(int).sum())
    assert half == int(q[:16].astype(int).sum())
    step = float(np.abs(x).max()) / 127
    if 1e-3 < step < 6e4:
        assert abs(scale - step) <= step * 2**-11
        assert np.abs(q * step - x).max() <= step * 0.5001
    for variant in FAST:
        other = np.zeros(32, np.int8)
        assert np.array(_lm.quantise(variant, x, other)).tobytes() == np.array(_lm.quantise("scalar", x, q)).tobytes()
        assert (other == q).all()


@pytest.mark.parametrize("variant", FAST)
def test_row_kernels_give_the_same_bits(variant: str) -> None:
    rng = np.random.default_rng(3)
    for n in (32, 64, 576, 1536):
        a, b = (rng.normal(size=n).astype(np.float32) * 8 for _ in range(2))
        a[:8] = [0, -0.0, 1e-30, 100, -100, 1e4, -1e4, 88.5]
        for call in (
            lambda v, y, a=a, b=b: _lm.rmsnorm(v, a, b, 1e-5, y),
            lambda v, y, a=a, b=b: _lm.swiglu(v, a, b, y),
        ):
            expected, got = np.zeros(n, np.float32), np.zeros(n, np.float32)
            call("scalar", expected)
            call(variant, got)
            assert expected.tobytes() == got.tobytes()


def test_swiglu_is_close_to_the_formula() -> None:
    gate = np.linspace(-30, 30, 1024, dtype=np.float32)
    up, y = np.ones(1024, np.float32), np.zeros(1024, np.float32)
    _lm.swiglu("scalar", gate, up, y)
    exact = gate.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64)))
    np.testing.assert_allclose(y, exact, rtol=4e-7, atol=1e-12)


@pytest.mark.parametrize("variant", variants())
def test_every_half_is_rounded_as_numpy_does(variant: str) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].astype(np.float32)
    between = (finite[:-1] + finite[1:]) / 2
    x = np.concatenate([finite, between, np.nextafter(between, 1e9), [65519.0, 65520.0, 1e9, 1e-8, 3e-8]]).astype(
        np.float32
    )
    x = np.concatenate([x, np.zeros(-len(x) % 16, np.float32)])
    y = np.zeros(len(x), np.uint16)
    _lm.to_f16(variant, x, y)
    with np.errstate(over="ignore"):
        assert (y == x.astype(np.float16).view(np.uint16)).all()


def test_columns_must_fill_blocks() -> None:
    with pytest.raises(GgufError, match="multiple of 32"):
        repack(Tensor("w", "F32", 2, 40, np.zeros(320, np.uint8)))


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="does not run here"):
        _lm.rmsnorm("sse9", np.zeros(32, np.float32), np.zeros(32, np.float32), 1e-5, np.zeros(32, np.float32))
