"""The bench of our CUDA kernels: without a GPU it says why there is nothing to measure; its token is the backend's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.cuda import token
from kernels.lm.gguf import parse_gguf
from runtime.backends.cuda.llama import Llama
from tests.backends.cuda.host_kernels import KernelDevice, host_kernels
from tests.gpu import has_gpu
from tests.kernels.cuda.machine.compiled import compiler
from tests.kernels.lm.synthetic import synthetic_model


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cuda"]) == 2
    assert "cuda: " in capsys.readouterr().err


@pytest.mark.skipif(not compiler(), reason="there is no C++ compiler for the kernels")
def test_a_token_is_decoded_and_its_bytes_counted(tmp_path: Path) -> None:
    device = KernelDevice()
    gguf = parse_gguf(memoryview(synthetic_model().raw), Path("m.gguf"))
    llama = Llama(device, device.stream(high_priority=True), host_kernels()(device, tmp_path), gguf)
    spent_us, read_GBps = token(llama, 2)
    assert read_GBps == pytest.approx(llama.weights_bytes / spent_us / 1e3)
    llama.close()
    assert not device.held
