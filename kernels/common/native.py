"""What a face says when the extension below it is not built for this Python."""

from __future__ import annotations

import sys
from typing import ClassVar

from kernels.errors import KernelError


class NotBuiltError(KernelError):
    """A native hall has no extension for this Python: it was never compiled, or for another version or machine."""

    next_step: ClassVar[str] = "run `make build`, or `python setup.py build_ext --inplace`, with this Python"


def not_built(module: str, cause: ImportError) -> NotBuiltError:
    """Returns the error to raise when the extension `module` (dotted name) could not be imported because of `cause`."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor} ({sys.executable})"
    return NotBuiltError(f"{module} is not built for {python}: {cause}")
