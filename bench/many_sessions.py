"""Twenty sessions at once in one process, as a worker has them: what a step costs it, and how late it becomes.

    desktops (one process, in memory, 1080p, a connector and TLS link each) ═ 20 links ═ the car (this process)

Every session is given a step each `PACE_S` (8 × a person's pace): one tile changes, the car decides at once (a null
model), a click comes back on the condition of that tile. `cpu_us` is what the car's process spent a step.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np

from kernels.gate.word import boottime_ns
from runtime.desktop.connector import serve_desktop
from runtime.desktop.memory import MemoryDesktop, MemoryScreen, ScreenEvent
from runtime.desktop.remote import RemoteDesktop
from runtime.transport.dial import dial
from runtime.transport.identity import Identity
from runtime.wire.actions import Click, Precondition
from runtime.wire.tables import Outcome

WIDTH, HEIGHT, TILE = 1920, 1080, 64
PACE_S = 0.331


class Clicked(MemoryScreen):
    """A screen on which every click paints the tile that was clicked anew."""

    def __init__(self) -> None:
        super().__init__(WIDTH, HEIGHT)
        self._random = np.random.default_rng(1)

    def take(self, event: ScreenEvent) -> None:
        """Takes one event."""
        super().take(event)
        if event.kind == "release":
            x, y = (at // TILE * TILE for at in self.pointer)
            self.paint(x, y, TILE, TILE, tuple(self._random.integers(0, 256, 3).tolist()))


def many_row(sessions: int, seconds: float) -> dict[str, Any]:
    """Returns a row: steps made, their time from sent to the next frame, the share that was late, CPU a step."""
    with tempfile.TemporaryDirectory() as folder:
        desktop, car = (Identity.create(Path(folder) / one, one) for one in ("desktop", "car"))
        desktop.trust(car.certificate_pem)
        car.trust(desktop.certificate_pem)
        command = [sys.executable, "-m", __spec__.name, folder, str(sessions)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shown:
            assert shown.stdin is not None
            assert shown.stdout is not None
            try:
                addresses = [shown.stdout.readline().strip() for _ in range(sessions)]
                return asyncio.run(_work(addresses, car, seconds))
            finally:
                shown.stdin.close()


async def _work(addresses: list[str], car: Identity, seconds: float) -> dict[str, Any]:
    took_ms: list[float] = []
    late_ms: list[float] = []

    async def steps(remote: RemoteDesktop, number: int, until_s: float) -> None:
        due_s = time.monotonic() + PACE_S * number / len(addresses)
        while due_s < until_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            late_ms.append((time.monotonic() - due_s) * 1e3)
            due_s += PACE_S
            known, began_ns = remote.frame.frame_id, boottime_ns()
            x, y = TILE * (len(took_ms) % 29), TILE * (number % 16)
            region = (x, y, TILE, TILE)
            result = await remote.act(Click(x + 5, y + 5), Precondition(*region, remote.hash_region(*region)))
            if result.outcome is not Outcome.applied:
                raise RuntimeError(f"the action was {result.outcome.name}, reason {result.reason}")
            await remote.next_frame(known, timeout_s=60)
            took_ms.append((boottime_ns() - began_ns) / 1e6)

    async with AsyncExitStack() as held:
        remotes = []
        for number, address in enumerate(addresses):  # one after the other: a first screen is much at once
            stream = await dial(address, car)
            remote = await RemoteDesktop.connect(stream, job=f"job {number}", owner_epoch=1)
            remotes.append(await held.enter_async_context(remote))
            await remote.next_frame(timeout_s=60)
        cpu_s, until_s = time.process_time(), time.monotonic() + seconds
        await asyncio.gather(*(steps(remote, number, until_s) for number, remote in enumerate(remotes)))
        used_s = time.process_time() - cpu_s
    return {
        "sessions": len(addresses),
        "steps": len(took_ms),
        **{f"step_p{at}_ms": round(float(np.percentile(took_ms, at)), 3) for at in (50, 90, 99)},
        "late_p99_ms": round(float(np.percentile(late_ms, 99)), 3),
        "cpu_us_a_step": round(used_s * 1e6 / len(took_ms)),
        "cpu_share_pct": round(100 * used_s / seconds, 1),
    }


async def _serve(folder: str, sessions: int) -> None:
    identity, desktops = Identity.load(Path(folder) / "desktop"), [MemoryDesktop(Clicked()) for _ in range(sessions)]
    serving = [
        asyncio.create_task(
            serve_desktop(
                desktop,
                "tls://127.0.0.1:0",
                identity,
                Path(folder) / f"state{number}",
                lambda event: None,
                ready=lambda address: print(address, flush=True),
            )
        )
        for number, desktop in enumerate(desktops)
    ]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    for desktop in desktops:
        desktop.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
