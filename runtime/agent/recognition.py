"""Reads one line of text: picture ─► recogniser ─► characters with their places (CTC, best path).

The network sees the line at 48 pixels of height and tells, every 8 pixels, one of its characters or nothing. Equal
neighbours are one character; where it fired is where the character stands. What was read is kept by content.
Method: Graves et al., "Connectionist temporal classification", ICML 2006.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.agent.contents import ContentCache, content_key
from runtime.agent.geometry import Box
from runtime.agent.inference import run_model
from runtime.agent.line_image import line_image
from runtime.backends.protocol import Model

HEIGHT = 48
WIDEST = 1600  # pixels at that height: about 33 times as wide as high; a longer line is squeezed


@dataclass(frozen=True)
class Reading:
    """`places` has the centre of each character of `text` as a fraction of the width; `certainty` is in 0 … 1."""

    text: str
    places: tuple[float, ...]
    certainty: float


class Reader(Protocol):
    """What reads single lines for the rules."""

    def read(self, pixels: NDArray[np.uint8], box: Box, gate: GateToken | None) -> Reading: ...

    def forget(self) -> None: ...


class LineReader:
    """Reads lines with one recogniser. `alphabet[k]` is the character of the network's class k; class 0 is nothing."""

    def __init__(self, model: Model, alphabet: list[str]) -> None:
        self._model = model
        self._alphabet = alphabet
        self._input = model.inputs[0].name
        self._readings: ContentCache[Reading] = ContentCache(4096)

    def read(self, pixels: NDArray[np.uint8], box: Box, gate: GateToken | None) -> Reading:
        """Returns what stands at `box` of BGRX `pixels` (h, w, 4). Raises GateClosed."""
        key = content_key(pixels[box.y : box.bottom, box.x : box.right, :3])
        known = self._readings.get(key)
        if known is not None:
            return known
        image = line_image(pixels, box, HEIGHT, WIDEST)
        outputs = run_model(self._model, {self._input: image[None]}, gate)
        reading = decode(outputs[0][0], self._alphabet)
        self._readings.put(key, reading)
        return reading

    def forget(self) -> None:
        self._readings.clear()


def decode(chances: NDArray[np.float32], alphabet: list[str]) -> Reading:
    """Returns the best path through `chances` float32 (steps, classes). Full-width forms become plain ones (NFKC)."""
    best = chances.argmax(axis=1)
    fresh = np.ones(len(best), dtype=np.bool_)
    fresh[1:] = best[1:] != best[:-1]
    steps = np.flatnonzero(fresh & (best != 0))
    text, places = "", []
    for step in steps:
        for character in unicodedata.normalize("NFKC", alphabet[int(best[step])]):
            text += character
            places.append((float(step) + 0.5) / len(best))
    certainty = float(chances[steps, best[steps]].mean()) if len(steps) else 0.0
    kept = len(text) - len(text.lstrip()), len(text.rstrip())
    return Reading(text.strip(), tuple(places[kept[0] : max(kept)]), certainty)


def read_alphabet(dictionary: bytes) -> list[str]:
    """Returns the network's classes from a dictionary of one character a line: nothing first, the space last."""
    return ["", *dictionary.decode("utf-8").split("\n"), " "]
