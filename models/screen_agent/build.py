"""Makes the `screen_agent` bundle: lines ─► reader ─► demonstrations ─► looks ─► decider ─► int8 ─► bundle.

In two rounds: what the agent of the first does wrong by itself, with the way back, is among the demonstrations of the
second, which goes on from its weights.

    python -m models.screen_agent.build models/bundles/screen_agent.ihb --work FOLDER [--small]

Every stage leaves its result in FOLDER and is left out when it is there, so what was ended goes on where it was; a
stage is done anew by deleting its result. Seeds are fixed. The bundle is unsigned: who installs it signs it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch

from models.onnx_session import session_of
from models.screen_agent import calibration, export, reading_pages, train_reader
from models.screen_agent.labelled import Sample
from models.screen_agent.local_model import LocalModel
from models.screen_agent.reader_net import ReaderNet
from models.screen_agent.reading_texts import ALPHABET, held_out
from models.screen_agent.train_decider import SEED, Looks, is_held_out, mean_of, train, usable
from runtime.agent.deciding import GramTable, feeds_of, parted
from runtime.agent.plans import answer_of
from runtime.agent.screen_agent import DECIDER, READER, SETTINGS, TABLE, Settings
from runtime.agent.small_reader import SmallReader
from runtime.store.bundle import pack

NAME, VERSION = "screen-agent", "1.0.0"
TASKS_OF_SMALL = ("click-button", "enter-text")


@dataclass(frozen=True)
class Scale:
    """How much of everything: pages and Pillow lines to read, processor minutes (the decider's of each run), episodes
    and steps of a task.

    runs: the last round's decider is the mean of so many runs' weights. least_steps: a page with fewer has more
    episodes; toolkit_episodes: of each kind of window; own_episodes: with the first round's agent, 0 for no such round.
    """

    pages: int
    pillow: int
    reader_minutes: float
    episodes: int
    steps: int
    decider_minutes: float
    runs: int = 1
    least_steps: int = 0
    toolkit_episodes: int = 0
    own_episodes: int = 0
    tasks: tuple[str, ...] = ()


FULL = Scale(1000, 24_000, 60, 200, 2500, 55, runs=2, least_steps=800, toolkit_episodes=170, own_episodes=60)
SMALL = Scale(1, 300, 0.1, 2, 20, 0.1, runs=2, own_episodes=1, tasks=TASKS_OF_SMALL)


class Recipe:
    """The stages, each a method that returns where its result is."""

    def __init__(
        self,
        work: Path,
        scale: Scale,
        episodes: Path | None = None,
        start: Path | None = None,
        looks: Path | None = None,
    ) -> None:
        self.work, self.scale, self.start = work, scale, start
        self.episodes = episodes or work / "episodes"
        self._looks = looks or work / "looks"
        work.mkdir(parents=True, exist_ok=True)

    def lines(self) -> Path:
        folder = self.work / "lines"
        if not (folder / "done").exists():
            per_shard = min(40, self.scale.pages)
            asyncio.run(reading_pages.draw_shards(folder, self.scale.pages, self.scale.pillow, 10_000, per_shard))
            (folder / "done").touch()
        return folder

    def reader(self) -> Path:
        """Returns the int8 reader; its checkpoint and record are beside it."""
        target, checkpoint = self.work / "reader.int8.onnx", self.work / "reader.pt"
        if target.exists():
            return target
        lines = self.lines()
        told = train_reader.train(lines, checkpoint, self.scale.reader_minutes)
        export.export_reader(checkpoint, self.work / "reader.onnx")
        seen = train_reader.lines_of(lines, set())
        unseen = [line for line in seen if held_out(line.text)]
        spread = [line for line in seen if not held_out(line.text)][:: max(1, len(seen) // 160)]
        report = export.quantize_reader(self.work / "reader.onnx", target, spread, unseen[:1500])
        parameters = sum(value.numel() for value in ReaderNet().parameters())
        self._tell("reader", {**told, "parameters": parameters, "int8": report.as_dict()})
        return target

    def demonstrations(self) -> Path:
        """Records what is missing; what was recorded before stays."""
        if not (self.work / "recorded").exists() and self.episodes == self.work / "episodes":
            self._record_pages(self.scale.episodes, "--least-steps", str(self.scale.least_steps))
            self._record_toolkits(self.scale.toolkit_episodes)
            (self.work / "recorded").touch()
        return self.episodes

    def own_mistakes(self) -> Path:
        """Records what the agent of a first training does wrong; returns the checkpoint of that training."""
        folder = self.work / "first"
        folder.mkdir(exist_ok=True)
        self.demonstrations()
        for name in (self.reader().name, "reader.json"):
            shutil.copyfile(self.work / name, folder / name)
        first = Recipe(
            folder, dataclasses.replace(self.scale, own_episodes=0), self.episodes, self.start, looks=self._looks
        )
        if not (folder / "recorded").exists():
            first.bundle(folder / "screen_agent.ihb")
            agent = ("--agent", str(folder / "screen_agent.ihb"))
            self._record_pages(self.scale.own_episodes, *agent)
            self._record_toolkits(min(self.scale.own_episodes, self.scale.toolkit_episodes), *agent)
            (folder / "recorded").touch()
        return folder / "decider.pt"

    def _record_pages(self, episodes: int, *more: str) -> None:
        command = [sys.executable, "-m", "models.screen_agent.record", "--out", str(self.episodes)]
        command += ["--episodes", str(episodes), "--tasks", ",".join(self.scale.tasks)]
        subprocess.run([*command, *more], check=True)

    def _record_toolkits(self, episodes: int, *more: str) -> None:
        if episodes:
            command = [sys.executable, "-m", "models.screen_agent.toolkits.record", "--out", str(self.episodes)]
            subprocess.run([*command, "--episodes", str(episodes), *more], check=True)

    def looks(self) -> Looks:
        reader = SmallReader(LocalModel(self.reader()), ALPHABET)
        return Looks(self.demonstrations(), self._looks, reader, self.scale.steps, self.scale.tasks)

    def decider(self) -> Path:
        """Returns the int8 decider; its table and settings are beside it."""
        target, checkpoint = self.work / "decider.int8.onnx", self.work / "decider.pt"
        if target.exists():
            return target
        start = self.own_mistakes() if self.scale.own_episodes else self.start
        looks, taken = self.looks(), list[Sample]()

        def more() -> list[Sample]:
            fresh = looks()
            taken.extend(fresh)
            return fresh

        told = self._trained(more, taken, start)
        samples = [sample for sample in taken if usable(sample)]
        measured = [sample for sample in samples if is_held_out(sample)] or samples
        trained = [sample for sample in samples if not is_held_out(sample)] or samples
        example = next(sample.look for sample in samples if len(sample.look.boxes) and len(sample.look.words))
        table = export.export_decider(checkpoint, self.work / "decider.onnx", example)
        export.save_table(table, self.work / TABLE)
        spread = [sample for sample in trained if len(sample.look.boxes)][:: max(1, len(trained) // 64)]
        some, more_of_them = (measured[:: max(1, len(measured) // count)] for count in (600, 1800))
        report = export.quantize_decider(self.work / "decider.onnx", target, table, spread, some)
        session = session_of(target)
        temperature = fitted_temperature(session, table, some)
        points = calibration.points_of(session, table, temperature, more_of_them)
        believed = {
            "temperature": temperature,
            "ask_below": calibration.ask_below(points),
            "calibration_error": round(calibration.calibration_error(points), 4),
            "reliability": calibration.reliability(points),
        }
        settings = Settings(ALPHABET, temperature, believed["ask_below"])
        (self.work / SETTINGS).write_bytes(msgspec.json.encode(settings))
        self._tell("decider", {**told, **believed, "int8": report.as_dict()})
        return target

    def _trained(self, more: Callable[[], list[Sample]], taken: list[Sample], start: Path | None) -> dict[str, Any]:
        """Trains the decider; from weights to begin with several times, and takes the mean. Returns the record."""
        checkpoint, minutes = self.work / "decider.pt", self.scale.decider_minutes
        if start is None or self.scale.runs == 1:
            return train(more, checkpoint, minutes, start=start)
        runs = [checkpoint.with_suffix(f".{number}.pt") for number in range(self.scale.runs)]
        told = [train(more, runs[0], minutes, start=start)]
        for number, run in enumerate(runs[1:], 1):
            again = iter([list(taken)])
            told.append(train(lambda again=again: next(again, []), run, minutes, start=start, seed=SEED + number))
        measured = [sample for sample in taken if usable(sample) and is_held_out(sample)]
        scores = mean_of(runs, checkpoint, measured)
        right = round(float(np.mean(list(scores.values()) or [0])), 4)
        spent = {name: sum(one[name] for one in told) for name in ("steps", "cpu_minutes")}
        return {**told[0], **spent, "runs": len(runs), "right": right, "by_task": scores}

    def bundle(self, target: Path) -> dict[str, Any]:
        """Packs the bundle, unsigned, and returns its training record."""
        files = self.work / "files"
        files.mkdir(exist_ok=True)
        for source, name in ((self.reader(), "reader.onnx"), (self.decider(), "decider.onnx")):
            (files / name).write_bytes(source.read_bytes())
        for name in (TABLE, SETTINGS):
            (files / name).write_bytes((self.work / name).read_bytes())
        record = self._record()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        pack(files, target, description=description(record))
        return record

    def _tell(self, name: str, told: dict[str, Any]) -> None:
        (self.work / f"{name}.json").write_text(json.dumps(told, indent=1))
        print(json.dumps({name: told})[:2000], flush=True)

    def _record(self) -> dict[str, str | int | float | bool]:
        reader = json.loads((self.work / "reader.json").read_text())
        decider = json.loads((self.work / "decider.json").read_text())
        return {
            "data": "lines drawn by Chromium and Pillow; oracles on MiniWoB++ 1.1.0's training pages, made-up pages, "
            "windows of Tk, Qt and GTK; an earlier agent's own mistakes",
            "reader_seed": reader["seed"],
            "reader_lines": reader["training_lines"],
            "reader_cpu_minutes": reader["cpu_minutes"],
            "reader_parameters": reader["parameters"],
            "reader_exact_float": reader["int8"]["score_float"],
            "reader_exact_int8": reader["int8"]["score_int8"],
            "reader_exact_unseen_strings_11_20_px": reader["unseen_strings"]["exact_11_20"],
            "reader_exact_unseen_font": reader["unseen_font"]["exact"],
            "decider_seed": decider["seed"],
            "decider_tasks": decider["tasks"],
            "decider_training_steps": decider["training_steps"],
            "decider_measured_steps": decider["measured_steps"],
            "decider_cpu_minutes": decider["cpu_minutes"],
            "decider_begun_with": decider["begun_with"],
            "decider_batches": decider["steps"],
            "decider_runs": decider.get("runs", 1),
            "decider_right_float": decider["int8"]["score_float"],
            "decider_right_int8": decider["int8"]["score_int8"],
            "decider_temperature": decider["temperature"],
            "decider_calibration_error": decider["calibration_error"],
            "decider_reliability": calibration.spelled_out(decider["reliability"]),
            "ask_below": decider["ask_below"],
            "packed_at": int(time.time()),
        }


def fitted_temperature(session: onnxruntime.InferenceSession, table: GramTable, samples: Sequence[Sample]) -> float:
    """Returns what divides the logits of kinds and places so that held-out steps are likeliest (a search of a grid)."""
    outputs = [
        (sample.label, parted(session.run(None, feeds_of(sample.look, table)), sample.look)) for sample in samples[:400]
    ]

    def surprise(temperature: float) -> float:
        total = 0.0
        for label, output in outputs:
            answer = answer_of(output, temperature)
            total -= np.log(max(1e-6, float(answer.kinds[list(label.kinds)].sum())))
            if label.targets.any():
                total -= np.log(max(1e-6, float(answer.target[label.targets > 0].sum())))
        return total

    return float(min(np.arange(0.6, 3.0, 0.1).round(2).tolist(), key=surprise))


def description(record: dict[str, Any]) -> dict[str, Any]:
    model = {
        "backends": ["native", "onnxruntime"],
        "quantisation": "int8: weights s8 per channel, activations u8 (QDQ)",
    }
    return {
        "name": NAME,
        "version": VERSION,
        "kind": "screen_agent",
        "licence": "Apache-2.0",
        "description": "Works desktops from their pixels: a reader of UI text and a decider, trained from nothing.",
        "models": {READER: {"file": "reader.onnx", **model}, DECIDER: {"file": "decider.onnx", **model}},
        "training": record,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", type=Path, help="the bundle to write, .ihb")
    parser.add_argument("--work", type=Path, required=True, help="folder of what the stages leave")
    parser.add_argument(
        "--episodes", type=Path, help="demonstrations that were recorded already; own mistakes are added"
    )
    parser.add_argument("--small", action="store_true", help="all stages in about a minute, to see that they work")
    parser.add_argument("--reader-minutes", type=float, help="processor time of the reader's training")
    parser.add_argument("--decider-minutes", type=float, help="processor time of the decider's training, each round")
    parser.add_argument("--start", type=Path, help="an earlier decider's checkpoint to begin with")
    parser.add_argument("--steps", type=int, help="steps of a task that are looked at")
    parser.add_argument("--title", default="", help="only shown in the process list")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    scale = SMALL if chosen.small else FULL
    changes = {
        name: value
        for name in ("reader_minutes", "decider_minutes", "steps")
        if (value := getattr(chosen, name)) is not None
    }
    recipe = Recipe(chosen.work, dataclasses.replace(scale, **changes), chosen.episodes, chosen.start)
    print(json.dumps(recipe.bundle(chosen.target), indent=1))


if __name__ == "__main__":
    main()
