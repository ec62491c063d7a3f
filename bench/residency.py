"""Many small variants at once: swapping them, giving their memory back, and deciding for all of them in time.

Twenty signed bundles of one shape (a chain of int8 matrix products, 5.2 MB and 1.03 GMAC a decision, in the order of a
small vision transformer), each with weights of its own, installed in a store of the bench's own.

swap       a budget of half of them, used in turn, so that every use gives one up and loads another
memory     what the process holds before, with all of them resident, and after they were given up
deadlines  a session a variant at 8 times a person's speed (a decision every 331 ms), then as many as are admitted
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.measure import Samples, machine
from runtime.backends.memory import rss_bytes
from runtime.backends.protocol import Limits, Model, StepResult
from runtime.residency.admission import Admission, AdmissionRefused, Demand
from runtime.residency.calibration import calibrate
from runtime.residency.models import Residency
from runtime.residency.pace import Pacer
from runtime.residency.schedule import Scheduler
from runtime.store.bundle import Bundle, pack, sign
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore

VARIANTS, LAYERS, WIDTH, ROWS = 20, 20, 512, 196
PERIOD_MS = 331.0  # a person's action takes 2.65 s by the keystroke-level model
OPERATIONS = 2 * LAYERS * WIDTH * WIDTH * ROWS


def run(argv: list[str]) -> dict[str, Any]:
    """Returns the rows of swaps by backend, and what was promised and kept."""
    parser = argparse.ArgumentParser(prog="python -m bench residency")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run against deadlines (default 10)")
    parser.add_argument("--swaps", type=int, default=60, help="swaps of each backend (default 60)")
    parser.add_argument("--lanes", type=int, default=min(2, os.cpu_count() or 1), help="cores that compute")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        bundles = {name: install(Path(folder), name) for name in ("native", "onnxruntime")}
        limits = Limits(cache_folder=Path(folder, "cache"))
        rows = [swaps(name, bundles[name], limits, arguments.swaps) for name in bundles]
        return {
            "rows": rows,
            "memory": memory(bundles["native"], limits),
            "deadlines": deadlines(bundles["native"], limits, arguments.lanes, arguments.seconds),
            "bundle_bytes": bundles["native"][0].manifest.total_bytes,
            "machine": machine(),
        }


def install(folder: Path, backend: str) -> list[Bundle]:
    """Returns the variants, installed for `backend`."""
    store = ModelStore(folder / backend)
    key = SigningKey.create(folder / f"{backend}.key")
    store.trust(key.public)
    installed = []
    for number in range(VARIANTS):
        source = folder / f"{backend}-{number}"
        source.mkdir()
        (source / "model.onnx").write_bytes(int8_chain(number))
        packed = folder / f"{backend}-{number}.ihb"
        description = {
            "name": f"variant-{number}",
            "version": "1",
            "kind": "onnx",
            "licence": "CC0-1.0",
            "models": {"model": {"file": "model.onnx", "backends": [backend], "quantisation": "int8"}},
        }
        pack(source, packed, description=description)
        sign(packed, key)
        installed.append(store.install(packed))
    return installed


def int8_chain(seed: int) -> bytes:
    """Returns a QDQ model x float32 (ROWS, WIDTH) -> y: u8 activations, s8 weights, a Relu after each product."""
    rng = np.random.default_rng(seed)
    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    scale = constant("scale", np.array(0.02, np.float32))
    zero = constant("zero", np.array(0, np.uint8))
    weight_scale = constant("weight_scale", np.array(0.002, np.float32))
    weight_zero = constant("weight_zero", np.array(0, np.int8))
    before = "x"
    for layer in range(LAYERS):
        weight = constant(f"w{layer}", rng.integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8))
        quantised, product = f"q{layer}", f"m{layer}"
        after = "y" if layer == LAYERS - 1 else f"r{layer}"
        nodes += [
            helper.make_node("QuantizeLinear", [before, scale, zero], [quantised]),
            helper.make_node("DequantizeLinear", [quantised, scale, zero], [f"{quantised}d"]),
            helper.make_node("DequantizeLinear", [weight, weight_scale, weight_zero], [f"{weight}d"]),
            helper.make_node("MatMul", [f"{quantised}d", f"{weight}d"], [product]),
            helper.make_node("Relu", [product], [after]),
        ]
        before = after
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", [tensors[0]], [tensors[1]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def swaps(name: str, bundles: list[Bundle], limits: Limits, count: int) -> dict[str, Any]:
    """Uses the variants in turn under half their room; a swap is giving one up and loading the other."""
    with_all = Residency(limits, 0)
    for bundle in bundles:  # the first time, packed weights are made and kept on disk
        with with_all.use(bundle):
            pass
    residency = Residency(limits, with_all.resident_bytes // 2)
    with_all.close()
    times: list[int] = []
    cpu_times: list[int] = []
    for number in range(len(bundles) + count):
        began_ns, cpu_began_ns = time.perf_counter_ns(), time.thread_time_ns()
        with residency.use(bundles[number % len(bundles)]):
            if number >= len(bundles):
                times.append(time.perf_counter_ns() - began_ns)
                cpu_times.append(time.thread_time_ns() - cpu_began_ns)
    evictions, resident = residency.counts.evictions, len(residency.residents())
    residency.close()
    # Beside the wall time the thread's CPU time: on a machine that others use too, the one that can be compared.
    cpu_ms = round(Samples(tuple(cpu_times)).percentile_ms(50), 4)
    row = Samples(tuple(times)).row()
    return {"backend": name, "resident": resident, "evictions": evictions, **row, "cpu_p50_ms": cpu_ms}


def memory(bundles: list[Bundle], limits: Limits) -> dict[str, float]:
    """Returns the resident set in MiB before, with all variants in memory and used, and after."""
    before = rss_MiB()
    residency = Residency(limits, 0)
    for bundle in bundles:
        with residency.use(bundle) as model:
            assert model.start({"x": np.ones((ROWS, WIDTH), np.float32)}).step(None) is StepResult.DONE
    resident, told = rss_MiB(), residency.resident_bytes / 2**20
    residency.close()
    return {"before_MiB": before, "resident_MiB": resident, "counted_MiB": round(told, 1), "after_MiB": rss_MiB()}


def deadlines(bundles: list[Bundle], limits: Limits, lanes: int, seconds: float) -> dict[str, Any]:
    """One session a variant, then as many sessions as are admitted, each kept up for `seconds`."""
    residency = Residency(limits, 0)
    models: dict[tuple[int, int], Model] = {}
    for lane in range(lanes):
        for variant, bundle in enumerate(bundles):
            with residency.use(bundle, lane=lane) as model:
                residency.pin(bundle, lane=lane)
                models[lane, variant] = model
    feed = {"x": np.random.default_rng(0).standard_normal((ROWS, WIDTH), dtype=np.float32)}

    def compute(model: Hashable, payloads: list[int], pacer: Pacer) -> list[Any]:
        assert isinstance(model, tuple)
        for _ in payloads:
            models[model].start(feed).step(None)
        return payloads

    def work(lane: int) -> int:
        models[lane, 0].start(feed).step(None)
        return OPERATIONS

    device = calibrate(lanes, work, rounds=15)
    cost_ms = OPERATIONS / device.int8_GOPs / 1e6
    demand = Demand(PERIOD_MS, PERIOD_MS, bytes_read=LAYERS * WIDTH * WIDTH, operations=OPERATIONS)
    admission = Admission(device)
    placed = [admission.admit(f"session-{number}", demand) for number in range(VARIANTS)]
    twenty = keep_up(placed, lanes, compute, cost_ms, seconds)
    refused = ""
    while not refused and len(placed) < 2000:
        try:
            placed.append(admission.admit(f"session-{len(placed)}", demand))
        except AdmissionRefused as error:
            refused = error.message
    full = keep_up(placed, lanes, compute, cost_ms, seconds)
    residency.close()
    return {
        "device": {"lanes": lanes, "read_GBps": round(device.read_GBps, 2), "int8_GOPs": round(device.int8_GOPs, 1)},
        "decision_ms": round(cost_ms, 2),
        "sessions_20": twenty,
        "sessions_full": full,
        "refused": refused,
    }


def keep_up(placed: list[int], lanes: int, compute: Any, cost_ms: float, seconds: float) -> dict[str, Any]:
    """Has every session ask once a period, at its own moment of it, for `seconds`; returns what was kept."""
    scheduler: Scheduler[int] = Scheduler(lanes, compute, lambda model, count: int(cost_ms * count * 1e6))
    period_ns = int(PERIOD_MS * 1e6)
    begin_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10_000_000
    events = sorted(
        (begin_ns + period_ns * session // len(placed) + period_ns * turn, session)
        for session in range(len(placed))
        for turn in range(max(1, int(seconds * 1000 / PERIOD_MS)))
    )
    futures = []
    for at_ns, session in events:
        wait_s = (at_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9
        if wait_s > 0:
            time.sleep(wait_s)
        lane, variant = placed[session], session % VARIANTS
        futures.append(scheduler.submit(lane, str(session), (lane, variant), session, at_ns + period_ns))
    for future in futures:
        future.result(60)
    scheduler.close()
    kept = scheduler.punctuality
    return {
        "sessions": len(placed),
        "decisions": kept.decisions,
        "misses": kept.misses,
        "miss_rate": round(kept.misses / kept.decisions, 5),
        "latest_ms": round(max(kept.late_ns, default=0) / 1e6, 2),
    }


def rss_MiB() -> float:
    return round(rss_bytes() / 2**20, 1)
