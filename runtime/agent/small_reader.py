"""Reads many lines at once with the small reader of a screen agent's bundle: strips ─► characters with their places.

What was read is kept by content, so an unchanged line costs a hash.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.frames.boxes import contrast, names
from kernels.gate.word import GateToken
from runtime.agent.contents import ByTiles, ContentCache
from runtime.agent.geometry import Box
from runtime.agent.inference import run_model
from runtime.agent.recognition import Reading
from runtime.agent.strips import MARGIN, strip
from runtime.backends.protocol import Model

_EMPTY = Reading("", (), 0.0)
_GROUND = 1  # pixels around a line that show its ground: a minus is all ink


class SmallReader:
    """Reads lines with one recogniser. `alphabet[k]` is the character of the network's class k + 1; 0 is nothing."""

    def __init__(self, model: Model, alphabet: str) -> None:
        self._model = model
        self._alphabet = alphabet
        self._input = model.inputs[0].name
        self._readings: ContentCache[Reading] = ContentCache(8192)
        self._names: ByTiles[bytes] = ByTiles()
        self._secret = secrets.token_bytes(16)  # of the names of contents: a page cannot make two of one name

    def read(self, pixels: NDArray[np.uint8], box: Box, gate: GateToken | None) -> Reading:
        """Returns what stands at `box` of BGRX `pixels` (h, w, 4). Raises GateClosed."""
        return self.read_all(pixels, [box], gate)[0]

    def read_all(
        self,
        pixels: NDArray[np.uint8],
        boxes: Sequence[Box],
        gate: GateToken | None,
        hashes: NDArray[np.uint8] | None = None,
    ) -> list[Reading]:
        """Returns what stands at each of `boxes`. Raises GateClosed; what was read until then stays known.

        With the `hashes` of the frame's tiles, a box whose tiles are as they were the last time is not even named anew.
        """
        height, width = pixels.shape[:2]
        around = [box.grown(_GROUND, width, height) for box in boxes]
        if hashes is None:
            keys = names(pixels, around, self._secret, gate)
        else:
            keys = self._names.of(hashes, around, lambda fresh: names(pixels, fresh, self._secret, gate))
        fresh: list[tuple[bytes, NDArray[np.uint8]]] = []
        found = {key: reading for key in keys if (reading := self._readings.get(key)) is not None}
        for key, box, whole in zip(keys, boxes, around, strict=True):
            if key in found or not box.area:
                continue
            found[key] = _EMPTY
            ink = contrast(pixels[whole.y : whole.bottom, whole.x : whole.right], gate)
            down, across = box.y - whole.y, box.x - whole.x
            fresh.append((key, strip(ink[down : down + box.h, across : across + box.w])))
        read: list[tuple[bytes, NDArray[np.uint8], NDArray[np.float32]]] = []
        try:
            for key, made in sorted(fresh, key=lambda pair: pair[1].shape[1]):  # of one width, one after the other
                read.append((key, made, self._run(made, gate)))
        finally:
            if read:
                readings = _decoded([logits for _, _, logits in read], [made for _, made, _ in read], self._alphabet)
                for (key, _, _), reading in zip(read, readings, strict=True):
                    found[key] = reading
                    self._readings.put(key, reading)
        return [found.get(key, _EMPTY) for key in keys]

    def forget(self) -> None:
        self._readings.clear()
        self._names.clear()

    def _run(self, made: NDArray[np.uint8], gate: GateToken | None) -> NDArray[np.float32]:
        """Returns the logits (columns, classes) of one strip.

        Strips go alone: together they gain nothing on a CPU, and every number of strips of every width would be a plan
        of its own.
        """
        feed = made[None, None].astype(np.float32) / np.float32(255)
        logits = run_model(self._model, {self._input: feed}, gate)[0][0]
        classes, half = logits.shape[0] // 2, logits.shape[-1]
        columns: NDArray[np.float32] = logits.reshape(2, classes, half).transpose(2, 0, 1).reshape(2 * half, classes)
        return columns


def _decoded(logits: list[NDArray[np.float32]], strips: list[NDArray[np.uint8]], alphabet: str) -> list[Reading]:
    """Returns the best paths of several lines. Places are fractions of a line's width, without the strip's margins."""
    together = np.concatenate(logits)
    starts = np.cumsum([0, *(len(one) for one in logits)])
    best = together.argmax(axis=1)
    fresh = np.ones(len(best), dtype=np.bool_)
    fresh[1:] = best[1:] != best[:-1]
    fresh[starts[:-1]] = True
    steps = np.flatnonzero(fresh & (best != 0))
    rows = together[steps]
    chances = np.exp(rows - rows.max(axis=1, keepdims=True))
    sure = chances.max(axis=1) / chances.sum(axis=1)
    letters = [alphabet[place - 1] for place in best[steps].tolist()]
    bounds = np.searchsorted(steps, starts).tolist()
    made = []
    for start, first, last, one in zip(starts[:-1].tolist(), bounds[:-1], bounds[1:], strips, strict=True):
        filled = np.flatnonzero(one.any(axis=0))
        width = max(1, int(filled[-1]) + 1 - MARGIN) if len(filled) else 1
        places = [min(1.0, max(0.0, (step - start + 0.5 - MARGIN) / width)) for step in steps[first:last].tolist()]
        text = "".join(letters[first:last])
        certainty = float(sure[first:last].mean()) if last > first else 0.0
        left, right = len(text) - len(text.lstrip()), len(text.rstrip())
        made.append(Reading(text.strip(), tuple(places[left : max(left, right)]), certainty))
    return made
