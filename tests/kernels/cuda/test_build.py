"""The CUDA kernels where nvcc is: they build for every generation, spill nothing, and use the instructions meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.cuda.build import ARCHITECTURES, SOURCES, NvccMissing, cubin, nvcc, ptx, resources


@pytest.fixture(autouse=True)
def compiler() -> None:
    try:
        nvcc()
    except NvccMissing as error:
        pytest.skip(f"the CUDA kernels are not built here: {error.message}")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_generation_is_built_and_spills_nothing(architecture: str, source: str) -> None:
    found = resources(architecture, source)
    assert set(found) == set(SOURCES[source])
    for name, (registers, spilled) in found.items():
        assert spilled == 0, name
        assert registers <= 64, f"{name}: more would leave warps out"


def test_weights_are_streamed_and_multiplied_four_at_a_time() -> None:
    for kernel in (ptx("sm_87") + ptx("sm_87", "lm.cu")).split(".visible .entry ")[1:]:
        if kernel.startswith(("ih_gemv", "ih_action_head", "ih_lm_product", "ih_lm_choose")):
            assert "ld.global.cs.v4" in kernel, "past the first cache: they are read once"
            assert "dp4a" in kernel
        assert ".local" not in kernel


def test_what_was_built_is_kept_whole(tmp_path: Path) -> None:
    first = cubin("sm_89", tmp_path)
    assert first[:4] == b"\x7fELF"
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"kept")
    assert cubin("sm_89", tmp_path) == b"kept"
    assert cubin("sm_87", tmp_path) != first
    assert cubin("sm_89", tmp_path, "lm.cu")[:4] == b"\x7fELF"


def test_a_compiler_from_pypi_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nvidia" / "cu13" / "bin"
    folder.mkdir(parents=True)
    (folder / "nvcc").write_text("#!/bin/sh\necho 'Build cuda_of_pypi'\n")
    (folder / "nvcc").chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    nvcc.cache_clear()
    try:
        assert nvcc() == f"{folder / 'nvcc'} Build cuda_of_pypi"
    finally:
        nvcc.cache_clear()


def test_a_generation_that_nvcc_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NvccMissing, match=r"does not take gemv\.cu for sm_12"):
        cubin("sm_12", tmp_path)
    assert list(tmp_path.iterdir()) == []
