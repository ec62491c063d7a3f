"""A screen agent made to measure: the installed version's bundle and a person's demonstrations ─► a variant's bundle.

    idlehands desktop record invoices --instruction 'Open the newest invoice'      several times, then
    make train ADAPT=~/.local/state/idlehands/desktop/demonstrations/invoices
    idlehands model sign out/adapt/screen_agent.ihb
    idlehands model install --no-activate out/adapt/screen_agent.ihb
    idlehands model canary start screen-agent VERSION                               says whether it is better

Only the decider learns; letter groups and the reader stay. It starts from the bundle's own int8 weights, is held near
them, and rehearses what it was trained on where that still lies here, so that it forgets little. One demonstration of
several is kept back and measured before and after; of a single one the record says that nothing was kept back. What is
learned of three screens is little evidence: the canary decides.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch

from models.screen_agent.bundled_weights import BundledDecider
from models.screen_agent.decider_net import DeciderNet
from models.screen_agent.episodes import EpisodesError
from models.screen_agent.export import is_right
from models.screen_agent.labelled import Sample, kept_samples, samples_of
from models.screen_agent.local_model import LocalModel
from models.screen_agent.train_decider import batch_of, losses, right, run, usable
from runtime.agent.deciding import GramTable
from runtime.agent.screen_agent import DECIDER, READER, SETTINGS, TABLE, Settings
from runtime.agent.small_reader import SmallReader
from runtime.desktop.episodes import SUFFIX
from runtime.errors import RuntimeFault
from runtime.store.bundle import checked_parts, open_source, pack
from runtime.store.manifest import Manifest, decode_manifest

SEED = 20_260_128
BATCH, REHEARSED = 16, 32  # samples a step: of the demonstrations, of what was trained on
RATE, HELD = 2e-4, 2e-2  # of learning; of the pull towards the weights that it began with
CHECK_STEPS, CHECKS = 10, 3  # it ends when everything shown is done right in so many looks in a row


class NothingToLearn(RuntimeFault):
    """The recordings hold no step that the agent could learn, or are none."""

    next_step = "record it again: idlehands desktop record TASK --instruction …"


@dataclass(frozen=True)
class Parts:
    """A bundle's manifest and files, their hashes checked."""

    manifest: Manifest
    files: dict[str, bytes]

    def of_role(self, role: str) -> bytes:
        return self.files[self.manifest.models[role].file]


def read_bundle(path: Path) -> Parts:
    """Reads a screen agent's bundle. Raises BundleError, NothingToLearn for one of another kind."""
    with open_source(path) as source:
        data, _ = source.head()
        manifest = decode_manifest(data)
        files = {entry.path: b"".join(checked_parts(manifest, entry, parts)) for entry, parts in source.files(manifest)}
    if manifest.kind != "screen_agent" or not {DECIDER, READER} <= set(manifest.models):
        raise NothingToLearn(
            f"{path} is a bundle of kind '{manifest.kind}'; only a screen_agent learns from demonstrations",
            next_step="name one with --base",
        )
    return Parts(manifest, files)


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
    old = kept_samples(rehearse, 4000) if rehearse is not None else []
    net = decider.net()
    right_before = _right(parts.of_role(DECIDER), measured, table)
    old_before = _right(parts.of_role(DECIDER), old[:300], table)
    steps = learn(net, learned, [sample for sample in old if usable(sample)], minutes)
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
        "adapted_rehearsed_steps": len(old),
        "adapted_old_right_before": old_before,
        "adapted_old_right_after": _right(made, old[:300], table),
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


def _share(net: DeciderNet, samples: Sequence[Sample]) -> float:
    net.eval()
    with torch.inference_mode():
        made = [batch_of([sample], None) for sample in samples]
        good = [bool(right(run(net, one.inputs), one)[0]) for one in made]
    net.train()
    return float(np.mean(good))


def _right(model: bytes, samples: Sequence[Sample], table: GramTable) -> float:
    """Returns the share of steps that an int8 decider does right; -1 of none."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return round(float(np.mean([is_right(session, sample, table) for sample in samples])), 4) if samples else -1.0


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
    version = variant_version(record["adapted_from"].split("@")[1], record["adapted_at"])
    print(f"{chosen.target} is screen-agent {version}, unsigned. To let jobs say whether it is better:")
    print(f"  idlehands model sign {chosen.target} && idlehands model install --no-activate {chosen.target}")
    print(f"  idlehands model canary start screen-agent {version} --share 20")


if __name__ == "__main__":
    main()
