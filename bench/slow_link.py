"""A desktop worked over a link of 1 Mbit/s, 80 ms and 2 % loss: is every decision made on the right pixels, once?

    desktop, in one namespace                             car, in another
    shows screen k of a recorded session   ─► TLS ─►      has screen k been put together bit for bit?
    a click: screen k + 1                  ◄─ TLS ◄─      clicks, on the condition that the pixels there are those

Both ends are the product's own (connector, remote desktop, TLS) over real TCP; the link is bench/shuttle.py's. The car
acts only on a screen that is the recorded one in every pixel: one that never came so would end the bench. A session
that falls silent for a second ends by the dead man's rule, as it must; the car comes again as the next owner and learns
from the desktop's hello what became of its last action. `refused`, `unknown`, `doubled` and `missing` must be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import machine
from bench.recording import Recording, load
from bench.shuttle import NEAR, Shape, SlowLink, can_link
from runtime.desktop.connector import serve_desktop
from runtime.desktop.errors import SessionError
from runtime.desktop.memory import MemoryDesktop, MemoryScreen, ScreenEvent
from runtime.desktop.remote import RemoteDesktop
from runtime.transport.dial import dial
from runtime.transport.errors import TransportError
from runtime.transport.identity import Identity
from runtime.wire.actions import Click, Precondition
from runtime.wire.tables import Outcome

SESSIONS = ("programs", "book-flight", "social-media")
AREA = 48  # the side of the region that an action depends on
RTT_S = 0.08
_TRIES = 200


class Replay(MemoryScreen):
    """Shows the screens of a recording one after the other: every click brings the next. `clicked` has their x."""

    def __init__(self, screens: NDArray[np.uint8]) -> None:
        super().__init__(screens.shape[2], screens.shape[1], image=screens[0])
        self._screens = screens
        self.clicked: list[int] = []

    def take(self, event: ScreenEvent) -> None:
        """Takes one event."""
        super().take(event)
        if event.kind == "press":
            self.clicked.append(self.pointer[0])
            self.pixels[:] = self._screens[min(len(self.clicked), len(self._screens) - 1)]
            self.changed()


def run(argv: list[str]) -> dict[str, Any]:
    """Returns a row a session: time and bytes of a step, what the link lost, and what went wrong (nothing must)."""
    parser = argparse.ArgumentParser(prog="python -m bench slow_link", description=__doc__)
    parser.add_argument("--sessions", default=",".join(SESSIONS), help=f"recordings, default {','.join(SESSIONS)}")
    parser.add_argument("--rate", type=float, default=1e6, help="bit/s each way (default 1e6)")
    parser.add_argument("--rtt-ms", type=float, default=RTT_S * 1e3, help="round trip without load (default 80)")
    parser.add_argument("--loss", type=float, default=0.02, help="of the packets, each way (default 0.02)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    if not can_link():
        raise SystemExit(
            "bench slow_link: needs root and /dev/net/tun, to make two namespaces with a link between them"
        )
    shape = Shape(options.rate, options.rtt_ms / 2e3, options.loss)
    rows = [work(name, shape, options.seed + at) for at, name in enumerate(options.sessions.split(","))]
    return {"rows": rows, "link": vars(shape), "machine": machine()}


def work(name: str, shape: Shape, seed: int) -> dict[str, Any]:
    """Works through one recording over a link of its own."""
    with tempfile.TemporaryDirectory() as folder, SlowLink(shape, seed) as link:
        desktop, car = (Identity.create(Path(folder) / one, one) for one in ("desktop", "car"))
        desktop.trust(car.certificate_pem)
        car.trust(desktop.certificate_pem)
        this = [sys.executable, "-m", __spec__.name]
        with subprocess.Popen(
            [*link.near, *this, "--desktop", folder, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as shown:
            assert shown.stdin is not None
            assert shown.stdout is not None
            try:
                address = shown.stdout.readline().strip()
                before = [way.carried_bytes for way in link.ways]
                done = subprocess.run(
                    [*link.far, *this, "--car", folder, address, name], stdout=subprocess.PIPE, text=True, check=True
                )
                carried = [way.carried_bytes - at for way, at in zip(link.ways, before, strict=True)]
            finally:
                shown.stdin.close()
            clicked: list[int] = json.loads(shown.stdout.readline())
        found: dict[str, Any] = json.loads(done.stdout)
        steps = int(found.pop("steps"))
        return {
            "session": name,
            "steps": steps,
            **found,
            "doubled": len(clicked) - len(set(clicked)),
            "missing": len(set(range(steps)) - set(clicked)),
            "out_of_order": clicked != sorted(clicked),
            "bytes_a_step": round(carried[0] / steps),
            "packets_lost": sum(way.lost + way.dropped for way in link.ways),
        }


class Car:
    """Works one recording, over as many sessions as the link makes necessary."""

    def __init__(self, address: str, identity: Identity, recording: Recording) -> None:
        self._address, self._identity = address, identity
        self._screens = recording.screens
        self._owner = 0
        self.at = 0  # the screen that is shown
        self.sessions = self.refused = self.unknown = 0
        self.step_s: list[float] = []

    async def work(self) -> None:
        """Returns when every screen was worked."""
        for _ in range(_TRIES):
            self._owner += 1
            try:
                stream = await dial(self._address, self._identity)
                async with await RemoteDesktop.connect(stream, job="slow", owner_epoch=self._owner) as remote:
                    self.sessions += 1
                    await self._session(remote)
                return
            except (SessionError, TransportError, OSError, TimeoutError, asyncio.TimeoutError):
                await asyncio.sleep(0.1)
        raise RuntimeError(f"after {_TRIES} sessions only {self.at} screens were worked")

    async def _session(self, remote: RemoteDesktop) -> None:
        applied = remote.hello.last_seq if remote.hello.last_outcome is Outcome.applied else None
        frame = await remote.next_frame(timeout_s=30)
        if applied is not None and not self._is_shown(frame.pixels) and self._is_shown(frame.pixels, self.at + 1):
            self.at += 1  # its result was lost on the way: the hello says that it was applied
        while self.at < len(self._screens) - 1:
            while not self._is_shown(frame.pixels):  # what is not yet whole is never decided on
                frame = await remote.next_frame(frame.frame_id, timeout_s=30)
            await self._step(remote)
            frame = await remote.next_frame(timeout_s=30)

    async def _step(self, remote: RemoteDesktop) -> None:
        began_s = time.monotonic()
        height, width = self._screens.shape[1:3]
        x, y = min(self.at, width - AREA), height // 2
        region = (x, y, AREA, AREA)
        result = await remote.act(Click(self.at, y), Precondition(*region, remote.hash_region(*region)))
        if result.outcome is not Outcome.applied:
            self.refused += result.outcome is Outcome.refused
            self.unknown += result.outcome is Outcome.unknown
            return
        self.at += 1
        frame = remote.frame
        while not self._is_shown(frame.pixels):
            frame = await remote.next_frame(frame.frame_id, timeout_s=30)
        self.step_s.append(time.monotonic() - began_s)

    def _is_shown(self, pixels: NDArray[np.uint8], at: int | None = None) -> bool:
        """Returns whether `pixels` are those of screen `at` (the one that should be shown), every one of them."""
        screen = self._screens[min(self.at if at is None else at, len(self._screens) - 1)]
        return pixels.shape == screen.shape and bool((pixels[..., :3] == screen[..., :3]).all())


async def _desktop(folder: str, name: str) -> None:
    """Serves the recording until stdin ends, then tells what was clicked."""
    screen = Replay(_named(name).screens)
    desktop = MemoryDesktop(screen)
    identity = Identity.load(Path(folder) / "desktop")
    serving = asyncio.create_task(
        serve_desktop(
            desktop,
            f"tls://{NEAR}:0",
            identity,
            Path(folder) / "state",
            lambda event: None,
            ready=lambda address: print(address, flush=True),
        )
    )
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    desktop.close()
    print(json.dumps(screen.clicked), flush=True)


async def _car(folder: str, address: str, name: str) -> None:
    car = Car(address, Identity.load(Path(folder) / "car"), _named(name))
    await car.work()
    times = np.asarray(car.step_s) * 1e3
    told = {
        "steps": car.at,
        "sessions": car.sessions,
        "refused": car.refused,
        "unknown": car.unknown,
        **{f"step_p{at}_ms": round(float(np.percentile(times, at)), 1) for at in (50, 90, 99)},
    }
    print(json.dumps(told), flush=True)


def _named(name: str) -> Recording:
    return next(load({name}))


if __name__ == "__main__":
    if sys.argv[1] == "--desktop":
        asyncio.run(_desktop(*sys.argv[2:4]))
    else:
        asyncio.run(_car(*sys.argv[2:5]))
