"""Labelled looks as padded tensors, and what training changes in them so that less is learned by heart.

Words that stand on both sides are renamed on both (the letters' numbers are taken away, their likeness stays), boxes
shift, the screen is larger than what was recorded of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.screen_agent.labelled import Sample
from runtime.agent.action_kinds import KINDS
from runtime.agent.features import BOX_MORE, BOX_PLAIN_DIMS, FIRST_KINDS, Look
from runtime.agent.pairs import PAIRS, pairs_of
from runtime.agent.plans import CELLS, SLOTS

MOST_ROOM = 5.0  # times the width that was seen
_FAR = -1e4

Tensors = dict[str, torch.Tensor]


@dataclass
class Batch:
    """Padded tensors by name: the network's inputs, then the labels."""

    inputs: Tensors
    labels: Tensors


def renamed(look: Look, dice: np.random.Generator) -> Look:
    """Returns the look with the spelling of what stands on both sides, or of everything read, taken away."""
    values = vars(look).copy()
    chance = dice.random()
    if chance < 0.25:
        values["box_grams"] = np.zeros_like(look.box_grams)
    elif chance < 0.55 and look.alike.size:
        shared = look.alike[..., 1] > 0
        values["word_grams"] = np.where(shared.any(axis=1)[:, None], 0, look.word_grams)
        values["box_grams"] = np.where(shared.any(axis=0)[:, None], 0, look.box_grams)
    if dice.random() < 0.5:
        boxes = values["boxes"].astype(np.float32).copy()
        boxes[:, FIRST_KINDS : FIRST_KINDS + 2] += dice.normal(0, 0.05, 2)
        boxes[:, BOX_PLAIN_DIMS:BOX_MORE] *= dice.uniform(0.8, 1.1)
        values["boxes"] = boxes
    if dice.random() < 0.8:
        on_larger_screen(values, *np.exp(dice.uniform(0, math.log(MOST_ROOM), 2) * (1, 0.7)))
    return Look(**values)


def on_larger_screen(values: dict[str, Any], across: float, down: float) -> None:
    """Changes a look's arrays to what they would be if its screen went on, empty, to the right and below."""
    screen, boxes, deeds = (values[name].astype(np.float32) for name in ("screen", "boxes", "deeds"))
    screen[:2] *= across, down
    at, to = FIRST_KINDS, len(KINDS)
    boxes[:, at : at + 2] /= across, down
    deeds[:, to : to + 4] /= across, down, across, down
    values.update(screen=screen, boxes=boxes, deeds=deeds)


def batch_of(samples: Sequence[Sample], dice: np.random.Generator | None) -> Batch:
    """Pads samples to one size. `dice` augments them."""
    looks = [sample.look if dice is None else renamed(sample.look, dice) for sample in samples]
    words, boxes = max(len(look.words) for look in looks), max(1, max(len(look.boxes) for look in looks))
    deeds = looks[0].deeds.shape[0]
    count, total = len(looks), 1 + words + deeds + boxes
    pairs = np.zeros((count, PAIRS, total, total), dtype=np.float32)
    mask = np.full((count, 1, 1, total), _FAR, dtype=np.float32)
    targets, ends = (np.zeros((count, boxes), dtype=np.uint64) for _ in range(2))
    kinds = np.zeros((count, len(KINDS)), dtype=np.bool_)
    sources = np.zeros((count, boxes), dtype=np.bool_)
    spans = np.zeros((count, words, words), dtype=np.bool_)
    letters = np.full((count, SLOTS), -1, dtype=np.int64)
    for row, (sample, look) in enumerate(zip(samples, looks, strict=True)):
        n, m = len(look.words), len(look.boxes)
        places = [
            0,
            *range(1, 1 + n),
            *range(1 + words, 1 + words + deeds),
            *range(1 + words + deeds, 1 + words + deeds + m),
        ]
        pairs[row][:, np.array(places)[:, None], np.array(places)] = pairs_of(_wide(look))
        mask[row, 0, 0, places] = 0
        label = sample.label
        targets[row, :m], ends[row, :m], sources[row, :m] = label.targets, label.ends, label.sources
        for start, end in label.spans:
            spans[row, start, end] = True
        kinds[row, [label.kind, *label.kinds]] = True
        if label.text_from >= 0:
            letters[row, : len(label.letters)] = label.letters
            letters[row, len(label.letters) : len(label.letters) + 1] = 0
    inputs = {
        "screen": torch.from_numpy(np.stack([look.screen for look in looks])[:, None].astype(np.float32)),
        "words": _padded([look.words for look in looks], words),
        "deeds": _padded([look.deeds for look in looks], deeds),
        "boxes": _padded([look.boxes for look in looks], boxes),
        "word_grams": _padded([look.word_grams for look in looks], words).long(),
        "deed_grams": _padded([look.deed_grams for look in looks], deeds).long(),
        "box_grams": _padded([look.box_grams for look in looks], boxes).long(),
        "pairs": torch.from_numpy(pairs),
        "mask": torch.from_numpy(mask),
    }
    labels = {
        "kinds": torch.from_numpy(kinds),
        "text_from": torch.tensor([sample.label.text_from for sample in samples]),
        "targets": torch.from_numpy(_bits(targets)),
        "ends": torch.from_numpy(_bits(ends)),
        "sources": torch.from_numpy(sources),
        "spans": torch.from_numpy(spans),
        "letters": torch.from_numpy(letters),
    }
    return Batch(inputs, labels)


def _bits(cells: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Returns (b, m, CELLS) bool of (b, m): which cells are right."""
    octets = np.ascontiguousarray(cells)[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")[..., :CELLS].astype(np.bool_)


def _wide(look: Look) -> Look:
    return Look(
        **{name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in vars(look).items()}
    )


def _padded(parts: list[NDArray[Any]], size: int) -> torch.Tensor:
    made = np.zeros((len(parts), size, *parts[0].shape[1:]), dtype=np.float32)
    for row, part in enumerate(parts):
        made[row, : len(part)] = part
    return torch.from_numpy(made)
