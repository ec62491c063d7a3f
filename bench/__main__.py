"""`python -m bench NAME [--json] [arguments of that bench]`: runs one bench, prints a table or one JSON object.

A bench is a module with `run(argv: list[str]) -> dict`: `rows` (a list of flat dicts) becomes the table, whatever else
it returns is printed below it. With `--json` the dict is printed as it is.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.table import Table

from kernels.errors import IdlehandsError

# name: (module, what it measures)
BENCHES = {
    "frames": ("bench.frames", "resize, crops, tile hashes of a 1080p frame beside OpenCV, Pillow and memcpy"),
    "gate": ("bench.gate", "polling the gate word, and how fast kernels yield"),
    "yield": ("bench.yielding", "edge on the bus to kernels stopped, keys released, job back, memory back"),
    "lm": ("bench.lm", "the native language model: load, prefill, decode"),
    "graphs": ("bench.graphs", "int8 graphs on the native engine beside onnxruntime and OpenVINO"),
    "threads": ("bench.threads", "two threads beside one, the second core free and busy"),
    "engines": ("bench.engines", "every engine at every model that it loads, with a roofline plot"),
    "wire": ("bench.wire", "messages of a session beside msgpack, and tiles packed and applied"),
    "session": (
        "bench.session",
        "one action over a session on loopback, from capture to injection; bytes a step; 20 at once",
    ),
    "slow_link": ("bench.slow_link", "recorded sessions over 1 Mbit/s, 80 ms and 2 % loss (root)"),
    "relay": ("bench.relay", "the blind relay on one core: 1,000 idle and 100 busy pairs"),
    "residency": ("bench.residency", "many variants in one worker: swaps, memory, deadlines, admission"),
    "board": ("bench.board", "every backend on every bundle, with the board's clocks, heat and power; a soak"),
    "results": ("bench.results", "writes bench/RESULTS.md from the benches that it is given"),
    "cuda": ("bench.cuda", "our CUDA kernels as a share of the GPU's bandwidth"),
    "agent": ("bench.agent", "one step of the trained agent, part by part, native beside onnxruntime"),
    "ocr": ("bench.ocr", "reading screens: accuracy and time of the int8 reader against the float one"),
}


def main(argv: list[str]) -> int:
    as_json = "--json" in argv
    argv = [argument for argument in argv if argument != "--json"]
    name, arguments = (argv[0], argv[1:]) if argv else ("", [])
    if name not in BENCHES:
        print(f"no bench is called {name!r}; python -m bench NAME [--json], with NAME one of:", file=sys.stderr)
        for known, (module, what) in BENCHES.items():
            print(f"  {known:9} {what}{'' if find_spec(module) else '  (not in this build)'}", file=sys.stderr)
        return 2
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as workers have it; numpy reads it once, when it is imported
    module = BENCHES[name][0]
    if find_spec(module) is None:
        print(f"{module} is not in this build", file=sys.stderr)
        return 2
    try:
        result: dict[str, Any] = import_module(module).run(arguments)
    except IdlehandsError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(result))
    else:
        show(name, result)
    return 0


def show(name: str, result: dict[str, Any]) -> None:
    """Prints `rows` as a table and the rest as lines."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows = result.get("rows", [])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=name)
    for column in columns:
        table.add_column(column, justify="left" if all(isinstance(r.get(column, ""), str) for r in rows) else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    if rows:
        console.print(table)
    for key, value in result.items():
        if key != "rows":
            console.print(f"{key}: {json.dumps(value) if isinstance(value, (dict, list)) else value}", highlight=False)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
