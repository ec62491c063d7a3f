"""Builds the kernels with nvcc: one cubin a source and device generation, kept by the sources' and the compiler's hash.

sm_87  Jetson Orin          sm_90   H100, H200
sm_89  Ada (RTX 40, L4)     sm_110  Jetson Thor, where nvcc knows it
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from kernels.errors import KernelError

FOLDER = Path(__file__).parent
HEADERS = ("warp.cuh",)
# source: its kernels
SOURCES: dict[str, tuple[str, ...]] = {
    "gemv.cu": ("ih_gemv_int8", "ih_gemv_int4", "ih_action_head", "ih_read_probe"),
    "lm.cu": (
        "ih_lm_embed",
        "ih_lm_norm",
        "ih_lm_product_int4",
        "ih_lm_product_int8",
        "ih_lm_turn",
        "ih_lm_attend",
        "ih_lm_pack",
        "ih_lm_choose_int4",
        "ih_lm_choose_int8",
        "ih_lm_next",
        "ih_lm_wipe",
    ),
}
ARCHITECTURES = ("sm_87", "sm_89", "sm_90")
FLAGS = ("-O3", "--std=c++17", "-Werror", "all-warnings", "--fmad=false")


class NvccMissing(KernelError):
    """The CUDA compiler is not here, or did not take the kernels."""

    next_step: ClassVar[str] = "install the CUDA toolkit, or: pip install nvidia-cuda-nvcc nvidia-cuda-cccl"


@functools.cache
def nvcc() -> str:
    """Returns the compiler and its version: of the PATH, of PyPI's nvidia-cuda-nvcc, or where CUDA puts it.

    Raises NvccMissing.
    """
    path = shutil.which("nvcc") or _of_pypi() or "/usr/local/cuda/bin/nvcc"
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NvccMissing(f"there is no nvcc here: {error}") from error
    return f"{path} {said.strip().splitlines()[-1]}"


def cubin(architecture: str, cache: Path, source: str = "gemv.cu") -> bytes:
    """Returns the kernels of `source` for `architecture` ("sm_89"), compiled unless `cache` has them.

    Raises NvccMissing.
    """
    texts = b"".join((FOLDER / name).read_bytes() for name in (source, *HEADERS))
    told = hashlib.sha256(texts + repr((nvcc(), architecture, FLAGS)).encode()).hexdigest()[:40]
    kept = cache / f"{Path(source).stem}-{told}.cubin"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".nvcc-") as folder:
            made = Path(folder, "made.cubin")
            _compile(source, architecture, "-cubin", made)
            os.replace(made, kept)
    return kept.read_bytes()


def ptx(architecture: str, source: str = "gemv.cu") -> str:
    """Returns the kernels' PTX, for a look at what was made of them. Raises NvccMissing."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made.ptx")
        _compile(source, architecture, "-ptx", made)
        return made.read_text()


def resources(architecture: str, source: str = "gemv.cu") -> dict[str, tuple[int, int]]:
    """Returns of each kernel (registers a thread, bytes spilled), as the assembler says. Raises NvccMissing."""
    with tempfile.TemporaryDirectory() as folder:
        said = _compile(source, architecture, "-cubin", Path(folder, "made.cubin"), "-Xptxas", "-v")
    found: dict[str, tuple[int, int]] = {}
    for name, spilled, registers in re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", said, re.DOTALL
    ):
        found[name] = int(registers), int(spilled)
    return found


def _of_pypi() -> str:
    """Returns the nvcc that PyPI's nvidia-cuda-nvcc brings, "" where it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((str(found) for place in places for found in sorted(Path(place).glob("cu*/bin/nvcc"))), "")


def _compile(source: str, architecture: str, kind: str, to: Path, *more: str) -> str:
    """Returns what the compiler said."""
    compiler = nvcc().split(" ")[0]
    command = [compiler, *FLAGS, f"-arch={architecture}", kind, *more, "-o", str(to), str(FOLDER / source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise NvccMissing(
            f"{compiler} does not take {source} for {architecture}: {done.stderr.strip()[:500]}",
            next_step="use a toolkit that knows this device",
        )
    return done.stderr
