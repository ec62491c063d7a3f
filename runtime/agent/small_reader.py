"""Reads many lines at once with the small reader of a screen agent's bundle: strips ─► characters with their places.

Lines of one width go through the network together. What was read is kept by content, so an unchanged line costs a hash.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.frames.boxes import contrast, names
from kernels.gate.word import GateToken
from runtime.agent.contents import ContentCache
from runtime.agent.geometry import Box
from runtime.agent.inference import run_model
from runtime.agent.recognition import Reading
from runtime.agent.strips import MARGIN, strip
from runtime.backends.protocol import Model

_MOST_TOGETHER = 1  # more gain nothing on a CPU, and every number of lines of every width would be planned for itself
_EMPTY = Reading("", (), 0.0)


class SmallReader:
    """Reads lines with one recogniser. `alphabet[k]` is the character of the network's class k + 1; 0 is nothing."""

    def __init__(self, model: Model, alphabet: str) -> None:
        self._model = model
        self._alphabet = alphabet
        self._input = model.inputs[0].name
        self._readings: ContentCache[Reading] = ContentCache(8192)
        self._secret = secrets.token_bytes(16)  # of the names of contents: a page cannot make two of one name

    def read(self, pixels: NDArray[np.uint8], box: Box, gate: GateToken | None) -> Reading:
        """Returns what stands at `box` of BGRX `pixels` (h, w, 4). Raises GateClosed."""
        return self.read_all(pixels, [box], gate)[0]

    def read_all(self, pixels: NDArray[np.uint8], boxes: Sequence[Box], gate: GateToken | None) -> list[Reading]:
        """Returns what stands at each of `boxes`. Raises GateClosed; what was read until then stays known."""
        keys = names(pixels, boxes, self._secret, gate)
        fresh: dict[int, list[tuple[bytes, NDArray[np.uint8]]]] = {}
        found = {key: reading for key in keys if (reading := self._readings.get(key)) is not None}
        for key, box in zip(keys, boxes, strict=True):
            crop = pixels[box.y : box.bottom, box.x : box.right]
            if key in found or not crop.size:
                continue
            found[key] = _EMPTY
            made = strip(contrast(crop, gate))
            fresh.setdefault(made.shape[1], []).append((key, made))
        for width in sorted(fresh):
            for first in range(0, len(fresh[width]), _MOST_TOGETHER):
                part = fresh[width][first : first + _MOST_TOGETHER]
                for (key, _), reading in zip(part, self._run([made for _, made in part], gate), strict=True):
                    found[key] = reading
                    self._readings.put(key, reading)
        return [found.get(key, _EMPTY) for key in keys]

    def forget(self) -> None:
        self._readings.clear()

    def _run(self, strips: list[NDArray[np.uint8]], gate: GateToken | None) -> list[Reading]:
        feed = np.stack(strips)[:, None].astype(np.float32) / np.float32(255)
        logits = run_model(self._model, {self._input: feed}, gate)[0]
        count, classes, half = len(logits), logits.shape[1] // 2, logits.shape[-1]
        columns = logits.reshape(count, 2, classes, half).transpose(0, 3, 1, 2).reshape(count, 2 * half, classes)
        return [_decoded(one, made, self._alphabet) for one, made in zip(columns, strips, strict=True)]


def _decoded(logits: NDArray[np.float32], made: NDArray[np.uint8], alphabet: str) -> Reading:
    """Returns the best path. Places are fractions of the line's width, without the strip's margins."""
    best = logits.argmax(axis=1)
    fresh = np.ones(len(best), dtype=np.bool_)
    fresh[1:] = best[1:] != best[:-1]
    steps = np.flatnonzero(fresh & (best != 0))
    text = "".join(alphabet[int(best[step]) - 1] for step in steps)
    filled = np.flatnonzero(made.any(axis=0))
    width = max(1, int(filled[-1]) + 1 - MARGIN) if len(filled) else 1
    places = [min(1.0, max(0.0, (float(step) + 0.5 - MARGIN) / width)) for step in steps]
    certainty = 0.0
    if len(steps):
        rows = logits[steps]
        chances = np.exp(rows - rows.max(axis=1, keepdims=True))
        certainty = float((chances.max(axis=1) / chances.sum(axis=1)).mean())
    start, stop = len(text) - len(text.lstrip()), len(text.rstrip())
    return Reading(text.strip(), tuple(places[start : max(start, stop)]), certainty)
