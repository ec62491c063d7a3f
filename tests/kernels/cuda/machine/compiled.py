"""Compiles a .cu file for this machine, and calls its kernels as a driver would: by name, grid and arguments.

The source is compiled as it is; only what it takes from CUDA is machine.h's. For each kernel a launcher is written from
its own signature.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kernels.cuda.build import FOLDER, SOURCES

_HERE = Path(__file__).parent
_SIGNATURE = re.compile(r'extern "C" __global__ void(?: __launch_bounds__\(\w+(?: \* \w+)?\))?\s+(ih_\w+)\(([^)]*)\)')


def compiler() -> str:
    """Returns the C++ compiler of this machine, "" without one."""
    return next((path for name in ("g++", "c++", "clang++") if (path := shutil.which(name))), "")


class Compiled:
    """The kernels of one source."""

    def __init__(self, library: ctypes.CDLL, names: Sequence[str]) -> None:
        self._library, self.names = library, tuple(names)

    def launch(self, name: str, blocks: int, threads: int, places: Sequence[int]) -> None:
        """Runs a kernel to its end; `places` are the addresses of its arguments' values."""
        call = getattr(self._library, f"launch_{name}")
        call.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint, ctypes.c_int]
        call((ctypes.c_void_p * len(places))(*places), blocks, threads)


@functools.cache
def compiled(source: str) -> Compiled:
    """Returns the kernels of a source of kernels/cuda, compiled once a process."""
    text = (FOLDER / source).read_text()
    signatures = dict(_SIGNATURE.findall(text))
    assert set(signatures) == set(SOURCES[source]), "a kernel is in the table and not in the source, or the other way"
    with tempfile.TemporaryDirectory() as folder:
        whole, library = Path(folder, "whole.cpp"), Path(folder, "whole.so")
        launchers = "\n".join(_launcher(name, parameters) for name, parameters in signatures.items())
        whole.write_text(f'#include "machine.h"\n#include "{FOLDER / source}"\n{launchers}\n')
        includes = [f"-I{_HERE}", f"-I{FOLDER.parent}"]
        flags = ["-O2", "-std=c++17", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC"]
        subprocess.run([compiler(), *flags, *includes, "-o", str(library), str(whole)], check=True, timeout=120)
        return Compiled(ctypes.CDLL(str(library)), list(signatures))


def _launcher(name: str, parameters: str) -> str:
    types = [re.sub(r"\w+$", "", one.strip()).strip() for one in parameters.split(",")]
    given = ", ".join(f"*(std::remove_const<{kind}>::type *)a[{at}]" for at, kind in enumerate(types))
    return (
        "#include <type_traits>\n"
        f"static void run_{name}(void **a) {{ {name}({given}); }}\n"
        f'extern "C" void launch_{name}(void **a, unsigned blocks, int threads) '
        f"{{ machine_launch(run_{name}, a, blocks, threads); }}"
    )
