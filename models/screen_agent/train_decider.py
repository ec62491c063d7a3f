"""Trains the decider on labelled looks: batches of one size ─► loss over kinds, places, texts ─► a checkpoint.

    python -m models.screen_agent.train_decider EPISODES CACHE decider.pt --minutes 20

A task's share of a batch grows with the square root of its steps. Words that stand on both sides are renamed on both
(the letters' numbers are taken away, their likeness stays), boxes shift, the screen is larger than what was recorded of
it, and reading noise is what the reader made.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.screen_agent.decider_net import DeciderNet
from models.screen_agent.episodes import shards, tasks_in
from models.screen_agent.labelled import Sample, samples_of
from models.screen_agent.local_model import LocalModel
from models.screen_agent.reading_texts import ALPHABET
from runtime.agent.action_kinds import KINDS, POINTED
from runtime.agent.elements import ELEMENT_KINDS
from runtime.agent.features import BOX_PLAIN_DIMS, PAIRS, Look, pairs_of
from runtime.agent.plans import CELLS, SLOTS, SOURCES
from runtime.agent.small_reader import SmallReader

SEED = 20_260_002
HELD_OUT = 12  # one episode in so many is measured on, never trained on
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
        shift = dice.normal(0, 0.05, 2)
        boxes[:, 14:16] += shift
        boxes[:, BOX_PLAIN_DIMS:] *= dice.uniform(0.8, 1.1)
        values["boxes"] = boxes
    if dice.random() < 0.8:
        on_larger_screen(values, *np.exp(dice.uniform(0, math.log(MOST_ROOM), 2) * (1, 0.7)))
    return Look(**values)


def on_larger_screen(values: dict[str, Any], across: float, down: float) -> None:
    """Changes a look's arrays to what they would be if its screen went on, empty, to the right and below."""
    screen, boxes, deeds = (values[name].astype(np.float32) for name in ("screen", "boxes", "deeds"))
    screen[:2] *= across, down
    at, to = len(ELEMENT_KINDS), len(KINDS)
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
    targets, ends = (np.full((count, boxes), -1, dtype=np.int64) for _ in range(2))
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
        if label.text_from == SOURCES.index("letters"):
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
        "kind": torch.tensor([sample.label.kind for sample in samples]),
        "text_from": torch.tensor([sample.label.text_from for sample in samples]),
        "targets": torch.from_numpy(targets),
        "ends": torch.from_numpy(ends),
        "sources": torch.from_numpy(sources),
        "spans": torch.from_numpy(spans),
        "letters": torch.from_numpy(letters),
    }
    return Batch(inputs, labels)


def _wide(look: Look) -> Look:
    return Look(
        **{name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in vars(look).items()}
    )


def _padded(parts: list[NDArray[Any]], size: int) -> torch.Tensor:
    made = np.zeros((len(parts), size, *parts[0].shape[1:]), dtype=np.float32)
    for row, part in enumerate(parts):
        made[row, : len(part)] = part
    return torch.from_numpy(made)


def run(net: DeciderNet, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    """Returns the network's outputs, float32, for a batch's inputs."""

    def with_grams(name: str) -> torch.Tensor:
        ids = inputs[f"{name.rstrip('s') if name != 'boxes' else 'box'}_grams"]
        bags = net.grams(ids.reshape(-1, ids.shape[-1])).reshape(*ids.shape[:2], -1)
        return torch.cat((inputs[name], bags), 2)

    with torch.autocast(inputs["screen"].device.type, torch.bfloat16):
        outputs = net(
            inputs["screen"],
            with_grams("words"),
            with_grams("deeds"),
            with_grams("boxes"),
            inputs["pairs"],
            inputs["mask"],
        )
    return tuple(output.float() for output in outputs)


def losses(outputs: tuple[torch.Tensor, ...], batch: Batch) -> Tensors:
    """Returns the loss of each part, averaged over the samples that have that label."""
    whole, box, word, letters = outputs
    labels, deeds = batch.labels, batch.inputs["deeds"].shape[1]
    words = word.shape[1]
    far = batch.inputs["mask"][:, 0, 0]
    box_far, word_far = far[:, 1 + words + deeds :], far[:, 1 : 1 + words]
    found = {"kind": functional.cross_entropy(whole[:, 0, : len(KINDS)], labels["kind"], ignore_index=-1)}
    for place, name in enumerate(("targets", "ends")):
        valid = labels[name] >= 0
        found[name] = _any_of(box[..., place] + box_far, valid)
        cells = box[..., 3 + place * CELLS : 3 + (place + 1) * CELLS]
        if valid.any():
            found[f"{name}_cell"] = functional.cross_entropy(cells[valid], labels[name][valid])
    from_screen = labels["text_from"] == SOURCES.index("screen")
    found["sources"] = _any_of(box[..., 2] + box_far, labels["sources"] & from_screen[:, None])
    span = (word[..., 0] + word_far)[:, :, None] + (word[..., 1] + word_far)[:, None, :]
    found["spans"] = _any_of(span.flatten(1), labels["spans"].flatten(1))
    if (labels["text_from"] >= 0).any():
        found["text_from"] = functional.cross_entropy(whole[:, 0, len(KINDS) :], labels["text_from"], ignore_index=-1)
    spelled = labels["letters"] >= 0
    if spelled.any():
        found["letters"] = functional.cross_entropy(letters[spelled], labels["letters"][spelled])
    return found


def _any_of(logits: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Returns -log of the chance of all valid places together, over the rows that have one."""
    rows = valid.any(1)
    if not rows.any():
        return logits.sum() * 0
    chances = logits[rows].log_softmax(1)
    return -torch.where(valid[rows], chances, torch.full_like(chances, -1e9)).logsumexp(1).mean()


def right(outputs: tuple[torch.Tensor, ...], batch: Batch) -> torch.Tensor:
    """Returns (n,) bool: kind, target, end, source and text are all as they should be."""
    whole, box, word, letters = outputs
    labels = batch.labels
    far = batch.inputs["mask"][:, 0, 0]
    words, deeds = word.shape[1], batch.inputs["deeds"].shape[1]
    box_far, word_far = far[:, 1 + words + deeds :], far[:, 1 : 1 + words]
    good = whole[:, 0, : len(KINDS)].argmax(1) == labels["kind"]
    for place, name in enumerate(("targets", "ends")):
        valid = labels[name] >= 0
        best = (box[..., place] + box_far).argmax(1, keepdim=True)
        cell = torch.gather(box[..., 3 + place * CELLS : 3 + (place + 1) * CELLS].argmax(2), 1, best)
        good &= ~valid.any(1) | (torch.gather(labels[name], 1, best) == cell)[:, 0]
    typed = labels["text_from"] >= 0
    source = whole[:, 0, len(KINDS) :].argmax(1)
    span = (
        ((word[..., 0] + word_far)[:, :, None] + (word[..., 1] + word_far)[:, None, :])
        .flatten(1)
        .argmax(1, keepdim=True)
    )
    best = (box[..., 2] + box_far).argmax(1, keepdim=True)
    as_span = torch.gather(labels["spans"].flatten(1), 1, span)[:, 0] & (source == SOURCES.index("instruction"))
    as_box = torch.gather(labels["sources"], 1, best)[:, 0] & (source == SOURCES.index("screen"))
    spelled = ((letters.argmax(2) == labels["letters"]) | (labels["letters"] < 0)).all(1)
    as_letters = spelled & (source == SOURCES.index("letters")) & (labels["text_from"] == SOURCES.index("letters"))
    return good & (~typed | as_span | as_box | as_letters)


def score(net: DeciderNet, samples: list[Sample], batch: int = 64) -> dict[str, float]:
    """Returns the share of steps done right, by task."""
    net.eval()
    marks: dict[str, list[bool]] = defaultdict(list)
    ordered = sorted(samples, key=lambda sample: len(sample.look.boxes) + len(sample.look.words))
    with torch.inference_mode():
        for first in range(0, len(ordered), batch):
            part = ordered[first : first + batch]
            made = batch_of(part, None)
            for sample, good in zip(part, right(run(net, made.inputs), made).tolist(), strict=True):
                marks[sample.task].append(good)
    net.train()
    return {task: round(float(np.mean(good)), 3) for task, good in sorted(marks.items())}


def is_held_out(sample: Sample) -> bool:
    return zlib.crc32(f"{sample.task}/{sample.seed}".encode()) % HELD_OUT == 0


def train(
    more: Callable[[], list[Sample]], target: Path, minutes: float, batch: int = 64, most_tokens: int = 7000
) -> dict[str, Any]:
    """Trains for `minutes` of processor time in all, resumed ones included. Returns the record.

    `more` is called before each epoch and returns the samples that are new since the last call, so that training can
    begin while demonstrations are still being recorded; what it takes does not count as training.
    """
    torch.manual_seed(SEED)
    dice = np.random.default_rng(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = DeciderNet().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=2e-2, betas=(0.9, 0.98))
    spent, steps = 0.0, 0
    if target.exists():
        kept = torch.load(target, weights_only=True)
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        spent, steps = kept["spent_s"], kept["steps"]
    data = Parts()
    data.take(more())
    groups: list[list[Sample]] = []
    sums: dict[str, float] = defaultdict(float)
    began, told = time.process_time() - spent, time.process_time()
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        if not groups:
            looked = time.process_time()
            data.take(more())
            began += time.process_time() - looked
            groups = _groups(data.seen, data.weights(), dice, batch, most_tokens)
        for rate in optimiser.param_groups:
            rate["lr"] = 1e-3 * min(1, (steps + 1) / 200) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * share)))
        made = batch_of(groups.pop(), dice)
        made = Batch(
            {n: v.to(device) for n, v in made.inputs.items()}, {n: v.to(device) for n, v in made.labels.items()}
        )
        parts = losses(run(net, made.inputs), made)
        loss = sum(parts.values(), start=torch.zeros((), device=device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        steps += 1
        for name, value in parts.items():
            sums[name] += value.item() / 100
        if steps % 100 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in sums.items())
            print(f"step {steps} share {share:.2f} {shown}", flush=True)
            sums.clear()
        if time.process_time() - told > 100:
            told = time.process_time()
            _keep(target, net, optimiser, time.process_time() - began, steps)
    spent = time.process_time() - began
    _keep(target, net, optimiser, spent, steps)
    scores = score(net, data.measured)
    return {
        "seed": SEED, "steps": steps, "cpu_minutes": round(spent / 60, 1),
        "training_steps": len(data.seen), "measured_steps": len(data.measured),
        "tasks": len(data.counts), "right": round(float(np.mean(list(scores.values()) or [0])), 4), "by_task": scores,
    }  # fmt: skip


class Parts:
    """The usable samples, parted into those that are trained on and those that are measured."""

    def __init__(self) -> None:
        self.seen: list[Sample] = []
        self.measured: list[Sample] = []
        self.counts: dict[str, int] = defaultdict(int)

    def take(self, samples: Sequence[Sample]) -> None:
        for sample in filter(usable, samples):
            if is_held_out(sample):
                self.measured.append(sample)
            else:
                self.seen.append(sample)
                self.counts[sample.task] += 1

    def weights(self) -> NDArray[np.float64]:
        """Returns the chance of each sample to be drawn: a task's share grows with the root of its samples."""
        rare = np.array([1 / math.sqrt(self.counts[sample.task]) for sample in self.seen])
        chances: NDArray[np.float64] = rare / rare.sum()
        return chances


def usable(sample: Sample) -> bool:
    """Whether a sample has a kind, and a target where it needs one."""
    label = sample.label
    if label.kind < 0:
        return False
    kind = KINDS[label.kind]
    if kind in POINTED and not (label.targets >= 0).any():
        return False
    if kind == "drag" and not (label.ends >= 0).any():
        return False
    return kind != "type" or label.text_from >= 0


def _groups(
    seen: list[Sample], weights: NDArray[np.float64], dice: np.random.Generator, batch: int, most_tokens: int
) -> list[list[Sample]]:
    """Draws an epoch and parts it into batches of like sizes, in random order."""
    drawn = dice.choice(len(seen), size=min(len(seen), 20_000), p=weights)
    sizes = {index: len(seen[index].look.boxes) + len(seen[index].look.words) for index in set(drawn.tolist())}
    ordered = sorted(drawn.tolist(), key=lambda index: sizes[index] + dice.uniform(0, 6))
    groups, first = [], 0
    while first < len(ordered):
        count = max(8, min(batch, most_tokens // (sizes[ordered[min(first + batch, len(ordered)) - 1]] + 7)))
        groups.append([seen[index] for index in ordered[first : first + count]])
        first += count
    return [groups[index] for index in dice.permutation(len(groups))]


def _keep(target: Path, net: DeciderNet, optimiser: torch.optim.Optimizer, spent_s: float, steps: int) -> None:
    part = target.with_suffix(".part")
    kept = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "spent_s": spent_s, "steps": steps}
    torch.save(kept, part)
    part.replace(target)


class Looks:
    """The labelled looks of a folder of demonstrations, new ones at each call, at most about `most` steps of a task."""

    def __init__(self, episodes: Path, cache: Path, reader: SmallReader, most: int, tasks: Sequence[str] = ()) -> None:
        self._episodes, self._cache, self._reader, self._most, self._tasks = episodes, cache, reader, most, tasks
        self._known: set[Path] = set()
        self._counts: dict[str, int] = defaultdict(int)

    def __call__(self) -> list[Sample]:
        found: list[Sample] = []
        for task in self._tasks or tasks_in(self._episodes):
            for path in shards(self._episodes, task):
                if path in self._known or self._counts[task] >= self._most:
                    continue
                self._known.add(path)
                part = samples_of(path, self._cache / task / f"{path.stem}.looks", self._reader)
                self._counts[task] += len(part)
                found += part
        if found:
            print(f"{len(found)} new steps; {sum(self._counts.values())} of {len(self._counts)} tasks", flush=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--reader", type=Path, required=True, help="the reader's ONNX file")
    parser.add_argument("--minutes", type=float, default=20, help="processor time in all")
    parser.add_argument("--most", type=int, default=2500, help="steps of a task that are looked at")
    parser.add_argument("--tasks", nargs="*", default=[])
    parser.add_argument("--title", default="", help="only shown in the process list")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reader = SmallReader(LocalModel(chosen.reader), ALPHABET)
    looks = Looks(chosen.episodes, chosen.cache, reader, chosen.most, chosen.tasks)
    if chosen.minutes <= 0:
        looks()
        return
    record = train(looks, chosen.target, chosen.minutes)
    chosen.target.with_suffix(".json").write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
