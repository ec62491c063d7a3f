"""Our kernels against their reference, to the bit: on this machine's processor in a GPU's place, and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels.cuda.reference import action_head, gemv_int4, gemv_int8, pack_int4
from runtime.backends.cuda.device import CudaError, Stream
from runtime.backends.cuda.host import HostDevice
from runtime.backends.cuda.kernels import Kernels, chosen_rows
from tests.backends.cuda.host_kernels import KernelDevice, host_kernels
from tests.gpu import opened
from tests.kernels.cuda.machine.compiled import compiler

RNG = np.random.default_rng(11)
SHAPES = [(1, 32), (9, 64), (130, 576), (1000, 4096), (65, 11008)]


@pytest.fixture(params=["this machine", "gpu"])
def kernels(request: pytest.FixtureRequest, tmp_path: Path) -> Kernels:
    if request.param == "gpu":
        return Kernels(opened(), tmp_path)
    if not compiler():
        pytest.skip("there is no C++ compiler for the kernels")
    device = KernelDevice()
    return Kernels(device, tmp_path, host_kernels("gemv.cu")(device, tmp_path))


@pytest.fixture
def stream(kernels: Kernels) -> Iterator[Stream]:
    made = kernels.device.stream(high_priority=False)
    yield made
    made.close()


@pytest.mark.parametrize(("rows", "k"), SHAPES)
def test_int8(kernels: Kernels, stream: Stream, rows: int, k: int) -> None:
    w, x = (RNG.integers(-127, 128, shape).astype(np.int8) for shape in ((rows, k), (k,)))
    scale = RNG.uniform(0.001, 0.01, rows).astype(np.float32)
    y = kernels.device.alloc(rows * 4)
    kernels.gemv_int8(
        stream, kernels.put(stream, w), kernels.put(stream, scale), kernels.put(stream, x), 0.037, y, rows, k
    )
    np.testing.assert_array_equal(kernels.take(stream, y, np.float32), gemv_int8(w, scale, x, 0.037))


@pytest.mark.parametrize(("rows", "k"), SHAPES)
def test_int4(kernels: Kernels, stream: Stream, rows: int, k: int) -> None:
    q = pack_int4(RNG.integers(-8, 8, (rows, k)).astype(np.int8))
    x = RNG.integers(-127, 128, k).astype(np.int8)
    scale = RNG.uniform(0.001, 0.01, (rows, k // 32)).astype(np.float32)
    y = kernels.device.alloc(rows * 4)
    kernels.gemv_int4(
        stream, kernels.put(stream, q), kernels.put(stream, scale), kernels.put(stream, x), 0.037, y, rows, k
    )
    np.testing.assert_array_equal(kernels.take(stream, y, np.float32), gemv_int4(q, scale, x, 0.037))


def test_an_actions_head(kernels: Kernels, stream: Stream) -> None:
    rows, k, first = 200, 128, np.array([0, 13, 150, 180], np.int32)
    w, x = (RNG.integers(-127, 128, shape).astype(np.int8) for shape in ((rows, k), (k,)))
    scale, bias = (RNG.uniform(-0.01, 0.01, rows).astype(np.float32) for _ in range(2))
    w[40] = w[60] = w[149]  # equal logits: the first counts
    scale[[40, 60, 149]], bias[[40, 60, 149]] = 0.01, 9.0
    logits, best = kernels.device.alloc(rows * 4), kernels.put(stream, np.zeros(len(first), np.uint64))
    put = [kernels.put(stream, array) for array in (w, scale, bias, x)]
    kernels.action_head(stream, *put, 0.05, kernels.put(stream, first), logits, best, k)
    wanted, chosen = action_head(w, scale, bias, x, 0.05, first)
    np.testing.assert_array_equal(kernels.take(stream, logits, np.float32), wanted)
    np.testing.assert_array_equal(chosen_rows(kernels.take(stream, best, np.uint64)), chosen)


def test_rows_that_do_not_fit_are_refused(kernels: Kernels, stream: Stream) -> None:
    y = kernels.device.alloc(4)
    with pytest.raises(ValueError, match="expected a multiple of 16"):
        kernels.gemv_int8(stream, y, y, y, 1.0, y, 1, 24)
    with pytest.raises(ValueError, match="expected a multiple of 32"):
        kernels.gemv_int4(stream, y, y, y, 1.0, y, 1, 48)


def test_a_machine_in_the_place_of_a_gpu_says_that_it_runs_none() -> None:
    device = HostDevice()
    with pytest.raises(CudaError, match="loads no kernels"):
        device.load(b"", "ih_gemv_int8")
    stream = device.stream(high_priority=False)
    with pytest.raises(CudaError, match="runs no kernels"):
        stream.launch(object(), (1, 1, 1), (32, 1, 1), ())  # type: ignore[arg-type]
