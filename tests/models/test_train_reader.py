"""The reader's training data, and going on from a bundle's reader. Nothing is trained to be good here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: make train-smoke")

from models.screen_agent import reading_pages  # noqa: E402
from models.screen_agent.bundle_parts import read_bundle  # noqa: E402
from models.screen_agent.bundled_reader import bundled_reader  # noqa: E402
from models.screen_agent.bundled_weights import OtherRecipe  # noqa: E402
from models.screen_agent.reader_net import columns  # noqa: E402
from models.screen_agent.train_reader import batch_of, decoded, lines_of, reach_into, train  # noqa: E402
from runtime.agent.screen_agent import DECIDER, READER  # noqa: E402
from runtime.agent.strips import HEIGHT  # noqa: E402

BUNDLE = Path("models/bundles/screen_agent.ihb")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lines of one page that Chromium drew, and of some that Pillow did."""
    folder = tmp_path_factory.mktemp("lines")
    asyncio.run(reading_pages.draw_shards(folder, 1, 60, seed=5))
    return folder


def test_lines_are_drawn_on_their_ground_by_chromium_and_pillow(shards: Path) -> None:
    names = sorted(path.name.split("-")[0] for path in shards.glob("*.npz"))
    assert names == ["chromium", "pillow"]
    for path in shards.glob("*.npz"):
        crops = reading_pages.load(path)
        assert len(crops) >= 40
        inked = [float((one.ink >= 40).mean()) for one in crops if len(one.text) > 1]
        assert np.median(inked) < 0.35, "letters on their ground, not the ground around letters"


def test_a_bundles_reader_reads_as_a_network_what_it_reads_in_its_bundle(shards: Path) -> None:
    net = bundled_reader(read_bundle(BUNDLE).of_role(READER)).eval()
    lines = [one for one in lines_of(shards, set()) if 11 <= one.size_px <= 20 and one.strip.shape[1] <= 160][:48]
    with torch.inference_mode():
        said = decoded(columns(net(batch_of(lines, None)[0])))
    right = [one.strip() == line.text.strip() for one, line in zip(said, lines, strict=True)]
    assert len(right) > 20
    assert np.mean(right) >= 0.75


def test_what_is_no_reader_is_named() -> None:
    with pytest.raises(OtherRecipe, match="convolutions"):
        bundled_reader(read_bundle(BUNDLE).of_role(DECIDER))


def test_training_goes_on_from_a_bundle_and_keeps_its_normalisation(shards: Path, tmp_path: Path) -> None:
    data = read_bundle(BUNDLE).of_role(READER)
    train(shards, tmp_path / "reader.pt", 0.05, batch=16, begun_with=data)
    before, after = bundled_reader(data).state_dict(), torch.load(tmp_path / "reader.pt", weights_only=True)["net"]
    for name, value in before.items():
        if "running" in name:
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["out.weight"], before["out.weight"])
    assert (after["out.weight"] - before["out.weight"]).abs().max() < 0.05


def test_lines_that_are_set_tight_reach_into_each_other() -> None:
    dice = np.random.default_rng(3)
    line, other = (np.zeros((HEIGHT, 80), dtype=np.float32) for _ in range(2))
    line[8:17, 4:70] = 1
    other[6:15, 4:70] = 1
    other[15:18, 20:22] = 1  # the stem of a p
    other[4:6, 40:42] = 1  # that of an l
    seen = set()
    for _ in range(60):
        image = line.copy()
        reach_into(image, other, dice)
        assert (image >= line).all()
        rows = tuple(np.flatnonzero((image != line).any(axis=1)).tolist())
        assert (image != line).sum() <= 4, "two rows of a stroke of two pixels"
        seen.add(rows)
    assert {(7,), (6, 7), (17,), (17, 18)} <= seen
