"""Trains the reader on drawn lines: shards ─► strips, jittered ─► CTC ─► a checkpoint, resumable, scored by string.

    python -m models.screen_agent.train_reader SHARDS reader.pt --minutes 60
    python -m models.screen_agent.train_reader SHARDS reader.pt --minutes 20 --begun-with BUNDLE.ihb

One string in sixteen is measured on, never trained on, in any font; one font family is left out of training altogether.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.screen_agent.bundle_parts import read_bundle
from models.screen_agent.bundled_reader import bundled_reader
from models.screen_agent.reader_net import ReaderNet, columns
from models.screen_agent.reading_pages import BORDER, TEST_FONTS, load
from models.screen_agent.reading_texts import ALPHABET, held_out
from runtime.agent.screen_agent import READER
from runtime.agent.strips import HEIGHT, STEP, strip

SEED = 20_260_001
RATE, RATE_GOING_ON = 2e-3, 5e-4  # of learning: from nothing, from a bundle
CLIPPED = 0.3  # of the lines that begin with a minus
REACHED_INTO = 0.25  # of all lines, by letters of the line above or below
_CLASS = {character: index + 1 for index, character in enumerate(ALPHABET)}
_MOST_OF_ENDS = 0.2  # of their pixels are ink
_LOOK_THE_SAME = str.maketrans("●", "•")  # native-scale contrast cannot tell a large bullet from a disc


@dataclass(frozen=True)
class Line:
    """`strip` is u8 (HEIGHT, W) as the runtime makes it; `font` and `size_px` are what it was drawn with."""

    strip: NDArray[np.uint8]
    text: str
    size_px: int
    font: str


def lines_of(folder: Path, known: set[str]) -> list[Line]:
    """Returns the lines of the shards that are not `known` yet, and adds their names."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        if path.name in known:
            continue
        known.add(path.name)
        for crop in load(path):
            inner = crop.ink[BORDER : len(crop.ink) - BORDER, BORDER : crop.ink.shape[1] - BORDER]
            made = strip(inner)
            if made.shape[1] <= 400 and made.shape[1] < inner.shape[1] + 64:
                found.append(Line(made, crop.text.translate(_LOOK_THE_SAME), crop.size_px, crop.font))
    return found


def batch_of(lines: list[Line], dice: np.random.Generator | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns strips (n, 1, HEIGHT, W), the classes of all texts in a row, and their lengths; jittered with `dice`."""
    widest = -(-(max(line.strip.shape[1] for line in lines) + 4) // STEP) * STEP
    made = np.zeros((len(lines), HEIGHT, widest), dtype=np.float32)
    for row, line in enumerate(lines):
        image = line.strip.astype(np.float32) / 255
        across = down = 0
        if dice is not None:
            if line.text[0] == "-" and dice.random() < CLIPPED:
                shorten_sign(image, int(dice.integers(1, 3)))
            if dice.random() < REACHED_INTO:
                reach_into(image, lines[int(dice.integers(len(lines)))].strip.astype(np.float32) / 255, dice)
            across, down = int(dice.integers(-3, 4)), int(dice.choice((-1, 0, 0, 0, 1)))
            image = image ** float(np.exp(dice.normal(0, 0.25))) * float(dice.uniform(0.75, 1))
            if dice.random() < 0.15:
                image = image + (image > 0) * dice.normal(0, 0.06, image.shape).astype(np.float32)
        image = np.roll(image, (down, across), (0, 1))
        made[row, :, : image.shape[1]] = image
    classes = [_CLASS[character] for line in lines for character in line.text]
    lengths = torch.tensor([len(line.text) for line in lines])
    return torch.from_numpy(made.clip(0, 1))[:, None], torch.tensor(classes), lengths


def shorten_sign(image: NDArray[np.float32], by: int) -> None:
    """Takes columns off the sign at the left of a line, as a field's border does that it touches; one column stays."""
    inked = np.flatnonzero(image.max(axis=0) > 0.2)
    gaps = np.flatnonzero(np.diff(inked) > 1)
    sign = inked[: gaps[0] + 1] if gaps.size else inked[:0]
    image[:, sign[: max(0, min(by, len(sign) - 1))]] = 0


def reach_into(image: NDArray[np.float32], other: NDArray[np.float32], dice: np.random.Generator) -> None:
    """Adds what lines that are set tight have of each other: the ends of letters of `other`, one or two rows of them,
    above or below the ink of `image`, or on its first row. Rows that are mostly ink are no ends of letters."""
    inked, rows = (np.flatnonzero(one.max(axis=1) > 0.2) for one in (image, other))
    count, overlap = int(dice.integers(1, 3)), int(dice.integers(0, 2))
    if not inked.size or rows.size < 6:
        return
    is_above = dice.random() < 0.6
    ends = other[rows[-count:] if is_above else rows[:count]]
    first = int(inked[0]) - count + overlap if is_above else int(inked[-1]) + 1 - overlap
    if first < 0 or first + count > HEIGHT or (ends > 0.2).mean() > _MOST_OF_ENDS:
        return
    width = min(image.shape[1], ends.shape[1])
    shifted = np.roll(ends, int(dice.integers(ends.shape[1])), axis=1)[:, :width]
    image[first : first + count, :width] = np.maximum(image[first : first + count, :width], shifted)


def decoded(logits: torch.Tensor) -> list[str]:
    """Returns the best path's texts of (n, W, CLASSES)."""
    best = logits.argmax(2).numpy()
    texts = []
    for row in best:
        fresh = np.ones(len(row), dtype=bool)
        fresh[1:] = row[1:] != row[:-1]
        texts.append("".join(ALPHABET[index - 1] for index in row[fresh & (row != 0)]))
    return texts


def score(net: ReaderNet, lines: list[Line], most: int = 3000) -> dict[str, Any]:
    """Returns the share of lines read without a mistake (spaces at the ends aside), in all and of 11-20 px."""
    net.eval()
    chosen = sorted(lines[:most], key=lambda line: line.strip.shape[1])
    right: list[tuple[bool, Line, str]] = []
    with torch.inference_mode():
        for first in range(0, len(chosen), 64):
            part = chosen[first : first + 64]
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(batch_of(part, None)[0].contiguous(memory_format=torch.channels_last))
            for line, said in zip(part, decoded(columns(logits.float())), strict=True):
                right.append((said.strip() == line.text.strip(), line, said))
    middle = [good for good, line, _ in right if 11 <= line.size_px <= 20]
    return {
        "lines": len(right),
        "exact": round(float(np.mean([good for good, _, _ in right] or [0])), 4),
        "exact_11_20": round(float(np.mean(middle or [0])), 4),
        "wrong": [(line.text, said, line.size_px, line.font) for good, line, said in right if not good][:12],
    }


def train(
    folder: Path, target: Path, minutes: float, batch: int = 96, begun_with: bytes | None = None
) -> dict[str, Any]:
    """Trains for `minutes` of processor time in all, resumed ones included; returns the scores.

    `begun_with` is a bundle's `reader.onnx`, from which training goes on, at a lower rate. Raises OtherRecipe.
    """
    torch.manual_seed(SEED)
    dice, order = np.random.default_rng(SEED), random.Random(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = ReaderNet() if begun_with is None else bundled_reader(begun_with)
    net = net.to(device, memory_format=torch.channels_last)
    highest, decay = (RATE, 1e-2) if begun_with is None else (RATE_GOING_ON, 1e-3)
    optimiser = torch.optim.AdamW(net.parameters(), lr=highest, weight_decay=decay)
    spent, steps, known = 0.0, 0, set[str]()
    if target.exists():
        kept = torch.load(target, weights_only=True)
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        spent, steps = kept["spent_s"], kept["steps"]
    lines = lines_of(folder, known)
    began, told = time.process_time() - spent, time.process_time()
    groups: list[list[Line]] = []
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        if not groups:
            lines += lines_of(folder, known)
            seen = [line for line in lines if not held_out(line.text) and line.font not in TEST_FONTS]
            order.shuffle(seen)
            seen.sort(key=lambda line: line.strip.shape[1] + order.uniform(0, 40))
            groups = [seen[first : first + batch] for first in range(0, len(seen), batch)]
            order.shuffle(groups)
        for rate in optimiser.param_groups:
            rate["lr"] = highest * min(1, (steps + 1) / 300) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * share)))
        net.train(begun_with is None)  # a bundle's normalisations are folded in: their statistics stay
        strips, classes, lengths = batch_of(groups.pop(), dice)
        with torch.autocast(device.type, torch.bfloat16):
            logits = net(strips.to(device).contiguous(memory_format=torch.channels_last))
        chances = columns(logits.float()).log_softmax(2).transpose(0, 1)
        wide = torch.full((len(lengths),), chances.shape[0])
        loss = functional.ctc_loss(chances, classes.to(device), wide, lengths, zero_infinity=True)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        steps += 1
        if steps % 200 == 0:
            print(f"step {steps} share {share:.2f} loss {loss.item():.3f} lines {len(lines)}", flush=True)
        if time.process_time() - told > 120:
            told = time.process_time()
            _keep(target, net, optimiser, time.process_time() - began, steps)
            print(json.dumps(score(net, [line for line in lines if held_out(line.text)], 1500)), flush=True)
    spent = time.process_time() - began
    _keep(target, net, optimiser, spent, steps)
    trained = sum(not held_out(line.text) and line.font not in TEST_FONTS for line in lines)
    made = {"seed": SEED, "steps": steps, "training_lines": trained, "cpu_minutes": round(spent / 60, 1)}
    return report(net, lines) | made


def report(net: ReaderNet, lines: list[Line]) -> dict[str, Any]:
    """Returns the scores on unseen strings, on the left-out font, and on those that Chromium drew."""
    unseen = [line for line in lines if held_out(line.text)]
    return {
        "unseen_strings": score(net, [line for line in unseen if line.font not in TEST_FONTS]),
        "unseen_font": score(net, [line for line in unseen if line.font in TEST_FONTS]),
    }


def _keep(target: Path, net: ReaderNet, optimiser: torch.optim.Optimizer, spent_s: float, steps: int) -> None:
    part = target.with_suffix(".part")
    kept = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "spent_s": spent_s, "steps": steps}
    torch.save(kept, part)
    part.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="processor time in all")
    parser.add_argument("--begun-with", type=Path, help="a bundle whose reader learns on, instead of one from nothing")
    parser.add_argument("--title", default="", help="only shown in the process list")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    begun_with = None if chosen.begun_with is None else read_bundle(chosen.begun_with).of_role(READER)
    print(json.dumps(train(chosen.shards, chosen.target, chosen.minutes, begun_with=begun_with), indent=1))


if __name__ == "__main__":
    main()
