"""What a session costs besides the model: from a changed tile on a 1080p desktop to the action that answers it.

    a program paints one tile ─► damage ─► capture ─► TLS ─► the car's mirror ─► null decision
        ─► Act with a precondition on that tile ─► TLS ─► checked and injected under a server grab ─► result

Three processes as in real use: Xvfb, the connector (its watchdog beside it), the car. All times are CLOCK_BOOTTIME of
one machine. Then twenty sessions in one process (many_sessions.py), and what a step's screen takes beside raw pixels
and RFB's Tight (session_bytes.py). Run: `python -m bench session --json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xcffib
import xcffib.xproto

from bench.many_sessions import many_row
from bench.measure import machine
from bench.session_bytes import bytes_rows
from kernels.gate.word import boottime_ns
from runtime.desktop.remote import RemoteDesktop
from runtime.desktop.serve import serve_display
from runtime.evaluation.xserver import XServer
from runtime.transport.dial import dial
from runtime.transport.identity import Identity
from runtime.wire.actions import Click, Precondition
from runtime.wire.tables import Outcome

WIDTH, HEIGHT = 1920, 1080
TILE_X, TILE_Y, TILE = 640, 512, 64
_untyped: Any = xcffib


class Painter:
    """A program on the desktop that changes one tile at a time."""

    def __init__(self, display: str) -> None:
        self._connection = _untyped.Connection(display)
        core = self._core = self._connection.core
        screen = self._connection.setup.roots[0]
        self._window, self._gc = self._connection.generate_id(), self._connection.generate_id()
        mask = xcffib.xproto.CW.BackPixel
        core.CreateWindow(0, self._window, screen.root, 0, 0, WIDTH, HEIGHT, 0, 1, 0, mask, [0xE0E0E0])
        core.MapWindow(self._window)
        self._hidden = self._connection.generate_id()
        core.CreatePixmap(screen.root_depth, self._hidden, screen.root, TILE, TILE)
        core.CreateGC(self._gc, self._window, 0, [])
        core.GetInputFocus().reply()
        self._random = np.random.default_rng(7)

    def paint(self) -> None:
        """Shows something like a line of text in the tile, at once: forty dark boxes on a light ground."""
        boxes = self._random.integers(0, TILE - 6, (40, 2))
        rectangle: Any = xcffib.xproto.RECTANGLE.synthetic
        self._core.ChangeGC(self._gc, xcffib.xproto.GC.Foreground, [0xFFFFFF])
        self._core.PolyFillRectangle(self._hidden, self._gc, 1, [rectangle(0, 0, TILE, TILE)])
        self._core.ChangeGC(self._gc, xcffib.xproto.GC.Foreground, [int(self._random.integers(0, 0x808080))])
        dark = [rectangle(int(x), int(y), 5, 3) for x, y in boxes]
        self._core.PolyFillRectangle(self._hidden, self._gc, len(dark), dark)
        self._core.CopyArea(self._hidden, self._window, self._gc, 0, 0, TILE_X, TILE_Y, TILE, TILE)
        self._connection.flush()

    def close(self) -> None:
        """Ends the program."""
        self._connection.disconnect()


async def measure(address: str, identity: Identity, painter: Painter, steps: int) -> list[dict[str, float]]:
    """Returns the times of `steps` steps in ms, after as many again as a quarter of them to warm up."""
    stream = await dial(address, identity)
    found: list[dict[str, float]] = []
    async with await RemoteDesktop.connect(stream, job="bench", owner_epoch=1, agent="null") as remote:
        await remote.next_frame()
        await remote.settle(quiet_ms=100, at_most_ms=1000)
        for step in range(steps + steps // 4):
            known = remote.frame.frame_id
            painted_ns = boottime_ns()
            painter.paint()
            frame = await remote.next_frame(known)
            seen_ns = boottime_ns()
            region = remote.hash_region(TILE_X, TILE_Y, TILE, TILE)
            condition = Precondition(TILE_X, TILE_Y, TILE, TILE, region)
            result = await remote.act(Click(TILE_X + 32, TILE_Y + 32), condition)
            answered_ns = boottime_ns()
            if result.outcome is not Outcome.applied:
                raise RuntimeError(f"step {step}: the action was {result.outcome.name}, reason {result.reason}")
            if step >= steps // 4:
                began_ns = frame.captured_ns
                captured_ns = began_ns + frame.capture_us * 1000
                found.append(
                    {
                        "total": (result.applied_ns - began_ns) / 1e6,
                        "capture": frame.capture_us / 1e3,
                        "transfer": (seen_ns - captured_ns) / 1e6,
                        "request": (result.received_ns - seen_ns) / 1e6,
                        "inject": (result.applied_ns - result.received_ns) / 1e6,
                        "paint_to_capture": (began_ns - painted_ns) / 1e6,
                        "paint_to_answer": (answered_ns - painted_ns) / 1e6,
                    }
                )
            await asyncio.sleep(0.002)
    return found


def summary(steps: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns p50, p90 and p99 of every time."""
    return {
        name: {f"p{p}": round(float(np.percentile([step[name] for step in steps], p)), 3) for p in (50, 90, 99)}
        for name in steps[0]
    }


def run(argv: list[str]) -> dict[str, Any]:
    """Runs the bench. Returns its JSON object: `action_ms` is the whole, `split_ms` its parts, in p50, p90, p99."""
    parser = argparse.ArgumentParser(prog="bench session", description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sessions", type=int, default=20, help="at once, in one process; 0 leaves them out")
    parser.add_argument("--seconds", type=float, default=10.0, help="that these work (default 10)")
    parser.add_argument("--no-bytes", action="store_true", help="leave out the bytes of recorded sessions")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, XServer(WIDTH, HEIGHT) as server:
        desktop = Identity.create(Path(folder) / "desktop", "desktop")
        car = Identity.create(Path(folder) / "car", "car")
        desktop.trust(car.certificate_pem)
        car.trust(desktop.certificate_pem)
        painter = Painter(server.display)
        command = [sys.executable, "-m", __spec__.name, "--connector", server.display, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as connector:
            try:
                assert connector.stdout is not None
                address = connector.stdout.readline().strip()
                steps = asyncio.run(measure(address, car, painter, options.steps))
            finally:
                connector.terminate()
                painter.close()
    found = summary(steps)
    total = found.pop("total")
    return {
        "bench": "session",
        "screen": f"{WIDTH}x{HEIGHT}",
        "changed_tiles": 1,
        "steps": len(steps),
        "rows": [{"ms": name, **values} for name, values in {"total": total, **found}.items()],
        "action_ms": total,
        "split_ms": found,
        "many": many_row(options.sessions, options.seconds) if options.sessions else None,
        "bytes": None if options.no_bytes else bytes_rows(),
        "machine": machine(),
    }


async def _connector(display: str, folder: str) -> None:
    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "listening":
            print(event["address"], flush=True)

    identity = Identity.load(Path(folder) / "desktop")
    await serve_display(display, "tls://127.0.0.1:0", identity, Path(folder) / "state", tell)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--connector"]:
        asyncio.run(_connector(*sys.argv[2:4]))
    else:
        print(json.dumps(run(sys.argv[1:]), indent=2))
