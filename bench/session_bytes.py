"""How many bytes a step's screen takes: ours beside raw pixels and RFB's Tight, over the recorded sessions.

    ours     the frame parts of one session, at both packings (for fast and for slow links), hashes and headers included
    Tight    what TigerVNC's Xvnc sends a viewer of Tight alone, without JPEG, at its best compression (level 9), as
             the same boxes are painted on its screen
    raw      four bytes for every pixel of the changed tiles

Neither counts TCP or TLS. The first screen of a session is told apart: a step is what comes after it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import xcffib
import xcffib.xproto
from numpy.typing import NDArray

from bench.recording import Recording, load
from kernels.frames.tiles import HASH_BYTES, TILE, changed_tiles, grid
from runtime.desktop.rfb import desktop as rfb_desktop
from runtime.desktop.rfb.decode import CURSOR, TIGHT
from runtime.desktop.rfb.desktop import RfbDesktop
from runtime.wire.framing import frame
from runtime.wire.tiles import FAST, SLOW, Packing, TilePacker

_LEVEL_9 = -247  # the pseudo-encoding that asks for it
_UP_S, _SHOWN_S = 20.0, 30.0
_ROWS_BYTES = 200_000  # of one PutImage: below the core protocol's longest request
Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
_untyped: Any = xcffib


def bytes_rows() -> list[dict[str, Any]]:
    """Returns a row a kind of session: mean bytes a step of each way, and ours (slow links) against Tight."""
    taken: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
    for recording in load():
        ways = {"raw": raw(recording), "fast": ours(recording, FAST), "slow": ours(recording, SLOW)}
        if shutil.which("Xvnc"):
            ways["tight"] = tight(recording)
        taken[recording.kind].append(ways)
    return [_row(kind, sessions) for kind, sessions in taken.items()]


def _row(kind: str, sessions: list[dict[str, list[int]]]) -> dict[str, Any]:
    row: dict[str, Any] = {"sessions": kind, "steps": sum(len(one["raw"]) - 1 for one in sessions)}
    for way in sessions[0]:
        steps = [size for one in sessions for size in one[way][1:]]
        row[f"{way}_first_bytes"] = round(float(np.mean([one[way][0] for one in sessions])))
        row[f"{way}_step_bytes"] = round(float(np.mean(steps)))
    if "tight_step_bytes" in row:
        row["slow_of_tight"] = round(row["slow_step_bytes"] / row["tight_step_bytes"], 3)
        row["fast_of_tight"] = round(row["fast_step_bytes"] / row["tight_step_bytes"], 3)
        row["slow_of_tight_first"] = round(row["slow_first_bytes"] / row["tight_first_bytes"], 3)
    return row


def ours(recording: Recording, packing: Packing) -> list[int]:
    """Returns the bytes of every screen's messages in one session."""
    packer, key = TilePacker(packing), os.urandom(16)
    hashes = np.zeros((*grid(*recording.screens.shape[1:3]), HASH_BYTES), np.uint8)
    sizes = []
    for number, screen in enumerate(recording.screens, 1):
        _, hashes = changed_tiles(screen, hashes, key)
        parts = packer.parts(number, screen, hashes, captured_ns=1 << 50, capture_us=400)
        sizes.append(sum(len(frame(part)) for part in parts))
    return sizes


def raw(recording: Recording) -> list[int]:
    """Returns the bytes of every screen's changed tiles, uncompressed."""
    return [sum(w * h * 4 for _, _, w, h in tiles) for tiles in map(_changed_tiles, *_pairs(recording))]


def tight(recording: Recording) -> list[int]:
    """Returns the bytes that Xvnc sends for every screen."""
    height, width = recording.screens.shape[1:3]
    sizes = []
    with xvnc(width, height) as (display, address), closing(Painter(display, width, height)) as painter:
        with mock.patch.object(rfb_desktop, "encodings", return_value=(TIGHT, _LEVEL_9, CURSOR)):
            viewer = RfbDesktop(address)
        with closing(viewer):
            received = [0]
            read = viewer._link.read

            def counted(count: int) -> bytes:
                received[0] += count
                return read(count)

            viewer._link.read = counted  # type: ignore[method-assign]
            for before, after in zip(*_pairs(recording), strict=True):
                began = received[0]
                painter.paint(after, _tight_boxes(before, after))
                _await(lambda after=after: (viewer.capture(0).pixels[..., :3] == after[..., :3]).all(), _SHOWN_S)
                sizes.append(received[0] - began)
    return sizes


class Painter:
    """A window over the whole of `display` that shows given pixels."""

    def __init__(self, display: str, width: int, height: int) -> None:
        self._connection = _untyped.Connection(display)
        core, screen = self._connection.core, self._connection.setup.roots[0]
        self._window, self._gc = self._connection.generate_id(), self._connection.generate_id()
        mask = xcffib.xproto.CW.BackPixel
        core.CreateWindow(0, self._window, screen.root, 0, 0, width, height, 0, 1, 0, mask, [0])
        core.MapWindow(self._window)
        core.CreateGC(self._gc, self._window, 0, [])
        core.GetInputFocus().reply()

    def paint(self, pixels: Pixels, boxes: list[Box]) -> None:
        """Shows the `boxes` of `pixels`, together."""
        core = self._connection.core
        core.GrabServer()
        for x, y, w, h in boxes:
            rows = max(1, _ROWS_BYTES // (w * 4))
            for top in range(y, y + h, rows):
                piece = np.ascontiguousarray(pixels[top : min(top + rows, y + h), x : x + w])
                core.PutImage(2, self._window, self._gc, w, len(piece), x, top, 0, 24, piece.size, piece.tobytes())
        core.UngrabServer()
        core.GetInputFocus().reply()

    def close(self) -> None:
        """Ends the program."""
        self._connection.disconnect()


@contextmanager
def xvnc(width: int, height: int) -> Iterator[tuple[str, str]]:
    """Gives a VNC server's X display and address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = ["Xvnc", f":{port}", "-geometry", f"{width}x{height}", "-depth", "24", "-rfbport", str(port)]
    command += ["-SecurityTypes", "None", "-localhost", "yes", "-AlwaysShared"]
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(command, env={**os.environ, "HOME": home}, stderr=subprocess.DEVNULL)
        try:
            _await(lambda: Path(f"/tmp/.X11-unix/X{port}").exists() and _listens(port), _UP_S)
            yield f":{port}", f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _pairs(recording: Recording) -> tuple[list[Pixels], list[Pixels]]:
    """Returns every screen and the one before it; a session begins on a black one."""
    screens = list(recording.screens)
    return [np.zeros_like(screens[0]), *screens[:-1]], screens


def _changed_tiles(before: Pixels, after: Pixels) -> list[Box]:
    height, width = after.shape[:2]
    boxes = [
        (x, y, min(TILE, width - x), min(TILE, height - y))
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    ]
    return [(x, y, w, h) for x, y, w, h in boxes if (before[y : y + h, x : x + w] != after[y : y + h, x : x + w]).any()]


def _tight_boxes(before: Pixels, after: Pixels) -> list[Box]:
    """Returns the bounding box of what changed in every tile: what a program would have drawn, no more."""
    found = []
    for x, y, w, h in _changed_tiles(before, after):
        rows, columns = np.nonzero((before[y : y + h, x : x + w] != after[y : y + h, x : x + w]).any(axis=2))
        top, left = int(rows.min()), int(columns.min())
        found.append((x + left, y + top, int(columns.max()) - left + 1, int(rows.max()) - top + 1))
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await(condition: Any, at_most_s: float) -> None:
    until_s = time.monotonic() + at_most_s
    while not condition():
        if time.monotonic() > until_s:
            raise TimeoutError(f"the VNC server did not show it within {at_most_s:g} s")
        time.sleep(0.005)
