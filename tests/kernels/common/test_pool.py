"""pool_check.c, compiled here: under the thread sanitizer, and under ASan and UBSan."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FLAGS = ["-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Ikernels", "-pthread", "-fno-sanitize-recover=all"]
SOURCES = ["tests/kernels/common/pool_check.c", "kernels/common/pool.c", "kernels/common/gate_word.c"]


@pytest.mark.parametrize(
    ("sanitizer", "arguments"),
    [("thread", ["no-fork"]), ("address,undefined", []), ("address,undefined", ["one-core"])],
)
def test_every_item_is_done_once(tmp_path: Path, sanitizer: str, arguments: list[str]) -> None:
    program = tmp_path / "check"
    subprocess.run(["gcc", *FLAGS, f"-fsanitize={sanitizer}", *SOURCES, "-o", program], cwd=ROOT, check=True)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
