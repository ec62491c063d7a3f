"""The compiler flags of the build, for tests that compile kernels themselves."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _of_setup() -> list[str]:
    """Returns `OPTIMISE` of setup.py, which cannot be imported without building."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OPTIMISE":
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no OPTIMISE")


OPTIMISE = _of_setup()
