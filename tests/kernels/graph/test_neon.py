"""The NEON dot-product convolution against the reference, cross-compiled and run under qemu where both are there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[3] / "kernels"
COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64-static")


@pytest.mark.skipif(not (COMPILER and EMULATOR), reason="needs gcc-aarch64-linux-gnu and qemu-user-static")
def test_dot_product_convolution_equals_the_reference(tmp_path: Path) -> None:
    program = tmp_path / "check"
    sources = [
        Path(__file__).with_name("neon_check.c"),
        KERNELS / "graph" / "conv_scalar.c",
        KERNELS / "graph" / "conv_neon_dotprod.c",
    ]
    flags = ["-O3", "-std=gnu11", "-fno-math-errno", "-Wall", "-Wextra", "-Werror", "-static", f"-I{KERNELS}"]
    subprocess.run([str(COMPILER), *flags, *map(str, sources), "-o", str(program)], check=True)
    found = subprocess.run(
        [str(EMULATOR), "-cpu", "cortex-a76", str(program)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout
