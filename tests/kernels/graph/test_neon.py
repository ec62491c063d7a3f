"""The ARM convolutions against the reference, cross-compiled and run under qemu on three cores where both are there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernels.build_flags import OPTIMISE, ROOT

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
FLAGS = [*OPTIMISE, "-Wall", "-Wextra", "-Werror", "-static", "-pthread", "-Ikernels"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which(COMPILER) and shutil.which(EMULATOR)):
        pytest.skip("needs gcc-aarch64-linux-gnu and qemu-user-static")
    out = tmp_path_factory.mktemp("neon") / "check"
    kernels = [path for hall in ("graph", "common") for path in sorted((ROOT / "kernels" / hall).glob("*.c"))]
    sources = [path for path in kernels if path.name != "_graph.c"]
    subprocess.run([COMPILER, *FLAGS, Path(__file__).with_name("neon_check.c"), *sources, "-lm", "-o", out],
                   cwd=ROOT, check=True)  # fmt: skip
    return out


@pytest.mark.parametrize(
    ("core", "variants"),
    [
        ("cortex-a53", ["neon", "scalar"]),
        ("cortex-a76", ["neon_dotprod", "neon", "scalar"]),
        ("max", ["neon_i8mm", "neon_dotprod", "neon", "scalar"]),
    ],
)
def test_convolutions_equal_the_reference(program: Path, core: str, variants: list[str]) -> None:
    found = subprocess.run([EMULATOR, "-cpu", core, program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert found.stdout.split() == variants
