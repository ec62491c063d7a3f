"""check_variants.c, compiled here: under ASan and UBSan, and for ARM under qemu on cores with and without dotprod."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernels.build_flags import OPTIMISE, ROOT

FLAGS = [*OPTIMISE, "-Wall", "-Wextra", "-Werror", "-Ikernels"]
SOURCES = [
    "tests/kernels/lm/check_variants.c",
    *(
        f"kernels/lm/{name}.c"
        for name in (
            "engine",
            "ops",
            "panel",
            "step",
            "reference",
            "avx2",
            "avxvnni",
            "avx512vnni",
            "amxint8",
            "amxbf16",
            "neon",
            "dotprod",
            "i8mm",
        )
    ),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "kernels" / "common").glob("*.c"))),
]


def build(compiler: str, out: Path, *flags: str) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    subprocess.run([compiler, *FLAGS, *flags, *SOURCES, "-lm", "-o", out], cwd=ROOT, check=True)
    return out


@pytest.mark.timeout(600)  # the sanitizers take the compiler a while
def test_variants_are_equal_and_clean_under_sanitizers(tmp_path: Path) -> None:
    program = build("gcc", tmp_path / "check", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def arm_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64-static is not installed")
    return build("aarch64-linux-gnu-gcc", tmp_path_factory.mktemp("arm") / "check", "-O3", "-static")


@pytest.mark.parametrize(
    ("core", "runs"),
    [
        ("cortex-a53", {"neon": True, "dotprod": False}),
        ("cortex-a76", {"dotprod": True, "i8mm": False}),
        ("max", {"dotprod": True, "i8mm": True}),
    ],
)
def test_arm_variants_are_equal_under_qemu(arm_program: Path, core: str, runs: dict[str, bool]) -> None:
    done = subprocess.run(
        ["qemu-aarch64-static", "-cpu", core, arm_program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name, expected in runs.items():
        assert (f"{name}: equal" in done.stdout) == expected
