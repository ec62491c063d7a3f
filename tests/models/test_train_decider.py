"""Training the decider: its record, and looks that are augmented. Needs torch, which only training brings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from models.screen_agent.labelled import of_episode
from models.screen_agent.reading_texts import ALPHABET
from runtime.agent.deeds import Memory, keys_of
from runtime.agent.features import look_of
from runtime.agent.small_reader import SmallReader
from runtime.desktop.episodes import Episode
from runtime.wire.actions import Click, Wait
from tests.models.test_screen_agent_recipe import ELEMENTS, INSTRUCTION, SilentModel, step

torch = pytest.importorskip("torch", reason="needs torch: make train-smoke")

from models.screen_agent.batches import on_larger_screen  # noqa: E402
from models.screen_agent.decider_net import DeciderNet  # noqa: E402
from models.screen_agent.train_decider import Parts, mean_of, train  # noqa: E402
from models.screen_agent.train_reader import shorten_sign  # noqa: E402


def test_what_is_trained_already_tells_the_same_record(tmp_path: Path) -> None:
    steps = [step(Click(50, 30), [(20, 20, 60, 20)])]
    samples = [
        sample
        for seed in range(40)
        for sample in of_episode(
            Episode("page", f"train-{seed}", INSTRUCTION, 1.0, 120, 60, 1.0, True, steps),
            SmallReader(SilentModel(), ALPHABET),  # type: ignore[arg-type]
        )
    ]
    torch.set_num_threads(1)
    once, twice = iter([samples]), iter([samples])
    first = train(lambda: next(once, []), tmp_path / "decider.pt", 0.005)
    again = train(lambda: next(twice, []), tmp_path / "decider.pt", 0.005)
    assert first["training_steps"] + first["measured_steps"] == 40
    assert again == first


def test_a_look_on_a_larger_screen_is_what_would_be_seen_there() -> None:
    memory = Memory()
    memory.record("drag", (30, 20), (60, 40), "x")
    memory.observe([1], [1])
    looks = []
    for height, width in ((200, 240), (400, 720)):
        pixels = np.full((height, width, 4), 255, dtype=np.uint8)
        looks.append(look_of(pixels, ELEMENTS, INSTRUCTION, memory, keys_of(pixels, ELEMENTS)))
    small, large = vars(looks[0]).copy(), vars(looks[1])
    on_larger_screen(small, 3.0, 2.0)
    for name, values in small.items():
        assert np.allclose(values, large[name], atol=1e-6), name


def test_a_kind_that_is_rare_in_its_task_is_drawn_more_often() -> None:
    reader = SmallReader(SilentModel(), ALPHABET)  # type: ignore[arg-type]
    data = Parts()
    for number, action in enumerate([Click(50, 30), *[Wait(50)] * 20]):
        shown = [step(action, [(20, 20, 60, 20)] if number == 0 else [])]
        data.take(of_episode(Episode("page", "train-1", INSTRUCTION, 1.0, 120, 60, 1.0, True, shown), reader))
    click, *waits = data.weights()
    assert click == pytest.approx(3 / math.sqrt(21 / 20) * waits[0])


def test_a_field_takes_columns_off_a_sign_and_leaves_one() -> None:
    line = np.zeros((24, 20), np.float32)
    line[11, 3:7] = line[6:18, 9:12] = 1
    shorten_sign(line, 2)
    assert np.flatnonzero(line.max(axis=0)).tolist() == [5, 6, 9, 10, 11]
    shorten_sign(line, 2)
    assert np.flatnonzero(line.max(axis=0)).tolist() == [6, 9, 10, 11]


def test_the_mean_of_two_runs_lies_halfway_between_their_weights(tmp_path: Path) -> None:
    runs = [tmp_path / "one.pt", tmp_path / "two.pt"]
    nets = [DeciderNet().state_dict() for _ in runs]
    for run, net in zip(runs, nets, strict=True):
        torch.save({"net": net}, run)
    assert mean_of(runs, tmp_path / "mean.pt", []) == {}
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)["net"]
    for name, value in mean.items():
        torch.testing.assert_close(value, (nets[0][name] + nets[1][name]) / 2)
