"""A screen agent made to measure: the installed version's bundle and a person's demonstrations ─► a variant's bundle.

    idlehands desktop record invoices --instruction 'Open the newest invoice'      several times, then
    make train ADAPT=~/.local/state/idlehands/desktop/demonstrations/invoices
    idlehands model sign out/adapt/screen_agent.ihb
    idlehands model install --no-activate out/adapt/screen_agent.ihb
    idlehands model canary start screen-agent VERSION                               says whether it is better

Only the decider learns; letter groups and the reader stay. It starts from the bundle's own int8 weights, is held near
them, and rehearses what it was trained on where that still lies here. Of the way that its weights then went only so
much is gone as what was shown needs (weights between two nets of one origin work: Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models"), so that it forgets little; how much is measured on old steps that were never
rehearsed. One demonstration of several is kept back too; of a single one the record says that nothing was. What is
learned of three screens is little evidence: the canary decides.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from models.onnx_session import session_of
from models.screen_agent.batches import batch_of
from models.screen_agent.bundle_parts import Parts, read_bundle
from models.screen_agent.bundled_weights import BundledDecider
from models.screen_agent.decider_net import DeciderNet
from models.screen_agent.episodes import EpisodesError
from models.screen_agent.export import is_right
from models.screen_agent.labelled import Sample, kept_samples, samples_of
from models.screen_agent.local_model import LocalModel
from models.screen_agent.train_decider import losses, right, run, usable
from runtime.agent.deciding import GramTable
from runtime.agent.screen_agent import DECIDER, READER, SETTINGS, TABLE, Settings
from runtime.agent.small_reader import SmallReader
from runtime.desktop.episodes import SUFFIX
from runtime.errors import RuntimeFault
from runtime.store.bundle import pack

SEED = 20_260_128
BATCH, REHEARSED = 16, 32  # samples a step: of the demonstrations, of what was trained on
RATE, HELD = 2e-4, 2e-2  # of learning; of the pull towards the weights that it began with
# Shares of the way from the base's weights to the learned ones, and how many drawn looks of each step decide on one.
# MARGIN beyond the least, since other screens than those shown are meant too.
SHARES, DRAWN, ENOUGH = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0), 4, 0.98
MARGIN = 1.5
OLD, OLD_KEPT_BACK = 6000, 4  # old steps that are read; one episode of so many is measured, not rehearsed
CHECK_STEPS, CHECKS = 10, 3  # it ends when everything shown is done right in so many looks in a row


class NothingToLearn(RuntimeFault):
    """The recordings hold no step that the agent could learn, or are none."""

    next_step = "record it again: idlehands desktop record TASK --instruction …"


def recordings(place: Path) -> list[Path]:
    """Returns the shards of a recording: a file, or a folder of them. Raises NothingToLearn."""
    found = [place] if place.is_file() else sorted(place.rglob("*" + SUFFIX))
    if not found:
        raise NothingToLearn(f"there is no demonstration (*{SUFFIX}) in {place}")
    return found


def shown(place: Path, parts: Parts, cache: Path) -> list[Sample]:
    """Returns the steps of the recordings as the agent would see them. Raises NothingToLearn, EpisodesError."""
    with tempfile.TemporaryDirectory() as folder:
        reader_file = Path(folder, "reader.onnx")
        reader_file.write_bytes(parts.of_role(READER))
        settings = msgspec.json.decode(parts.files[SETTINGS], type=Settings)
        reader = SmallReader(LocalModel(reader_file), settings.alphabet)
        samples = [
            sample for path in recordings(place) for sample in samples_of(path, cache / f"{path.stem}.looks", reader)
        ]
    found = [sample for sample in samples if usable(sample)]
    if not found:
        raise NothingToLearn(
            f"none of the {len(samples)} steps in {place} is one that the agent has a word and a place for"
        )
    return found


def kept_back(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Returns (to learn from, to measure on): the last of several episodes is measured; a single one is both."""
    episodes = list(dict.fromkeys((sample.task, sample.seed) for sample in samples))
    if len(episodes) == 1:
        return list(samples), list(samples)
    last = episodes[-1]
    return (
        [sample for sample in samples if (sample.task, sample.seed) != last],
        [sample for sample in samples if (sample.task, sample.seed) == last],
    )


def split_old(old: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Returns (to rehearse, to measure on) by whole episodes, the same each time, whatever else is there."""
    parts: tuple[list[Sample], list[Sample]] = [], []
    for sample in old:
        if usable(sample):
            drawn = hashlib.sha256(f"{sample.task}/{sample.seed}".encode()).digest()[0]
            parts[drawn % OLD_KEPT_BACK == 0].append(sample)
    return parts


def least_change(
    net: DeciderNet, base: Mapping[str, torch.Tensor], samples: Sequence[Sample], int8_share: Callable[[], float]
) -> float:
    """Goes back from what `net` learned towards `base`, as far as it still does what was shown; returns the share of
    the way that is left. That is judged on each step as it was and on drawn variations of it, and by `int8_share`: how
    much of what was shown the int8 file of `net`, as it is then, does."""
    learned = {name: value.clone() for name, value in net.state_dict().items()}

    def go(share: float) -> None:
        between = {
            name: base[name] + share * (value - base[name]) if value.is_floating_point() else value
            for name, value in learned.items()
        }
        net.load_state_dict(between)

    tried = [*samples, *(sample for sample in samples for _ in range(DRAWN))]
    whole, whole_int8 = _share(net, tried, np.random.default_rng(SEED)), int8_share()
    for share in SHARES:
        go(share)
        is_enough = _share(net, tried, np.random.default_rng(SEED)) >= ENOUGH * whole
        if share == 1 or (is_enough and int8_share() >= whole_int8):
            break
    share = min(1.0, MARGIN * share)
    go(share)
    return share


def learn(net: DeciderNet, samples: Sequence[Sample], rehearsed: Sequence[Sample], minutes: float) -> int:
    """Trains `net` in place for at most `minutes` of processor time; returns the steps that it took."""
    torch.manual_seed(SEED)
    dice = np.random.default_rng(SEED)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for name, value in net.named_parameters():
        value.requires_grad_(not name.startswith(("grams.", "pairs.")))
    learning = [value for value in net.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=RATE, weight_decay=0.0, betas=(0.9, 0.98))
    began, steps, in_a_row = time.process_time(), 0, 0
    while in_a_row < CHECKS and time.process_time() - began < 60 * minutes:
        parts = [losses(run(net, made.inputs), made) for made in _batches(samples, rehearsed, dice)]
        loss = sum((value for one in parts for value in one.values()), start=torch.zeros(()))
        pulled = [
            (value - before[name]).square().sum() for name, value in net.named_parameters() if value.requires_grad
        ]
        optimiser.zero_grad(set_to_none=True)
        (loss + HELD * torch.stack(pulled).sum()).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        steps += 1
        if steps % CHECK_STEPS == 0:
            share = _share(net, samples)
            in_a_row = in_a_row + 1 if share == 1 else 0
            print(f"step {steps}: loss {loss.item():.3f}, {share:.0%} of what was shown", flush=True)
    return steps


def adapt(place: Path, base: Path, target: Path, *, minutes: float, rehearse: Path | None = None) -> dict[str, Any]:
    """Writes the variant's bundle, unsigned, and returns its training record.

    Raises NothingToLearn, OtherRecipe, BundleError, EpisodesError.
    """
    torch.set_num_threads(1)
    parts = read_bundle(base)
    table = GramTable.read(parts.files[TABLE])
    decider = BundledDecider(parts.of_role(DECIDER), table)
    with tempfile.TemporaryDirectory() as folder:
        samples = shown(place, parts, Path(folder))
    learned, measured = kept_back(samples)
    rehearsed, old = split_old(kept_samples(rehearse, OLD) if rehearse is not None else [])
    net = decider.net()
    base_weights = {name: value.clone() for name, value in net.state_dict().items()}
    right_before = _right(parts.of_role(DECIDER), measured, table)
    old_before = _right(parts.of_role(DECIDER), old, table)
    steps = learn(net, learned, rehearsed, minutes)
    whole = decider.with_weights(net.eval())
    share = least_change(net, base_weights, learned, lambda: _right(decider.with_weights(net.eval()), learned, table))
    made = decider.with_weights(net.eval())
    digest = parts.manifest.training
    record: dict[str, Any] = {
        **digest,
        "adapted_from": f"{parts.manifest.name}@{parts.manifest.version}",
        "adapted_seed": SEED,
        "adapted_task": samples[0].task,
        "adapted_episodes": len({(sample.task, sample.seed) for sample in samples}),
        "adapted_steps_shown": len(learned),
        "adapted_training_steps": steps,
        "adapted_measured_apart": learned is not measured and len(learned) != len(samples),
        "adapted_measured_steps": len(measured),
        "adapted_right_before": right_before,
        "adapted_right_after": _right(made, measured, table),
        "adapted_share": share,
        "adapted_rehearsed_steps": len(rehearsed),
        "adapted_old_steps": len(old),
        "adapted_old_right_before": old_before,
        "adapted_old_right_whole": _right(whole, old, table),
        "adapted_old_right_after": _right(made, old, table),
        "adapted_at": int(time.time()),
    }
    _pack(parts, made, record, target)
    return record


def variant_version(base: str, at: int) -> str:
    """Returns the variant's version: after its base (1.0.0 -> 1.0.0.1764369000), before any new release of it.

    A variant of a variant takes its place in line.
    """
    release = re.sub(r"\.\d{9,}$", "", base.partition("+")[0])
    return f"{release}.{at}"


def _pack(parts: Parts, decider: bytes, record: dict[str, Any], target: Path) -> None:
    manifest = parts.manifest
    tree = msgspec.to_builtins(manifest)
    description = {
        name: value for name, value in tree.items() if name not in ("format", "files", "training", "version")
    }
    description |= {"version": variant_version(manifest.version, record["adapted_at"]), "training": record}
    files = {**parts.files, manifest.models[DECIDER].file: decider}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        target.unlink(missing_ok=True)
        pack(Path(folder), target, description=description)


def _batches(samples: Sequence[Sample], rehearsed: Sequence[Sample], dice: np.random.Generator) -> list[Any]:
    chosen = [samples[index] for index in dice.integers(0, len(samples), BATCH)]
    made = [batch_of(chosen, dice)]
    if rehearsed:
        made.append(batch_of([rehearsed[index] for index in dice.integers(0, len(rehearsed), REHEARSED)], dice))
    return made


def _share(net: DeciderNet, samples: Sequence[Sample], dice: np.random.Generator | None = None) -> float:
    """Returns the share of steps done right, each look varied by `dice` if there are any."""
    net.eval()
    with torch.inference_mode():
        made = [batch_of([sample], dice) for sample in samples]
        good = [bool(right(run(net, one.inputs), one)[0]) for one in made]
    net.train()
    return float(np.mean(good))


def _right(model: bytes, samples: Sequence[Sample], table: GramTable) -> float:
    """Returns the share of steps that an int8 decider does right; -1 of none."""
    session = session_of(model)
    return round(float(np.mean([is_right(session, sample, table) for sample in samples])), 4) if samples else -1.0


def _told_of_old(record: Mapping[str, Any]) -> str:
    """Returns what a person is told of what was forgotten."""
    if not record["adapted_old_steps"]:
        return "What it was trained on is not here: nothing was rehearsed, and what it forgot is not measured."
    lost = 100 * (record["adapted_old_right_before"] - record["adapted_old_right_after"])
    gone = f"of {record['adapted_old_steps']} old steps that were kept back it lost {lost:.2f} points"
    return f"{gone}{'' if lost < 1 else ': more than the one that is aimed at; show it more variety'}."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path, help="a demonstration, or a folder of them")
    parser.add_argument(
        "--base", type=Path, default=Path("models/bundles/screen_agent.ihb"), help="the bundle to begin with"
    )
    parser.add_argument("--target", type=Path, default=Path("out/adapt/screen_agent.ihb"), help="the bundle to write")
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of training, at most")
    parser.add_argument(
        "--rehearse", type=Path, help="looks of `make train` (default: out/train/looks, if it is there)"
    )
    chosen = parser.parse_args()
    usual = Path("out/train/looks")
    rehearse = chosen.rehearse or (usual if usual.is_dir() else None)
    try:
        record = adapt(chosen.recording, chosen.base, chosen.target, minutes=chosen.minutes, rehearse=rehearse)
    except (RuntimeFault, EpisodesError) as error:
        raise SystemExit(str(error)) from error
    print(json.dumps(record, indent=1))
    print(_told_of_old(record))
    version = variant_version(record["adapted_from"].split("@")[1], record["adapted_at"])
    print(f"{chosen.target} is screen-agent {version}, unsigned. To let jobs say whether it is better:")
    print(f"  idlehands model sign {chosen.target} && idlehands model install --no-activate {chosen.target}")
    print(f"  idlehands model canary start screen-agent {version} --share 20")


if __name__ == "__main__":
    main()
