"""The meaning of the CUDA kernels, against float64 and against itself."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.reference import action_head, gemv_int4, gemv_int8, pack_int4

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(("rows", "k"), [(1, 32), (7, 96), (33, 2048), (5, 4096 + 32)])
def test_products_are_the_products(rows: int, k: int) -> None:
    x = RNG.integers(-127, 128, k).astype(np.int8)
    w8 = RNG.integers(-127, 128, (rows, k)).astype(np.int8)
    scale8 = RNG.uniform(0.001, 0.01, rows).astype(np.float32)
    exact = (w8.astype(np.float64) @ x) * scale8 * 0.03
    np.testing.assert_allclose(gemv_int8(w8, scale8, x, 0.03), exact, rtol=1e-5)
    w4 = RNG.integers(-8, 8, (rows, k)).astype(np.int8)
    scale4 = RNG.uniform(0.001, 0.01, (rows, k // 32)).astype(np.float32)
    packed = pack_int4(w4)
    assert packed.shape == (rows, k // 2)
    exact = ((w4 * scale4.repeat(32, axis=1).astype(np.float64)) @ x) * 0.03
    np.testing.assert_allclose(gemv_int4(packed, scale4, x, 0.03), exact, rtol=1e-4, atol=1e-3)


def test_a_head_takes_the_first_of_the_largest_in_each_group() -> None:
    w = np.zeros((6, 16), np.int8)
    bias = np.array([1, 3, 3, -5, -2, -2], np.float32)
    one = np.ones(6, np.float32)
    logits, best = action_head(w, one, bias, np.ones(16, np.int8), 1.0, np.array([0, 3], np.int32))
    assert logits.tolist() == bias.tolist()
    assert best.tolist() == [1, 1]
