"""The frame kernels on a 1080p frame beside OpenCV, Pillow and memcpy, one thread each, in one interleaved run.

Every call takes another of eight frames (66 MB together), as a new screen does not come from the cache. Times are CPU
time of the thread. Whoever can take an output buffer gets one, as a worker keeps its own (a new 700 KB array costs
0.2 ms of page faults). OpenCV and Pillow only resize; ours also normalises, quantises and makes planes, except where a
row says that they do the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.measure import Samples, interleaved, machine
from kernels.frames.arguments import active_variant, available_variants
from kernels.frames.layout import find_edges
from kernels.frames.resize import crop_resize, resize_and_hash, resize_area
from kernels.frames.runs import bounds, find_runs, label
from kernels.frames.tiles import changed_tiles, tile_hashes
from models.text_reader.screens import screen

KEY = bytes(range(16))
FRAMES = 8
SCREENS = 3
SIZES = [(360, 640), (448, 800)]
CROP_SIZE = (48, 160)

Candidates = dict[str, Callable[[int], object]]


def run(argv: list[str]) -> dict[str, Any]:
    """Returns the rows, and the ratios that are promised."""
    parser = argparse.ArgumentParser(prog="python -m bench frames")
    parser.add_argument("--rounds", type=int, default=60, help="calls of each candidate (default 60)")
    rounds = parser.parse_args(argv).rounds
    cv2.setNumThreads(1)
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (1080, 1920, 4), dtype=np.uint8) for _ in range(FRAMES)]
    rows: list[dict[str, Any]] = []
    promised: dict[str, float] = {}
    for size in SIZES:
        case = f"resize {size[1]}x{size[0]}"
        found = measure(resizes(frames, size), rounds)
        rows += table(case, found, "opencv area")
        promised[f"{case}: times OpenCV area"] = found["opencv area"].ratio_to(found["ours"])
        promised[f"{case}: with hashes / alone"] = found["ours with hashes"].ratio_to(found["ours"])
    found = measure(crops(frames, boxes(64, random)), rounds)
    rows += table("64 crops to 160x48", found, "opencv")
    promised["64 crops: times OpenCV"] = found["opencv"].ratio_to(found["ours"])
    found = measure(changes(frames), rounds)
    rows += table("changed tiles", found, "memcpy")
    promised["changed tiles / memcpy"] = found["ours"].ratio_to(found["memcpy"])
    found = measure(components(), rounds)
    rows += table("boxes of components", found, "opencv")
    promised["boxes of components: times OpenCV"] = found["opencv"].ratio_to(found["ours"])
    return {
        "rows": rows,
        "ratios": {name: round(value, 3) for name, value in promised.items()},
        "variant": active_variant(),
        "machine": machine(),
    }


def measure(candidates: Candidates, rounds: int) -> dict[str, Samples]:
    return interleaved(candidates, rounds=rounds, clock=time.thread_time_ns)


def table(case: str, found: dict[str, Samples], peer: str) -> list[dict[str, Any]]:
    return [
        {"case": case, "what": name, **samples.row(), f"times {peer}": round(found[peer].ratio_to(samples), 2)}
        for name, samples in found.items()
    ]


def resizes(frames: list[NDArray[np.uint8]], size: tuple[int, int]) -> Candidates:
    h, w = size
    copy, small = np.empty_like(frames[0]), np.empty((h, w, 4), np.uint8)
    planes = np.empty((3, h, w), np.int8)

    def ours(call: int, variant: str | None = None) -> object:
        return resize_area(frames[call % FRAMES], size, zero_point=-128, out=planes, variant=variant)

    def ours_with_hashes(call: int) -> object:
        return resize_and_hash(frames[call % FRAMES], size, KEY, zero_point=-128, out=planes)

    def opencv(call: int) -> object:
        return cv2.resize(frames[call % FRAMES], (w, h), dst=small, interpolation=cv2.INTER_AREA)

    def opencv_same_work(call: int) -> object:
        opencv(call)
        for plane, channel in zip(planes, (2, 1, 0), strict=True):
            np.bitwise_xor(small[:, :, channel], 128, out=plane.view(np.uint8))
        return planes

    def pillow(call: int) -> object:
        frame = frames[call % FRAMES]
        return Image.frombuffer("RGBX", (1920, 1080), frame, "raw", "RGBX", 0, 1).resize((w, h), Image.Resampling.BOX)

    return {
        "memcpy": lambda call: np.copyto(copy, frames[call % FRAMES]),
        "ours": ours,
        "ours with hashes": ours_with_hashes,
        "opencv area": opencv,
        "opencv area, int8 planes": opencv_same_work,
        "pillow box": pillow,
        **{f"ours, {variant}": partial(ours, variant=variant) for variant in slower_variants()},
    }


def slower_variants() -> tuple[str, ...]:
    """The variants that run here between the reference and the one that is chosen."""
    return available_variants()[1:-1]


def boxes(count: int, random: np.random.Generator) -> NDArray[np.int32]:
    """Boxes as of lines of text and buttons: 40..400 x 14..60 pixels."""
    w, h = random.integers(40, 400, count), random.integers(14, 60, count)
    x, y = random.integers(0, 1920 - w), random.integers(0, 1080 - h)
    return np.stack([x, y, w, h], axis=1).astype(np.int32)


def crops(frames: list[NDArray[np.uint8]], wanted: NDArray[np.int32]) -> Candidates:
    h, w = CROP_SIZE
    out = np.empty((len(wanted), 3, h, w), np.int8)

    def opencv(call: int) -> object:
        frame = frames[call % FRAMES]
        return [
            cv2.resize(frame[y : y + bh, x : x + bw], (w, h), interpolation=cv2.INTER_AREA) for x, y, bw, bh in wanted
        ]

    def pillow(call: int) -> object:
        image = Image.frombuffer("RGBX", (1920, 1080), frames[call % FRAMES], "raw", "RGBX", 0, 1)
        return [image.resize((w, h), Image.Resampling.BILINEAR, box=(x, y, x + bw, y + bh)) for x, y, bw, bh in wanted]

    return {
        "ours": lambda call: crop_resize(frames[call % FRAMES], wanted, CROP_SIZE, zero_point=-128, out=out),
        "opencv": opencv,
        "pillow": pillow,
    }


def changes(frames: list[NDArray[np.uint8]]) -> Candidates:
    hashes = [tile_hashes(frame, KEY) for frame in frames]
    copies = [frame.copy() for frame in frames]
    target = np.empty_like(frames[0])

    def by_numpy(call: int) -> object:
        """Exact comparison with the previous frame, which must then be kept."""
        differs = frames[call % FRAMES].view(np.uint32) != copies[call % FRAMES].view(np.uint32)
        return np.add.reduceat(np.add.reduceat(differs[..., 0], range(0, 1080, 64)), range(0, 1920, 64), axis=1) > 0

    def ours(call: int, variant: str | None = None) -> object:
        return changed_tiles(frames[call % FRAMES], hashes[call % FRAMES], KEY, variant=variant)

    return {
        "memcpy": lambda call: np.copyto(target, frames[call % FRAMES]),
        "ours": ours,
        "numpy, two frames": by_numpy,
        **{f"ours, {variant}": partial(ours, variant=variant) for variant in slower_variants()},
    }


def components() -> Candidates:
    """The box of each connected component among the edges of a screen of text and widgets, which are 0 or 1."""
    edges = [find_edges(screen(1920, 1080, seed, 150).pixels) != 0 for seed in range(SCREENS)]

    def ours(call: int) -> object:
        runs = find_runs(edges[call % SCREENS])
        return bounds(runs, label(runs))

    def opencv(call: int) -> object:
        return cv2.connectedComponentsWithStats(edges[call % SCREENS].view(np.uint8), connectivity=8)

    return {"ours": ours, "opencv": opencv}
