"""Builds gemv.cu with nvcc: one cubin a device generation, kept by the source's and the compiler's own hash.

sm_87  Jetson Orin          sm_90   H100, H200
sm_89  Ada (RTX 40, L4)     sm_110  Jetson Thor, where nvcc knows it
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from kernels.errors import KernelError

SOURCE = Path(__file__).with_name("gemv.cu")
KERNELS = ("ih_gemv_int8", "ih_gemv_int4", "ih_action_head", "ih_read_probe")
ARCHITECTURES = ("sm_87", "sm_89", "sm_90")
FLAGS = ("-O3", "--std=c++17", "-Werror", "all-warnings", "--fmad=false")


class NvccMissing(KernelError):
    """The CUDA compiler is not here, or did not take the kernels."""

    next_step: ClassVar[str] = "install the CUDA toolkit and put nvcc on the PATH"


@functools.cache
def nvcc() -> str:
    """Returns the compiler and its version. Raises NvccMissing."""
    path = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NvccMissing(f"there is no nvcc here: {error}") from error
    return f"{path} {said.strip().splitlines()[-1]}"


def cubin(architecture: str, cache: Path) -> bytes:
    """Returns the kernels for `architecture` ("sm_89"), compiled unless `cache` has them. Raises NvccMissing."""
    told = hashlib.sha256(SOURCE.read_bytes() + repr((nvcc(), architecture, FLAGS)).encode()).hexdigest()[:40]
    kept = cache / f"gemv-{told}.cubin"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".nvcc-") as folder:
            made = Path(folder, "gemv.cubin")
            _compile(architecture, "-cubin", made)
            os.replace(made, kept)
    return kept.read_bytes()


def ptx(architecture: str) -> str:
    """Returns the kernels' PTX, for a look at what was made of them. Raises NvccMissing."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "gemv.ptx")
        _compile(architecture, "-ptx", made)
        return made.read_text()


def resources(architecture: str) -> dict[str, tuple[int, int]]:
    """Returns of each kernel (registers a thread, bytes spilled), as the assembler says. Raises NvccMissing."""
    with tempfile.TemporaryDirectory() as folder:
        said = _compile(architecture, "-cubin", Path(folder, "gemv.cubin"), "-Xptxas", "-v")
    found: dict[str, tuple[int, int]] = {}
    for name, spilled, registers in re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", said, re.DOTALL
    ):
        found[name] = int(registers), int(spilled)
    return found


def _compile(architecture: str, kind: str, to: Path, *more: str) -> str:
    """Returns what the compiler said."""
    compiler = nvcc().split(" ")[0]
    command = [compiler, *FLAGS, f"-arch={architecture}", kind, *more, "-o", str(to), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise NvccMissing(
            f"{compiler} does not take {SOURCE.name} for {architecture}: {done.stderr.strip()[:500]}",
            next_step="use a toolkit that knows this device",
        )
    return done.stderr
