"""A look through the decider's network: features ─► feeds ─► run ─► chances."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.gate.word import GateToken
from runtime.agent.errors import AssetMissing
from runtime.agent.features import Floats, Look
from runtime.agent.inference import run_model
from runtime.agent.pairs import PAIRS, pairs_of
from runtime.agent.plans import Answer, answer_of
from runtime.backends.protocol import Model

TOKEN_STEP = 32  # a look is padded to a multiple of it: a backend prepares itself once for each size


@dataclass(frozen=True)
class GramTable:
    """A learned vector for every letter group: int8 (BUCKETS, d) times a scale a row. Row 0 is nothing."""

    rows: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, values: Floats) -> GramTable:
        scales = np.maximum(np.abs(values).max(axis=1), 1e-6).astype(np.float32) / 127
        return cls(np.rint(values / scales[:, None]).astype(np.int8), scales)

    @classmethod
    def read(cls, data: bytes) -> GramTable:
        """Reads the bundle's file. Raises AssetMissing when it is no such table."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return cls(file["rows"], file["scales"])
        except (ValueError, KeyError, OSError) as error:
            raise AssetMissing(f"the table of letter groups in the bundle is damaged: {error}") from error

    def summed(self, grams: NDArray[np.uint16]) -> Floats:
        """Returns (n, d): the sum of the vectors of each row of `grams` (n, k); 0 counts nothing."""
        wanted = self.rows[grams].astype(np.float32) * (self.scales[grams] * (grams > 0))[..., None]
        total: Floats = wanted.sum(axis=1)
        return total


def feeds_of(look: Look, table: GramTable) -> dict[str, Floats]:
    """Returns the network's inputs for one look: one row a token, and what each token is to each other.

    Rows past the last token are padding; the last channel of the pairs marks them.
    """
    parts = [
        look.screen.astype(np.float32)[None],
        np.concatenate((look.words.astype(np.float32), table.summed(look.word_grams)), axis=1),
        np.concatenate((look.deeds.astype(np.float32), table.summed(look.deed_grams)), axis=1),
        np.concatenate((look.boxes.astype(np.float32), table.summed(look.box_grams)), axis=1),
    ]
    wide = sum(part.shape[1] for part in parts)
    count = sum(len(part) for part in parts)
    padded = -(-count // TOKEN_STEP) * TOKEN_STEP
    tokens = np.zeros((padded, wide + len(parts)), dtype=np.float32)
    pairs = np.zeros((PAIRS + 1, padded, padded), dtype=np.float32)
    pairs_of(look, pairs[:PAIRS, :count, :count])
    pairs[PAIRS, :, count:] = 1
    row = column = 0
    for number, part in enumerate(parts):
        tokens[row : row + len(part), column : column + part.shape[1]] = part
        tokens[row : row + len(part), wide + number] = 1
        row, column = row + len(part), column + part.shape[1]
    return {"tokens": tokens[None], "pairs": pairs[None]}


def parted(outputs: list[Floats], look: Look) -> list[Floats]:
    """Returns the outputs with the rows of boxes and of words alone, for those that have one for every token."""
    whole, boxes, words, letters = outputs
    first = 1 + len(look.words) + len(look.deeds)
    return [whole, boxes[:, first : first + len(look.boxes)], words[:, 1 : 1 + len(look.words)], letters]


class Decider:
    """Answers looks with one network."""

    def __init__(self, model: Model, table: GramTable, temperature: float = 1.0) -> None:
        self._model, self._table, self._temperature = model, table, temperature

    def answer(self, look: Look, gate: GateToken | None) -> Answer:
        """Returns the chances for a look with at least one word and one box. Raises GateClosed."""
        outputs = run_model(self._model, feeds_of(look, self._table), gate)
        return answer_of(parted(outputs, look), self._temperature)
