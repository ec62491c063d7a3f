"""How a test starts another Python of its own kind: under an emulator that is more than one word."""

from __future__ import annotations

import os
import shlex
import sys


def python_command() -> list[str]:
    """Returns the words before `-c`; tests/arm/run sets TEST_PYTHON, as qemu's programs cannot start their own kind."""
    return shlex.split(os.environ.get("TEST_PYTHON", "")) or [sys.executable]
