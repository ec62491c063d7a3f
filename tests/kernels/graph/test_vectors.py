"""What a compiler makes of loops over floats: with the build's flags e^x, and what is made of it, runs by vectors."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.kernels.build_flags import OPTIMISE, ROOT


@pytest.mark.parametrize(
    ("compiler", "source"), [("x86_64-linux-gnu-gcc", "bodies_avx2.c"), ("aarch64-linux-gnu-gcc", "bodies_scalar.c")]
)
def test_exponentials_run_by_vectors(compiler: str, source: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    command = [compiler, *OPTIMISE, "-Ikernels", "-fopt-info-vec-missed", "-c", f"kernels/graph/{source}"]
    done = subprocess.run([*command, "-o", "/dev/null"], cwd=ROOT, capture_output=True, text=True, check=True)
    branched = re.findall(r"(?:rows|ewise)_body\.h:\d+.*control flow in loop", done.stderr)
    assert branched == []
