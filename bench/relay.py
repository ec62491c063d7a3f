"""The blind relay on one core: many pairs that are silent, and some that work; the CPU, memory and time that it costs.

    busy pair:  car ─ 66 B ─► relay ─► desktop ─ 220 B ─► relay ─► car       an action, its result and a small frame
    direct:     the same exchange over one TCP link, in turn with every exchange of the first pair

The relay is a process of its own on one core; its peers run here, on the others. The links are what the relay sees: TCP
with a token before it; what it carries is noise to it (TLS, in use). Latency is a round trip here, scheduling included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import machine
from runtime.transport.relay import CALL, VERSION, WAIT, Join, Joined, read_message
from runtime.transport.stream import Stream
from runtime.transport.tcp import dial_tcp, listen_tcp
from runtime.wire.framing import frame

THERE, BACK = bytes(66), bytes(220)
_RELAY = """
import asyncio, sys
from runtime.transport.relay import RelayLimits, serve_relay
async def main():
    server, relay = await serve_relay("127.0.0.1", 0, RelayLimits(joins_a_minute=1_000_000, idle_s=600.0))
    print(server.address, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def run(argv: list[str]) -> dict[str, Any]:
    """Returns one row: what the relay used while the pairs worked, and round trips through it and beside it."""
    parser = argparse.ArgumentParser(prog="python -m bench relay")
    parser.add_argument("--idle", type=int, default=1000, help="pairs that are joined and silent (default 1000)")
    parser.add_argument("--busy", type=int, default=100, help="pairs that work (default 100)")
    parser.add_argument("--steps", type=float, default=10.0, help="steps a second of a busy pair (default 10)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long is measured (default 10)")
    options = parser.parse_args(argv)
    core = max(os.sched_getaffinity(0))
    with subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, "-c", _RELAY], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().strip().rpartition(":")[2])
            row = asyncio.run(_measure(options, port, process.pid))
        finally:
            process.kill()
    return {"rows": [row], "machine": machine()}


async def _measure(options: argparse.Namespace, port: int, pid: int) -> dict[str, Any]:
    empty_bytes = _rss_bytes(pid)
    idle = [await _pair(port) for _ in range(options.idle)]
    busy = [await _pair(port) for _ in range(options.busy)]
    server = await listen_tcp("127.0.0.1", 0, "tcp", _echo)
    direct = await dial_tcp("127.0.0.1", int(server.address.rpartition(":")[2]), 5)
    echoes = [asyncio.ensure_future(_echo(desktop)) for _, desktop in busy]
    through: list[float] = []
    beside: list[float] = []
    cpu_s, began_s = _cpu_s(pid), time.monotonic()
    until_s = began_s + options.seconds
    works = [_work(car, until_s, number / options.busy, options.steps, through) for number, (car, _) in enumerate(busy)]
    await asyncio.gather(*works, _work(direct, until_s, 0.0, options.steps * 10, beside))
    wall_s = time.monotonic() - began_s
    row = {
        "idle_pairs": options.idle,
        "busy_pairs": options.busy,
        "steps_per_s": round(len(through) / wall_s, 1),
        "cpu_share_pct": round(100 * (_cpu_s(pid) - cpu_s) / wall_s, 1),
        "rss_MB": round(_rss_bytes(pid) / 1e6, 1),
        "bytes_a_pair": (_rss_bytes(pid) - empty_bytes) // max(1, options.idle + options.busy),
        **_percentiles("relay", through),
        **_percentiles("direct", beside),
    }
    row["added_p50_us"] = round(row["relay_p50_us"] - row["direct_p50_us"], 1)
    row["added_p99_us"] = round(row["relay_p99_us"] - row["direct_p99_us"], 1)
    for echo in echoes:
        echo.cancel()
    await asyncio.gather(*echoes, return_exceptions=True)
    for stream in (direct, *(end for pair in (*idle, *busy) for end in pair)):
        stream.close()
    await server.close()
    return row


async def _pair(port: int) -> tuple[Stream, Stream]:
    """Returns the car's and the desktop's end of a pair that the relay has joined."""
    token = os.urandom(32)
    ends = []
    for side in (WAIT, CALL):
        stream = await dial_tcp("127.0.0.1", port, 5)
        await stream.send(frame(Join(VERSION, side, token)))
        ends.append(stream)
        await asyncio.sleep(0.002)  # the desktop is there before its car calls
    for stream in ends:
        message, _ = await read_message(stream, b"")
        if not isinstance(message, Joined):
            raise RuntimeError(f"the relay answered {message}")
    desktop, car = ends
    return car, desktop


async def _echo(stream: Stream) -> None:
    while await stream.receive():
        await stream.send(BACK)


async def _work(stream: Stream, until_s: float, phase: float, steps_per_s: float, took_us: list[float]) -> None:
    await asyncio.sleep(phase / steps_per_s)
    while (began_s := time.monotonic()) < until_s:
        await stream.send(THERE)
        left = len(BACK)
        while left > 0:
            data = await stream.receive()
            if not data:
                raise RuntimeError("the relay ended a pair")
            left -= len(data)
        took_us.append((time.monotonic() - began_s) * 1e6)
        await asyncio.sleep(max(0.0, began_s + 1 / steps_per_s - time.monotonic()))


def _percentiles(name: str, took_us: list[float]) -> dict[str, float]:
    return {f"{name}_p{at}_us": round(float(np.percentile(took_us, at)), 1) for at in (50, 99)}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
