"""Int8 graphs: the native engine beside onnxruntime and OpenVINO on the same quantised models, one thread each,
interleaved.

    python -m bench graphs [--rounds N] [--models det,rec,rec_x8,vit,gemm] [--no-load]

CPU time (the thread's own, so that a busy neighbour counts less) and wall time of one inference; % of the peaks of
vpdpbusd and of AMX tiles measured in the same run; load from nothing and from the cache; peak memory of a process
that does nothing else. OpenVINO runs in a process of its own in `.venv-peers` (`make bench-peers`) and is left out
where that is not there. Where the CPU has AMX, each engine that can be told to leave it alone is shown without it too
(`vnni`), so that the numbers compare with machines that have none.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from bench.graph_models import F32, ROOT, models
from bench.lease import LeaseGate, breathe, favoured
from bench.measure import machine
from kernels.gate import _gate
from kernels.graph import _graph
from kernels.graph.model import GraphModel, StepResult

PEERS = Path(__file__).parent.parent / ".venv-peers" / "bin" / "python"
# multiply-adds of one inference, from the models' shapes
WITHOUT_AMX = "AVX512_CORE_VNNI"  # of ONEDNN_MAX_CPU_ISA, which OpenVINO's kernels heed
GIGA_MACS = {"det": 3.28, "rec": 0.70, "rec_x8": 5.60, "vit": 0.83, "gemm": 512**3 / 1e9}

OPENVINO = """
import json, sys, time
import numpy as np, openvino as ov
core = ov.Core()
core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
requests = {}
for line in sys.stdin:
    task = json.loads(line)
    if task["do"] == "load":
        started = time.perf_counter()
        model = core.read_model(task["path"])
        model.reshape(task["shape"])
        requests[task["name"]] = core.compile_model(model, "CPU").create_infer_request()
        answer = {"load_ms": (time.perf_counter() - started) * 1e3}
    else:
        feed = np.load(task["feed"])
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        requests[task["name"]].infer({0: feed})
        answer = {"cpu_ns": time.process_time_ns() - cpu, "wall_ns": time.perf_counter_ns() - wall}
    print(json.dumps(answer), flush=True)
"""

MEMORY = """
import sys
import numpy as np

def before():  # not ru_maxrss: that is inherited from the process that started this one
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

if sys.argv[1] == "native":
    from pathlib import Path
    from kernels.graph.model import GraphModel
    start = before()
    run = GraphModel.load(sys.argv[2], cache_dir=Path(sys.argv[4])).start({"x": np.load(sys.argv[3])})
    run.step()
else:
    import onnxruntime as ort
    start = before()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    ort.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"]).run(None,
        {"x": np.load(sys.argv[3])})
print((before() - start) / 1024)
"""


class Native:
    """Our engine. One instance a model."""

    def __init__(self, path: Path, cache: Path, variant: str | None = None) -> None:
        self.model = GraphModel.load(path, cache_dir=cache, independent_batch=True, variant=variant)

    def time_ns(self, feed: F32) -> tuple[int, int]:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        run = self.model.start({"x": feed})
        if run.step() is not StepResult.DONE:
            raise AssertionError("a run without a gate was stopped")
        run.outputs()
        return time.thread_time_ns() - cpu, time.perf_counter_ns() - wall


class OnnxRuntime:
    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def time_ns(self, feed: F32) -> tuple[int, int]:
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        self.session.run(None, {"x": feed})
        return time.process_time_ns() - cpu, time.perf_counter_ns() - wall


class OpenVino:
    """OpenVINO in its own venv, spoken to by lines of JSON; feeds travel as files, outside the measured time."""

    def __init__(self, python: Path, folder: Path, isa: str = "") -> None:
        self.process = subprocess.Popen(
            [python, "-c", OPENVINO],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ({"ONEDNN_MAX_CPU_ISA": isa} if isa else {}),
        )
        self.folder = folder

    def ask(self, **task: Any) -> dict[str, Any]:
        reader, writer = self.process.stdout, self.process.stdin
        assert reader is not None
        assert writer is not None
        writer.write(json.dumps(task) + "\n")
        writer.flush()
        line = reader.readline()
        if not line:
            raise RuntimeError(f"OpenVINO's process ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def load(self, name: str, path: Path, shape: tuple[int, ...]) -> float:
        return float(self.ask(do="load", name=name, path=str(path), shape=list(shape))["load_ms"])

    def time_ns(self, name: str, feed: F32) -> tuple[int, int]:
        path = self.folder / f"{name}.npy"
        np.save(path, feed)
        answer = self.ask(do="run", name=name, feed=str(path))
        return int(answer["cpu_ns"]), int(answer["wall_ns"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def yields_us(model: GraphModel, feed: F32, samples: int = 200) -> dict[str, float]:
    """Returns how long after the lease ran out, as when the bridge dies, a run handed the core back (percentiles, us).

    Under a real-time scheduler where that is allowed: otherwise this measures how long the neighbours keep the core.
    """
    gate, late = LeaseGate(), list[float]()
    rng = np.random.default_rng(0)
    with favoured() as real_time:
        started = time.perf_counter_ns()
        whole = model.start({"x": feed})
        whole.step()
        whole_ns = time.perf_counter_ns() - started
        for _ in range(samples * 4):
            begun = time.perf_counter()
            run = model.start({"x": feed})
            until_ns = gate.open_for(int(rng.integers(20_000, max(20_001, whole_ns // 2))))
            if run.step(gate.address) is StepResult.PREEMPTED:
                late.append((_gate.boottime_ns() - until_ns) / 1e3)
            if len(late) == samples:
                break
            breathe(time.perf_counter() - begun)
    found = {f"yield_p{p}_us": round(float(np.percentile(late, p)), 1) for p in (50, 90, 99)} if late else {}
    return found | {"yield_real_time": real_time}


def product_op_pct(model: GraphModel, feed: F32, rounds: int = 30) -> float:
    """Returns what share of vpdpbusd's peak the product itself reaches, requantisation included, in % (median).

    Tiles go beyond 100.
    """
    run = model.start({"x": feed})
    run.step()
    index = model.prepare({"x": feed.shape}).labels.index("conv")
    shares = []
    for _ in range(rounds):
        started = time.thread_time_ns()
        run.run_op(index)
        shares.append(100 * 2 * GIGA_MACS["gemm"] * 1e9 / (time.thread_time_ns() - started) / _graph.peak_gops())
    return round(statistics.median(shares), 1)


def spread_ms(times_ns: list[int]) -> dict[str, float]:
    ordered = sorted(times_ns)
    last = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return {
        "p50": round(statistics.median(ordered) / 1e6, 3),
        "best": round(ordered[0] / 1e6, 3),
        "p99": round(last / 1e6, 3),
    }


def loads(path: Path, shape: tuple[int, ...]) -> dict[str, float]:
    """Returns the time to a model that is ready for `shape`: from nothing, and from the cache (best of five)."""
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(6):
            started = time.perf_counter()
            GraphModel.load(path, cache_dir=Path(folder)).prepare({"x": shape})
            times.append((time.perf_counter() - started) * 1e3)
    started = time.perf_counter()
    OnnxRuntime(path)
    return {"native_cold_ms": round(times[0], 1), "native_cached_ms": round(min(times[1:]), 2),
            "onnxruntime_ms": round((time.perf_counter() - started) * 1e3, 1)}  # fmt: skip


def peak_mb(engine: str, path: Path, feed: Path, cache: Path) -> float:
    command = [sys.executable, "-c", MEMORY, engine, str(path), str(feed), str(cache)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return round(float(found.stdout), 1)


def run(argv: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="bench graphs")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", default="det,rec,rec_x8,vit,gemm")
    parser.add_argument("--no-load", action="store_true", help="leave out load times and memory")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has openvino")
    options = parser.parse_args(argv)
    chosen = {name: found for name, found in models().items() if name in options.models.split(",")}
    cache, rows = ROOT / "packed", []
    details: dict[str, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        has_tiles = _graph.peak_tiles_gops() > 0
        vinos = {"openvino": OpenVino(options.peers, Path(folder))} if options.peers.exists() else {}
        if vinos and has_tiles:
            vinos["openvino, vnni"] = OpenVino(options.peers, Path(folder), WITHOUT_AMX)
        for name, (path, shape, feed) in chosen.items():
            native, other = Native(path, cache), OnnxRuntime(path)
            plain = Native(path, cache, "avx512_vnni") if has_tiles else None
            vino_load_ms = {engine: vino.load(name, path, shape) for engine, vino in vinos.items()}.get("openvino")
            times: dict[str, tuple[list[int], list[int]]] = {}
            peaks, tile_peaks = [], []
            for number in range(-2, options.rounds):
                one = feed(number % 3)
                found = {"native": native.time_ns(one), "onnxruntime": other.time_ns(one)}
                if plain:
                    found["native, vnni"] = plain.time_ns(one)
                found |= {engine: vino.time_ns(name, one) for engine, vino in vinos.items()}
                peaks.append(_graph.peak_gops())
                tile_peaks.append(_graph.peak_tiles_gops())
                for engine, (cpu, wall) in found.items() if number >= 0 else ():
                    times.setdefault(engine, ([], []))[0].append(cpu)
                    times[engine][1].append(wall)
            rows += rows_of(name, times, statistics.median(peaks), statistics.median(tile_peaks))
            if not options.no_load:
                details[name] = dict[str, float | None](loads(path, shape)) | {"openvino_ms": vino_load_ms}
                details[name] |= yields_us(native.model, feed(0))
                if name == "gemm":
                    details[name]["product_op_pct_of_peak"] = product_op_pct(native.model, feed(0))
                    if plain:
                        details[name]["product_op_vnni_pct_of_peak"] = product_op_pct(plain.model, feed(0))
                np.save(Path(folder) / "feed.npy", feed(0))
                for engine in ("native", "onnxruntime"):
                    details[name][f"{engine}_peak_mb"] = peak_mb(engine, path, Path(folder) / "feed.npy", cache)
        for vino in vinos.values():
            vino.close()
    peaks_now = {"vpdpbusd_gops": round(_graph.peak_gops()), "tiles_gops": round(_graph.peak_tiles_gops())}
    return {"rows": rows, "load_and_memory": details, "peaks": peaks_now, "machine": machine(), "threads": 1}


def rows_of(
    name: str, times: dict[str, tuple[list[int], list[int]]], peak_gops: float, tiles_gops: float
) -> list[dict[str, Any]]:
    """Returns a row for each engine; `times_native` is how often our median fits into this one's, `times_vnni` that of
    ours without tiles."""
    mine = statistics.median(times["native"][0])
    plain = statistics.median(times.get("native, vnni", times["native"])[0])
    rows: list[dict[str, Any]] = []
    for engine, (cpu, wall) in times.items():
        cpu_ms, wall_ms = spread_ms(cpu), spread_ms(wall)
        gops = 2 * GIGA_MACS[name] / (cpu_ms["p50"] / 1e3)
        row: dict[str, Any] = {"model": name, "engine": engine} | {
            f"cpu_{key}_ms": value for key, value in cpu_ms.items()
        }
        row |= {"wall_p50_ms": wall_ms["p50"], "wall_p99_ms": wall_ms["p99"], "gops": round(gops)}
        row["pct_of_peak"] = round(100 * gops / peak_gops, 1) if peak_gops else None
        row["pct_of_tile_peak"] = round(100 * gops / tiles_gops, 1) if tiles_gops else None
        middle = statistics.median(cpu)
        rows.append(row | {"times_native": round(middle / mine, 2), "times_vnni": round(middle / plain, 2)})
    return rows


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1:]), indent=1))
