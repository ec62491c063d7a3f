"""Language models: the matrix products of a token and of a prompt by weight type, and attention's share, by variant."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kernels.lm import _lm
from kernels.lm.model import variants
from kernels.lm.repack import TYPES, panel_bytes

ROWS, COLS = 1536, 576
"""As SmolLM2-135M's feed-forward matrices; 768 columns for Q6_K, whose blocks are 256 long."""


@pytest.mark.parametrize("variant", [name for name in variants() if name != "scalar"])
@pytest.mark.parametrize("tokens", [1, 128])
@pytest.mark.parametrize("kind", TYPES)
def test_product(benchmark: BenchmarkFixture, kind: str, tokens: int, variant: str) -> None:
    cols = 768 if kind == "Q6_K" else COLS
    panels = np.full((ROWS // 16, panel_bytes(kind, cols)), 0x15, np.uint8)
    x = np.random.default_rng(0).standard_normal((tokens, cols)).astype(np.float32)
    y = np.zeros((tokens, ROWS), np.float32)
    benchmark.group = f"{kind}, {tokens} token{'s' * (tokens > 1)}"
    benchmark(_lm.matmul, variant, TYPES.index(kind), panels, x, y)


@pytest.mark.parametrize("variant", [name for name in variants() if name != "scalar"])
def test_swiglu(benchmark: BenchmarkFixture, variant: str) -> None:
    gate, up = np.random.default_rng(0).standard_normal((2, ROWS)).astype(np.float32)
    benchmark.group = "swiglu"
    benchmark(_lm.swiglu, variant, gate, up, np.empty(ROWS, np.float32))
