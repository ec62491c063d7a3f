"""Many small variants at once: swapping them, giving their memory back, and deciding for all of them in time.

Twenty signed bundles of one shape (a chain of int8 matrix products, 5.2 MB and 1.03 GMAC a decision, in the order of a
small vision transformer), each with weights of its own, installed in a store of the bench's own.

swap       a budget of half of them, used in turn, so that every use gives one up and loads another
memory     what the process holds before, with all of them resident, and after they were given up
together   eight sessions of one model, each asking again at once, with and without their runs made as one (company.py)
deadlines  a session a variant at 8 times a person's speed (a decision every 331 ms), then as many as are admitted, by
           the worker's own admission, schedule and residency (runtime/daemon/lanes.py)
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from bench.chains import ROWS, WIDTH, int8_chain
from bench.company import together
from bench.measure import Samples, machine
from bench.opened import opened_gate
from kernels.gate.word import GateReader, boottime_ns
from runtime.backends.memory import rss_bytes
from runtime.backends.protocol import Feeds, Limits, StepResult
from runtime.config.config import Worker as WorkerSettings
from runtime.daemon.lanes import Lanes
from runtime.jobs.spec import JobSpec
from runtime.jobs.spec import Limits as JobLimits
from runtime.residency.admission import AdmissionRefused
from runtime.residency.calibration import measure_reading
from runtime.residency.models import Residency
from runtime.store.bundle import Bundle, pack, sign
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore

VARIANTS = 20
PERIOD_MS = 331.0  # a person's action takes 2.65 s by the keystroke-level model


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
            "together": together(Path(folder), arguments.seconds),
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
    """One session a variant, then as many sessions as are admitted, each kept up for `seconds`.

    All of it by the worker's computing half: its admission by what decisions were seen to cost, its schedule, residency
    and pace at an open gate. What it lacks of a worker is the desktops.
    """
    cache = limits.cache_folder
    assert cache is not None
    with opened_gate(cache.parent / "gate") as gate:
        settings = WorkerSettings(sessions=64, threads=lanes, memory_MiB=4096)
        device = measure_reading(lanes, rounds=15)
        half = Lanes(settings, gate, device, cache)
        feed = {"x": np.random.default_rng(0).standard_normal((ROWS, WIDTH), dtype=np.float32)}
        for bundle in bundles:  # what a decision costs is seen before it is promised
            half.warm(bundle, pin=True)
            alone = Promised(half, gate, feed, bundle, 0)
            for _ in range(5):
                alone.ask().result(60)
            half.leave(alone.job)
        promised = [Promised(half, gate, feed, bundle, number) for number, bundle in enumerate(bundles)]
        twenty = keep_up(half, promised, seconds)
        refused = ""
        while not refused and len(promised) < 2000:
            try:
                promised.append(Promised(half, gate, feed, bundles[len(promised) % VARIANTS], len(promised)))
            except AdmissionRefused as error:
                refused = error.message
        full = keep_up(half, promised, seconds)
        for one in promised:
            half.leave(one.job)
        costs = [one.cost_ms(half) for one in promised[:VARIANTS]]
        half.residency.close()
    return {
        "device": {"lanes": lanes, "read_GBps": round(device.read_GBps, 2)},
        "decision_p99_ms": round(float(np.median(costs)), 2),
        "sessions_20": twenty,
        "sessions_full": full,
        "refused": refused,
    }


class Promised:
    """A session that the worker admitted, and what it decides. Raises AdmissionRefused."""

    def __init__(self, half: Lanes, gate: GateReader, feed: Feeds, bundle: Bundle, number: int) -> None:
        self.job = f"job-{number}"
        spec = JobSpec(
            desktop="unix:/nowhere", instruction="decide", agent="bench", limits=JobLimits(action_ms=PERIOD_MS)
        )
        self._session = half.admit(self.job, spec, bundle)
        assert self._session.assets is not None
        self._model, self._gate, self._feed = self._session.assets.load("model"), gate, feed

    def ask(self) -> Future[StepResult]:
        """Has one decision made in its turn."""
        return self._session.submit(self._decide)

    def cost_ms(self, half: Lanes) -> float:
        """Returns what its decisions are taken to cost."""
        return half.demand(self._session.key, PERIOD_MS).measured_ms

    def _decide(self) -> StepResult:
        token = self._gate.token(self._gate.read().gate_epoch)
        return self._model.start(self._feed).step(token)


def keep_up(half: Lanes, promised: list[Promised], seconds: float) -> dict[str, Any]:
    """Has every session ask once a period, at its own moment of it, for `seconds`; returns what was kept."""
    before = half.punctuality
    period_ns = int(PERIOD_MS * 1e6)
    begin_ns = boottime_ns() + 10_000_000
    events = sorted(
        (begin_ns + period_ns * session // len(promised) + period_ns * turn, session)
        for session in range(len(promised))
        for turn in range(max(1, int(seconds * 1000 / PERIOD_MS)))
    )
    futures = []
    for at_ns, session in events:
        wait_s = (at_ns - boottime_ns()) / 1e9
        if wait_s > 0:
            time.sleep(wait_s)
        futures.append(promised[session].ask())
    stopped = sum(future.result(60) is not StepResult.DONE for future in futures)
    after = half.punctuality
    decisions, misses = after.decisions - before.decisions, after.misses - before.misses
    return {
        "sessions": len(promised),
        "decisions": decisions,
        "stopped": stopped,
        "misses": misses,
        "miss_rate": round(misses / max(1, decisions), 5),
        "latest_ms": round(max(after.late_ns[len(before.late_ns) :], default=0) / 1e6, 2),
    }


def rss_MiB() -> float:
    return round(rss_bytes() / 2**20, 1)
