"""How sure the decider may be believed: its confidence on held-out steps against how often it was right.

    held-out steps ─► plan (the running agent's own code) ─► (confidence, right) ─► reliability in ten bins
                                                                    └─► ask_below: what is less sure is mostly wrong

A look holds no texts any more, only their letter groups; two texts are the same where their groups are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch

from models.screen_agent.batches import batch_of
from models.screen_agent.labelled import Sample
from models.screen_agent.reading_texts import ALPHABET
from models.screen_agent.train_decider import right
from runtime.agent.deciding import GramTable, feeds_of, parted
from runtime.agent.elements import Element
from runtime.agent.features import Look, kind_in
from runtime.agent.geometry import Box
from runtime.agent.instruction_words import Word
from runtime.agent.plans import answer_of, plan_of

BINS = 10
RIGHT_AT_MOST = 0.1  # of the steps on which the agent asks: a guess would be wrong nine times of ten
FEWEST = 20  # steps below a threshold, to say anything about them
_BLACK = (0, 0, 0)


@dataclass(frozen=True)
class Point:
    """One held-out step: how sure the plan was, and whether it was right."""

    confidence: float
    is_right: bool


def points_of(
    session: onnxruntime.InferenceSession, table: GramTable, temperature: float, samples: Sequence[Sample]
) -> list[Point]:
    found = []
    for sample in samples:
        outputs = parted(session.run(None, feeds_of(sample.look, table)), sample.look)
        instruction, words = _stand_in(sample.look)
        plan = plan_of(answer_of(outputs, temperature), elements_in(sample.look), words, instruction, ALPHABET)
        is_right = bool(right(tuple(torch.from_numpy(output) for output in outputs), batch_of([sample], None))[0])
        found.append(Point(plan.confidence, is_right))
    return found


def elements_in(look: Look) -> list[Element]:
    """Returns elements with the kinds and boxes of a look; their texts are names of their letter groups."""
    made = []
    for box, place, grams in zip(look.boxes, look.places, look.box_grams, strict=True):
        x, y, w, h = (round(float(value) * 100) for value in place)
        kind = kind_in(box)
        text = "" if not grams.any() else "-".join(map(str, grams[grams > 0]))
        made.append(Element(kind, Box(x, y, max(1, w), max(1, h)), text, 1.0, _BLACK, _BLACK))
    return made


def _stand_in(look: Look) -> tuple[str, tuple[Word, ...]]:
    """Returns an instruction of as many words as the look's."""
    return "x " * len(look.words), tuple(Word("x", 2 * row, 2 * row + 1, False) for row in range(len(look.words)))


def reliability(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Returns a row for each tenth of confidence that has a step: how many, how sure on average, how often right."""
    rows = []
    for place in range(BINS):
        inside = [one for one in points if min(BINS - 1, int(one.confidence * BINS)) == place]
        if inside:
            rows.append(
                {
                    "from": place / BINS,
                    "to": (place + 1) / BINS,
                    "steps": len(inside),
                    "confidence": round(float(np.mean([one.confidence for one in inside])), 3),
                    "right": round(float(np.mean([one.is_right for one in inside])), 3),
                }
            )
    return rows


def calibration_error(points: Sequence[Point]) -> float:
    """Returns the mean distance of confidence from the share that was right, weighted by steps."""
    rows = reliability(points)
    total = sum(row["steps"] for row in rows)
    return sum(row["steps"] * abs(row["confidence"] - row["right"]) for row in rows) / total if total else 0.0


def ask_below(points: Sequence[Point]) -> float:
    """Returns the highest confidence below which at most RIGHT_AT_MOST of the steps were right, 0 without one."""
    ordered = sorted(points, key=lambda one: one.confidence)
    rights = np.cumsum([one.is_right for one in ordered])
    found = 0.0
    for count in range(FEWEST, len(ordered)):
        if rights[count - 1] <= RIGHT_AT_MOST * count:
            found = ordered[count].confidence
    return round(found, 3)


def spelled_out(rows: Sequence[dict[str, Any]]) -> str:
    """Returns reliability as one line for a training record: 'from-to: right of steps'."""
    return ", ".join(f"{row['from']:.1f}-{row['to']:.1f}: {row['right']:.2f} of {row['steps']}" for row in rows)
