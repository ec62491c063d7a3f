"""int8 graphs: a 1x1 and a 3x3 convolution, a depthwise one, a residual sum, attention; one op each, by variant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kernels.graph.model import GraphModel, StepResult, supported_variants
from tests.kernels.graph.qdq import Builder
from tests.kernels.graph.test_models import attention


def convolution(c: int, n: int, kernel: int, group: int = 1) -> bytes:
    b = Builder(1)
    x = b.q(b.input("x", [1, c, 38, 60]), 0.05, 100)
    pads = [kernel // 2] * 4
    b.output(b.q(b.conv(x, 0.05, c, n, (kernel, kernel), group=group, pads=pads), 1.0, 128))
    return b.model()


def residual() -> bytes:
    b = Builder(2)
    x = b.q(b.input("x", [1, 64, 38, 60]), 0.05, 100)
    y = b.q(b.conv(x, 0.05, 64, 64, (1, 1)), 0.3, 0)
    b.output(b.q(b.op("Add", x, y), 0.4, 100))
    return b.model()


def transformer() -> bytes:
    b = Builder(3)
    b.output(attention(b, b.input("x", [1, 220, 192]), 192, 3), rank=3)
    return b.model()


CASES: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "1x1, 96 to 96": (lambda: convolution(96, 96, 1), (1, 96, 38, 60)),
    "3x3, 48 to 48": (lambda: convolution(48, 48, 3), (1, 48, 38, 60)),
    "depthwise 5x5, 96": (lambda: convolution(96, 96, 5, 96), (1, 96, 38, 60)),
    "1x1 and residual, 64": (residual, (1, 64, 38, 60)),
    "attention, 220 x 192": (transformer, (1, 220, 192)),
}


@pytest.mark.parametrize("variant", supported_variants()[:-1])
@pytest.mark.parametrize("case", CASES)
def test_graph(benchmark: BenchmarkFixture, case: str, variant: str) -> None:
    build, shape = CASES[case]
    graph = GraphModel.load(build(), variant=variant)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    benchmark.group = case

    def once() -> StepResult:
        return graph.start({"x": x}).step()

    assert benchmark(once) is StepResult.DONE
