"""The command line of a story of faults: a seed and how much of it; the report as JSON, exit code 0 if it is clean."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any


def tell(
    module: str, about: str | None, run: Callable[[int, int], Any], what: str, default: int, argv: list[str]
) -> int:
    """Runs `run(seed, count)` as `argv` says, where the count is called `what`; it returns a dataclass with `is_clean`.

    Returns the exit code.
    """
    parser = argparse.ArgumentParser(prog=module, description=about)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(f"--{what}", type=int, default=default)
    options = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    report = run(seed, getattr(options, what))
    print(json.dumps({**asdict(report), "clean": report.is_clean()}, indent=2))
    return 0 if report.is_clean() else 1
