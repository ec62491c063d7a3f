"""Runs a fuzzer of this folder under atheris: `python -m tests.fuzz.guided wire FOLDER [libFuzzer options]`.

The imports of the fuzzer are what is instrumented, so it is imported here and not at the top. Inputs that reach
something new are kept in FOLDER; a crash is written to ./crash-… and replayed by giving that file instead of FOLDER.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # only who fuzzes needs it


def main(name: str, options: list[str]) -> None:
    with atheris.instrument_imports(include=["runtime.wire", "tests.fuzz"]):
        run = import_module(f"tests.fuzz.{name}").run

    def one(data: bytes) -> None:
        run(data)

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
