"""One step of the trained agent, part by part: layout, reading, features, decision; on the native backend and its peer.

A small page is looked at anew and after a change of one line; a 1080p screen after a tenth of it changed. Every step is
also taken with onnxruntime, in the same run, and the decisions are compared. One thread, its CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.ocr import BUNDLE, install
from kernels.frames.tiles import tile_hashes
from models.text_reader.screens import screen
from runtime.agent.blocks import BlockFinder
from runtime.agent.contents import ByTiles
from runtime.agent.deciding import Decider, GramTable
from runtime.agent.deeds import Memory, keys_of
from runtime.agent.elements import ElementFinder, readable
from runtime.agent.features import look_of
from runtime.agent.instruction_words import words_of
from runtime.agent.plans import Plan, plan_of
from runtime.agent.screen_agent import DECIDER, READER, SETTINGS, TABLE, Settings
from runtime.agent.small_reader import SmallReader
from runtime.backends.protocol import Limits, make_backend
from runtime.desktop.frame import Frame
from runtime.store.bundle import Bundle

AGENT_BUNDLE = BUNDLE.with_name("screen_agent.ihb")
INSTRUCTION = 'Enter "Anna" into the text field, select Archive and press Submit.'
_KEY = bytes(16)
T = TypeVar("T")
Pixels = NDArray[np.uint8]


class Steps:
    """The agent's parts on one backend, with the time that each takes."""

    def __init__(self, bundle: Bundle, backend: str) -> None:
        made = make_backend(backend)
        settings = msgspec.json.decode(bundle.path(SETTINGS).read_bytes(), type=Settings)
        self._alphabet = settings.alphabet
        self.reader = SmallReader(made.load(bundle, Limits(), READER), settings.alphabet)
        table = GramTable.read(bundle.path(TABLE).read_bytes())
        self.decider = Decider(made.load(bundle, Limits(), DECIDER), table, settings.temperature)
        self.finder, self.elements = BlockFinder(), ElementFinder()
        self.crcs: ByTiles[int] = ByTiles()
        self.ms: dict[str, float] = {}

    def step(self, frame: Frame, memory: Memory) -> Plan:
        """Takes one step and leaves its times in `ms`."""
        self.ms = {}
        layout = self._timed("layout", lambda: self.finder.find(frame))
        blocks = readable(layout)
        boxes = [block.box for block in blocks]
        readings = self._timed("reading", lambda: self.reader.read_all(frame.pixels, boxes, None, frame.hashes))
        elements = self._timed("elements", lambda: self.elements.find(frame.pixels, layout, blocks, readings))
        keys = self._timed("keys", lambda: keys_of(frame.pixels, elements, None, frame.hashes, self.crcs))
        look = self._timed("features", lambda: look_of(frame.pixels, elements, INSTRUCTION, memory, keys))
        answer = self._timed("decider", lambda: self.decider.answer(look, None))
        words = words_of(INSTRUCTION)
        return self._timed("plan", lambda: plan_of(answer, elements, words, INSTRUCTION, self._alphabet))

    def forget(self) -> None:
        self.finder, self.elements = BlockFinder(), ElementFinder()
        self.crcs.clear()
        self.reader.forget()

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        began = time.thread_time()
        made = work()
        self.ms[name] = 1000 * (time.thread_time() - began)
        return made


def run(argv: list[str]) -> dict[str, Any]:
    """Returns a row a case and backend: p50 and p95 of a step and the p50 of its parts, in milliseconds."""
    parser = argparse.ArgumentParser(prog="python -m bench agent")
    parser.add_argument("--rounds", type=int, default=30, help="steps of a case (default 30)")
    chosen = parser.parse_args(argv)
    times: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    same = total = 0
    with tempfile.TemporaryDirectory(prefix="idlehands-bench-") as folder:
        bundle = install(Path(folder), AGENT_BUNDLE)
        both = {name: Steps(bundle, name) for name in ("native", "onnxruntime")}
        for number in range(chosen.rounds):
            for case, frames in cases(number).items():
                plans = {}
                for name, steps in both.items():
                    steps.forget()
                    for frame in frames:
                        plans[name] = steps.step(frame, Memory())
                    times[case, name].append(steps.ms)
                total += 1
                same += plans["native"].action == plans["onnxruntime"].action
    rows = [_row(case, name, found) for (case, name), found in times.items()]
    return {"rows": rows, "equal decisions": f"{same} of {total}", "threads": 1}


def cases(number: int) -> dict[str, list[Frame]]:
    """Returns the frames of each case; the last one is measured."""
    small, large = screen(320, 210, 100 + number, 16).pixels, screen(1920, 1080, 200 + number % 3, 150).pixels
    other = screen(320, 210, 300 + number, 16).pixels
    changed = small.copy()
    changed[120:150] = other[120:150]
    patched = large.copy()
    height, width = large.shape[0] * 3 // 10, large.shape[1] // 3
    patched[100 : 100 + height, 200 : 200 + width] = screen(width, height, 400 + number, 40).pixels
    return {
        "small page, new": [_frame(small, 1)],
        "small page, a line changed": [_frame(small, 1), _frame(changed, 2)],
        "1080p, a tenth changed": [_frame(large, 1), _frame(patched, 2)],
    }


def _frame(pixels: Pixels, number: int) -> Frame:
    hashes = tile_hashes(pixels, _KEY)
    return Frame(number, pixels, np.ones(hashes.shape[:2], dtype=np.bool_), hashes, 0, 0)


def _row(case: str, name: str, found: list[dict[str, float]]) -> dict[str, Any]:
    sums = sorted(sum(one.values()) for one in found)
    parts = {f"{part}_ms": round(statistics.median(one[part] for one in found), 2) for part in found[0]}
    p95 = sums[min(len(sums) - 1, int(0.95 * len(sums)))]
    return {
        "case": case,
        "backend": name,
        "p50_ms": round(statistics.median(sums), 2),
        "p95_ms": round(p95, 2),
        **parts,
    }
