"""The small reader: many lines at once are read as each alone, content is read once, a closed gate loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.frames.boxes import contrast
from kernels.gate.word import GateClosed, GateToken
from runtime.agent.geometry import Box
from runtime.agent.recognition import Reading
from runtime.agent.small_reader import SmallReader
from runtime.agent.strips import MARGIN, strip
from runtime.backends.protocol import StepResult
from runtime.store.manifest import TensorSpec

ALPHABET = " abc"
CLASSES = len(ALPHABET) + 1


class Network:
    """Made up: the class of a column hangs on how much ink is in it. Counts its runs; the gate closes after `most`."""

    inputs = (TensorSpec("strips", ("n", 1, 24, "w"), "float32"),)
    outputs = (TensorSpec("columns", ("n", 2 * CLASSES, 1, "h"), "float32"),)
    resident_bytes = stop_bound_us = 0
    keeps_progress = False

    def __init__(self, most: int = 10_000) -> None:
        self.runs, self.most = 0, most

    def set_threads(self, threads: int) -> None: ...

    def close(self) -> None: ...

    def start(self, feeds: Mapping[str, NDArray[Any]]) -> NetworkRun:
        ink = feeds["strips"][0, 0].sum(axis=0)
        chosen = np.round(ink * 3).astype(np.int64) % CLASSES
        logits = np.random.default_rng(len(ink)).random((len(ink), CLASSES)).astype(np.float32)
        logits[np.arange(len(ink)), chosen] += 3
        return NetworkRun(self, logits.reshape(-1, 2, CLASSES).transpose(1, 2, 0).reshape(1, 2 * CLASSES, 1, -1))


class NetworkRun:
    def __init__(self, network: Network, columns: NDArray[np.float32]) -> None:
        self._network, self._columns = network, columns

    def step(self, gate: GateToken | None) -> StepResult:
        self._network.runs += 1
        return StepResult.DONE if self._network.runs <= self._network.most else StepResult.PREEMPTED

    def outputs(self) -> dict[str, NDArray[Any]]:
        return {"columns": self._columns}


def screen() -> tuple[NDArray[np.uint8], list[Box]]:
    rng = np.random.default_rng(4)
    pixels = np.full((300, 400, 4), 230, np.uint8)
    boxes = [Box(5, 5 + 30 * row, int(rng.integers(2, 380)), int(rng.integers(2, 28))) for row in range(9)]
    for x, y, w, h in boxes:
        pixels[y : y + h, x : x + w] -= (rng.random((h, w, 1)) < 0.4).astype(np.uint8) * 200
    return pixels, [*boxes, boxes[2], Box(0, 0, 0, 5)]


def plainly(pixels: NDArray[np.uint8], box: Box) -> Reading:
    """One line: its best path, character by character."""
    whole = box.grown(1, pixels.shape[1], pixels.shape[0])
    ink = contrast(pixels[whole.y : whole.bottom, whole.x : whole.right])
    made = strip(ink[box.y - whole.y :, box.x - whole.x :][: box.h, : box.w])
    network = Network()
    logits = network.start({"strips": made[None, None].astype(np.float32) / np.float32(255)}).outputs()["columns"][0]
    columns = logits.reshape(2, CLASSES, -1).transpose(2, 0, 1).reshape(-1, CLASSES)
    best, text, places, rows = columns.argmax(axis=1), "", [], []
    width = max(1, int(np.flatnonzero(made.any(axis=0))[-1]) + 1 - MARGIN) if made.any() else 1
    for step, chosen in enumerate(best.tolist()):
        if chosen and (step == 0 or best[step - 1] != chosen):
            text += ALPHABET[chosen - 1]
            places.append(min(1.0, max(0.0, (step + 0.5 - MARGIN) / width)))
            rows.append(columns[step])
    left, right = len(text) - len(text.lstrip()), len(text.rstrip())
    chances = np.exp(np.array(rows) - np.array(rows).max(axis=1, keepdims=True)) if rows else np.ones((1, 1))
    sure = float((chances.max(axis=1) / chances.sum(axis=1)).mean()) if rows else 0.0
    return Reading(text.strip(), tuple(places[left : max(left, right)]), sure)


def seen(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
    """What the network is shown of one line."""
    network = Network()
    shown: list[NDArray[np.float32]] = []
    start = network.start
    network.start = lambda feeds: (shown.append(feeds["strips"][0, 0]), start(feeds))[1]  # type: ignore[method-assign]
    SmallReader(network, ALPHABET).read(pixels, box, None)
    (strip_,) = shown
    return strip_[:, MARGIN : MARGIN + box.w]


def test_a_sign_that_is_all_ink_stands_out_from_what_is_around_it() -> None:
    pixels = np.full((20, 30, 4), 240, np.uint8)
    pixels[10, 8:14] = 40
    shown = seen(pixels, Box(8, 10, 6, 1))
    assert (shown.max(axis=0) == 1).all()


def test_where_the_ground_runs_from_one_colour_to_another_ink_stays_ink() -> None:
    pixels = np.empty((20, 30, 4), np.uint8)
    pixels[...] = (232 + np.arange(20) // 2)[:, None, None]  # a button's face: no shade as common as the ink
    pixels[5:15, 10:12] = pixels[5:7, 8:14] = 46
    shown = seen(pixels, Box(8, 5, 6, 10))
    assert (shown[7:17, 2:4] == 1).all()
    assert (shown[9:17, 4:] < 0.1).all()


def test_many_lines_are_read_as_each_alone() -> None:
    pixels, boxes = screen()
    network = Network()
    reader = SmallReader(network, ALPHABET)
    readings = reader.read_all(pixels, boxes, None)
    assert readings == [plainly(pixels, box) for box in boxes[:-1]] + [Reading("", (), 0.0)]
    assert any(reading.text for reading in readings)
    assert network.runs == 9
    moved = np.roll(pixels, 3, axis=1)
    assert reader.read_all(moved, [Box(x + 3, y, w, h) for x, y, w, h in boxes], None) == readings
    assert network.runs == 9, "what was read is known by its content, wherever it stands"


def test_what_was_read_before_the_gate_closed_stays_known() -> None:
    pixels, boxes = screen()
    network = Network(most=4)
    reader = SmallReader(network, ALPHABET)
    with pytest.raises(GateClosed):
        reader.read_all(pixels, boxes, None)
    network.most, network.runs = 100, 0
    assert reader.read_all(pixels, boxes, None) == SmallReader(Network(), ALPHABET).read_all(pixels, boxes, None)
    assert network.runs == 5
