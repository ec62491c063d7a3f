"""The gate: edge on the bus to gate word, the cost of polling it, of deciding and decoding, and the governor's gain.

    .venv/bin/python -m bench gate [--edges N] [--no-bus] [--json]

The edge is measured over a real bridge process that listens to CAN over multicast, in a network namespace of its own
(`unshare -rn`; where that is not allowed the part is left out and says so): from just before the frame that selects
Drive is handed to the kernel until the gate word is seen closed. The frame's own time on a 500 kbit/s bus, about
0.25 ms, is not in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import Samples
from bench.parked_car import ROOT, Bus, bridge_process, cpu_ns, favour, in_namespace, protected, until_open, wait_open
from firmware_bridge.engine import Engine
from firmware_bridge.policy_settings import Policy
from firmware_bridge.sources.can_decode import Decoder
from firmware_bridge.sources.can_map import load_map
from firmware_bridge.sources.trace import Player
from firmware_bridge.sources.trace_file import read_trace
from firmware_bridge.thermal_model import compare
from kernels.gate.word import GateReader, boottime_ns
from kernels.gate.writer import GateWriter

_SECOND_NS = 1_000_000_000


def run(argv: list[str]) -> dict[str, Any]:
    """Returns rows (what, p50_us, p99_us), `edge_to_word`, `bridge` (CPU and memory of the process) and `governor`."""
    parser = argparse.ArgumentParser(prog="python -m bench gate")
    parser.add_argument("--edges", type=int, default=60, help="closings to measure")
    parser.add_argument("--no-bus", action="store_true", help="leave out the part that needs a network namespace")
    arguments = parser.parse_args(argv)
    rows = [_row(name, *timed) for name, timed in _in_process().items()]
    answer: dict[str, Any] = {"rows": rows}
    if not arguments.no_bus:
        answer |= _in_namespace(arguments.edges)
    gains = compare(hours=1.0)
    answer["governor"] = {
        key: {"least": min(row[key] for row in gains), "most": max(row[key] for row in gains)}  # type: ignore[type-var]
        for key in ("gain_duty", "gain_power")
    }
    return answer


def _row(name: str, samples: Samples, per: int) -> dict[str, Any]:
    return {
        "what": name,
        "p50_us": round(samples.percentile_ms(50) * 1000 / per, 3),
        "p99_us": round(samples.percentile_ms(99) * 1000 / per, 3),
    }


def _in_process() -> dict[str, tuple[Samples, int]]:
    """Thread CPU time of single parts, so that a busy machine does not count."""
    engine = Engine(Policy(), _SECOND_NS)
    player = Player(read_trace(ROOT / "runtime/demo/drive.jsonl"), _SECOND_NS, None, holds_end=True)
    readings = list(player.due(8 * _SECOND_NS))
    for reading in readings:
        engine.accept("trace", reading, reading.source_time_ns)
    clock = [9 * _SECOND_NS]

    def changed() -> None:
        clock[0] += 1000
        engine._judged = None
        engine.evaluate(clock[0])

    def unchanged() -> None:
        clock[0] += 1000
        engine.evaluate(clock[0])

    def accept() -> None:
        for reading in readings[-100:]:
            engine.accept("trace", reading, clock[0])

    decoder = Decoder(load_map("tesla_model3"))
    frames = [(0x257, False, protected(0x257, bytes([0, n % 16, 0x1F, 0, 0, 0, 0, 0]))) for n in range(100)]

    def decode() -> None:
        for frame in frames:
            list(decoder.decode(*frame, 0))

    with tempfile.TemporaryDirectory() as folder, GateWriter(Path(folder) / "gate") as writer:
        token = GateReader(writer.path).token(writer.gate_epoch)

        def poll() -> None:
            for _ in range(100):
                token.is_open()

        return {
            "decide, a signal changed": (_timed(changed), 1),
            "decide, nothing changed": (_timed(unchanged), 1),
            "take in a reading": (_timed(accept), 100),
            "decode and verify a CAN frame": (_timed(decode), 100),
            "poll the gate word from Python": (_timed(poll), 100),
        }


def _timed(call: Callable[[], None], count: int = 400) -> Samples:
    times = []
    for _ in range(count):
        begun = time.thread_time_ns()
        call()
        times.append(time.thread_time_ns() - begun)
    return Samples(tuple(times))


def _in_namespace(edges: int) -> dict[str, Any]:
    measured: dict[str, Any] = in_namespace("bench.gate", str(edges))
    return measured if "left_out" not in measured else {"edge_to_word": measured}


def _cost(pid: int, bus: Bus, *, at_rates: bool) -> dict[str, float]:
    """Returns what the bridge costs on three seconds of a steady bus; other ids than these never wake it on a real one
    (tests/systemd shows that), and multicast has no filters of the kernel's."""
    begun_ns, used_ns, frames = boottime_ns(), cpu_ns(pid), 0
    for _ in range(300):
        if at_rates:
            frames += bus.say_at_rates()
        else:
            bus.say()
            frames += 12
        time.sleep(0.01)
    elapsed_ns = boottime_ns() - begun_ns
    return {
        "cpu_share": round((cpu_ns(pid) - used_ns) / elapsed_ns, 4),
        "frames_per_s": round(frames / elapsed_ns * 1e9),
    }


def measure_edges(edges: int) -> dict[str, Any]:
    """Runs in the namespace: closes the gate `edges` times by selecting Drive; returns the times and the process."""
    times: list[int] = []
    with tempfile.TemporaryDirectory() as name, bridge_process(Path(name)) as process:
        is_uncontended = favour(process.pid)
        bus = Bus()
        reader = until_open(bus, Path(name) / "run" / "gate")
        for _ in range(edges):
            wait_open(bus, reader)
            epoch = reader.read().gate_epoch
            edge_ns = boottime_ns()
            bus.say(gear=4)
            while reader.is_open(epoch):
                time.sleep(0.00005)
            times.append(boottime_ns() - edge_ns)
        costs = {"every message at 100 Hz": _cost(process.pid, bus, at_rates=False)}
        costs["at a car's rates"] = _cost(process.pid, bus, at_rates=True)
        memory = Path(f"/proc/{process.pid}/status").read_text()
        rss_kB = int(next(line for line in memory.splitlines() if line.startswith("VmRSS")).split()[1])
        bus.close()
    samples = Samples(tuple(times))
    return {
        "edge_to_word": {"edges": edges, "is_uncontended": is_uncontended, **samples.row()},
        "bridge": {"rss_MB": round(rss_kB / 1024, 1), "cpu": costs},
    }


if __name__ == "__main__":  # inside the namespace
    print(json.dumps(measure_edges(int(sys.argv[1]))))
