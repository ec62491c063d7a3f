"""Trains the decider on labelled looks: batches of one size ─► loss over kinds, places, texts ─► a checkpoint.

    python -m models.screen_agent.train_decider EPISODES CACHE decider.pt --minutes 20

A task's share of a batch grows with the square root of its steps and with how often its held-out ones are wrong. What
is kept is a running mean of the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.screen_agent.batches import Batch, Tensors, batch_of
from models.screen_agent.decider_net import DeciderNet, taken_over
from models.screen_agent.episodes import shards, tasks_in
from models.screen_agent.labelled import Sample, samples_of
from models.screen_agent.local_model import LocalModel
from models.screen_agent.reading_texts import ALPHABET
from runtime.agent.action_kinds import KINDS, POINTED
from runtime.agent.plans import CELLS, SOURCES
from runtime.agent.small_reader import SmallReader

SEED = 20_260_002
HELD_OUT = 12  # one episode in so many is measured on, never trained on
RATE = 1e-3
_MEAN_OF = 1000  # steps over which the weights' running mean goes
_MOST_RARE = 3.0  # times as often as its share, a rare kind of action
_LOOKED_AT = 2500  # held-out steps that say which pages are hard
_BETWEEN_LOOKS = 4.0  # minutes


def run(net: DeciderNet, inputs: Tensors) -> tuple[torch.Tensor, ...]:
    """Returns the network's outputs, float32, for a batch's inputs."""

    def with_grams(name: str) -> torch.Tensor:
        ids = inputs[f"{name.rstrip('s') if name != 'boxes' else 'box'}_grams"]
        bags = net.grams(ids.reshape(-1, ids.shape[-1])).reshape(*ids.shape[:2], -1)
        return torch.cat((inputs[name], bags), 2)

    with torch.autocast(
        inputs["screen"].device.type, torch.bfloat16, enabled=_is_bfloat16_fast(inputs["screen"].device)
    ):
        outputs = net(
            inputs["screen"],
            with_grams("words"),
            with_grams("deeds"),
            with_grams("boxes"),
            inputs["pairs"],
            inputs["mask"],
        )
    return tuple(output.float() for output in outputs)


def _is_bfloat16_fast(device: torch.device) -> bool:
    """A processor without instructions for it is seven times slower with bfloat16 than with float32."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def losses(outputs: tuple[torch.Tensor, ...], batch: Batch) -> Tensors:
    """Returns the loss of each part, averaged over the samples that have that label."""
    whole, box, word, letters = outputs
    labels, deeds = batch.labels, batch.inputs["deeds"].shape[1]
    words = word.shape[1]
    far = batch.inputs["mask"][:, 0, 0]
    box_far, word_far = far[:, 1 + words + deeds :], far[:, 1 : 1 + words]
    found = {"kind": _any_of(whole[:, 0, : len(KINDS)], labels["kinds"])}
    for place, name in enumerate(("targets", "ends")):
        valid = labels[name].any(2)
        found[name] = _any_of(box[..., place] + box_far, valid)
        if valid.any():
            cells = box[..., 3 + place * CELLS : 3 + (place + 1) * CELLS]
            found[f"{name}_cell"] = _any_of(cells[valid], labels[name][valid])
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
    rows = torch.arange(len(whole))
    good = labels["kinds"][rows, whole[:, 0, : len(KINDS)].argmax(1)].clone()
    for place, name in enumerate(("targets", "ends")):
        best = (box[..., place] + box_far).argmax(1)
        cell = box[rows, best, 3 + place * CELLS : 3 + (place + 1) * CELLS].argmax(1)
        good &= ~labels[name].flatten(1).any(1) | labels[name][rows, best, cell]
    typed = labels["text_from"] >= 0
    source = whole[:, 0, len(KINDS) :].argmax(1)
    span = (
        ((word[..., 0] + word_far)[:, :, None] + (word[..., 1] + word_far)[:, None, :])
        .flatten(1)
        .argmax(1, keepdim=True)
    )
    best = (box[..., 2] + box_far).argmax(1, keepdim=True)
    spelled = ((letters.argmax(2) == labels["letters"]) | (labels["letters"] < 0)).all(1)
    as_box = torch.gather(labels["sources"], 1, best)[:, 0] | (source != SOURCES.index("screen"))
    of_words = (source != SOURCES.index("screen")) & (source != SOURCES.index("letters"))
    as_span = torch.gather(labels["spans"].flatten(1), 1, span)[:, 0] | ~of_words
    return good & (~typed | (spelled & (source == labels["text_from"]) & as_box & as_span))


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
    more: Callable[[], list[Sample]],
    target: Path,
    minutes: float,
    batch: int = 64,
    most_tokens: int = 7000,
    start: Path | None = None,
    seed: int = SEED,
) -> dict[str, Any]:
    """Trains for `minutes` of processor time in all, resumed ones included. Returns the record.

    `more` is called before each epoch and returns the samples that are new since the last call, so that training can
    begin while demonstrations are still being recorded; what it takes does not count as training. `start` is the
    checkpoint of an earlier net to begin with.
    """
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = DeciderNet().to(device)
    if start is not None and not target.exists():
        taken_over(net, torch.load(start, weights_only=True)["net"])
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=2e-2, betas=(0.9, 0.98), fused=True)
    mean = {name: value.detach().clone() for name, value in net.state_dict().items()}
    spent, steps = 0.0, 0
    begun = "nothing" if start is None else "/".join(start.parts[-2:])
    if target.exists():
        kept = torch.load(target, weights_only=True)
        begun = kept.get("begun", begun)
        net.load_state_dict(kept["last"])
        optimiser.load_state_dict(kept["optimiser"])
        mean, spent, steps = kept["net"], kept["spent_s"], kept["steps"]
    data = Parts()
    data.take(more())
    groups: list[list[Sample]] = []
    sums: dict[str, float] = defaultdict(float)
    began, told = time.process_time() - spent, time.process_time()
    looked = -math.inf
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        if not groups:
            paused = time.process_time()
            data.take(more())
            if paused - looked > 60 * _BETWEEN_LOOKS and steps:
                data.hardness = _wrong(mean, data.measured)
                looked = time.process_time()
            began += time.process_time() - paused
            groups = _groups(data.seen, data.weights(), dice, batch, most_tokens)
        for rate in optimiser.param_groups:
            rate["lr"] = RATE * min(1, (steps + 1) / 200) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * share)))
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
        _follow(mean, net, steps)
        for name, value in parts.items():
            sums[name] += value.item() / 100
        if steps % 100 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in sums.items())
            print(f"step {steps} share {share:.2f} {shown}", flush=True)
            sums.clear()
        if time.process_time() - told > 100:
            told = time.process_time()
            _keep(target, mean, net, optimiser, time.process_time() - began, steps, begun)
    spent = time.process_time() - began
    _keep(target, mean, net, optimiser, spent, steps, begun)
    net.load_state_dict(mean)
    scores = score(net, data.measured)
    return {
        "seed": seed, "steps": steps, "cpu_minutes": round(spent / 60, 1), "begun_with": begun,
        "training_steps": len(data.seen), "measured_steps": len(data.measured),
        "tasks": len(data.counts), "right": round(float(np.mean(list(scores.values()) or [0])), 4), "by_task": scores,
    }  # fmt: skip


def mean_of(runs: Sequence[Path], target: Path, measured: Sequence[Sample]) -> dict[str, float]:
    """Writes the mean of the weights of trainings that began alike; returns its share of steps done right, by task.

    Wortsman et al., "Model soups", ICML 2022.
    """
    nets = [torch.load(run, weights_only=True)["net"] for run in runs]
    mean = {name: torch.stack([net[name] for net in nets]).mean(0) for name in nets[0]}
    net = DeciderNet()
    net.load_state_dict(mean)
    torch.save({"net": mean}, target)
    return score(net, list(measured))


def _follow(mean: Tensors, net: DeciderNet, steps: int) -> None:
    """Moves the running mean of the weights by one step; the first steps count more, so that it begins near them."""
    share = max(1 / _MEAN_OF, 1 / (steps + 1))
    with torch.no_grad():
        torch._foreach_lerp_(list(mean.values()), list(net.state_dict().values()), share)


def _wrong(mean: Tensors, measured: list[Sample]) -> dict[str, float]:
    """Returns how often held-out steps are wrong, by task; few steps say little, so two are added of which one is."""
    net = DeciderNet()
    net.load_state_dict(mean)
    some = measured[:: max(1, len(measured) // _LOOKED_AT)]
    counts: dict[str, int] = defaultdict(int)
    for sample in some:
        counts[sample.task] += 1
    scores = score(net, some)
    print(f"held out {np.mean(list(scores.values())):.4f} {json.dumps(scores)}", flush=True)
    return {task: (1 + (1 - good) * counts[task]) / (2 + counts[task]) for task, good in scores.items()}


class Parts:
    """The usable samples, parted into those that are trained on and those that are measured."""

    def __init__(self) -> None:
        self.seen: list[Sample] = []
        self.measured: list[Sample] = []
        self.counts: dict[str, int] = defaultdict(int)
        self.kinds: dict[tuple[str, int], int] = defaultdict(int)
        self.hardness: dict[str, float] = {}

    def take(self, samples: Sequence[Sample]) -> None:
        for sample in filter(usable, samples):
            if is_held_out(sample):
                self.measured.append(sample)
            else:
                self.seen.append(sample)
                self.counts[sample.task] += 1
                self.kinds[sample.task, sample.label.kind] += 1

    def weights(self) -> NDArray[np.float64]:
        """Returns the chance of each sample to be drawn: a task's share grows with the root of its samples, and with
        the share of its held-out ones that are wrong; a kind that is rare in its task (the one click after many waits)
        is drawn more often."""
        rare = np.array(
            [
                (0.15 + min(0.6, self.hardness.get(one.task, 0.5)))
                / math.sqrt(self.counts[one.task])
                * min(_MOST_RARE, math.sqrt(self.counts[one.task] / self.kinds[one.task, one.label.kind]))
                for one in self.seen
            ]
        )
        chances: NDArray[np.float64] = rare / rare.sum()
        return chances


def usable(sample: Sample) -> bool:
    """Whether a sample has a kind, and a target where it needs one."""
    label = sample.label
    if label.kind < 0:
        return False
    kind = KINDS[label.kind]
    if kind in POINTED and not label.targets.any():
        return False
    if kind == "drag" and not label.ends.any():
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


def _keep(
    target: Path,
    mean: Tensors,
    net: DeciderNet,
    optimiser: torch.optim.Optimizer,
    spent_s: float,
    steps: int,
    begun: str,
) -> None:
    """Writes the checkpoint: the running mean as the net, and what a resumed training goes on with."""
    part = target.with_suffix(".part")
    going_on = {"last": net.state_dict(), "optimiser": optimiser.state_dict(), "spent_s": spent_s, "steps": steps}
    torch.save({"net": mean, "begun": begun, **going_on}, part)
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
    parser.add_argument("--start", type=Path, help="the checkpoint of an earlier net to begin with")
    parser.add_argument("--title", default="", help="only shown in the process list")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    reader = SmallReader(LocalModel(chosen.reader), ALPHABET)
    looks = Looks(chosen.episodes, chosen.cache, reader, chosen.most, chosen.tasks)
    if chosen.minutes <= 0:
        looks()
        return
    record = train(looks, chosen.target, chosen.minutes, start=chosen.start)
    chosen.target.with_suffix(".json").write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
