"""A short run of the model loaders' fuzzer; `make fuzz` has the long one. CI runs this on the sanitizers' build too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels.fuzz_models import fuzz


@pytest.mark.parametrize("kind", ["gguf", "onnx"])
def test_nothing_but_the_loaders_own_errors(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    outcomes = fuzz(kind, seconds=4, seed=1, keep=tmp_path)
    assert outcomes["refused"]
    assert outcomes["ran"], "no altered model ran: the kernels were not attacked"
