"""Learning from a person: what is recorded is learned by the bundle's own decider, and the variant can be tried.

The screens are drawn here and the input is a listener's, as `idlehands desktop record` hears it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from runtime.desktop.demonstration import Input, Listener
from runtime.desktop.episodes import Episode, write_shard
from runtime.store.canary import Limits
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from runtime.store.trials import Trials

torch = pytest.importorskip("torch", reason="needs torch: make train-smoke")


from models.onnx_session import session_of  # noqa: E402
from models.screen_agent.adapt import NothingToLearn, _told_of_old, adapt, split_old, variant_version  # noqa: E402
from models.screen_agent.batches import batch_of  # noqa: E402
from models.screen_agent.bundle_parts import OtherKind, read_bundle  # noqa: E402
from models.screen_agent.bundled_weights import BundledDecider, OtherRecipe  # noqa: E402
from models.screen_agent.export import is_right  # noqa: E402
from models.screen_agent.labelled import Sample, kept_samples  # noqa: E402
from models.screen_agent.train_decider import run  # noqa: E402
from runtime.agent.deciding import GramTable, feeds_of, parted  # noqa: E402
from runtime.agent.screen_agent import DECIDER, TABLE  # noqa: E402
from runtime.store.bundle import sign  # noqa: E402

BASE = Path("models/bundles/screen_agent.ihb")
INSTRUCTION = "Do the usual."
WORDS = ("Archive", "Zebra", "Cancel", "Open")
SIZE = (320, 200)


@dataclass
class Desk:
    """A screen of buttons; `places` are their corners."""

    seed: int
    places: list[tuple[int, int]] = field(default_factory=list)

    def look(self) -> NDArray[np.uint8]:
        dice = np.random.default_rng(self.seed)
        picture = Image.new("RGB", SIZE, "white")
        draw = ImageDraw.Draw(picture)
        font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 13)
        self.places = []
        for number, word in enumerate(WORDS):
            x, y = int(dice.integers(10, 200)), 12 + 46 * number
            draw.rectangle((x, y, x + 90, y + 28), outline="black", fill=(225, 225, 225))
            draw.text((x + 18, y + 6), word, fill="black", font=font)
            self.places.append((x, y))
        pixels = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
        pixels[..., :3] = np.asarray(picture)[..., ::-1]
        return pixels


def demonstrate(
    folder: Path, seed: int, word: str = "Zebra", *, success: bool = True, instruction: str = INSTRUCTION
) -> Path:
    """Records a person who presses the button `word`."""
    desk = Desk(seed)
    listener = Listener(instruction, desk.look)
    listener.settle()
    x, y = desk.places[WORDS.index(word)]
    for at, kind in enumerate(("button_press", "button_release")):
        listener.hear(Input(kind, 1, x + 45, y + 14, 1000 + 30 * at))
    steps = listener.finish()
    shown = Episode("usual", f"shown-{seed}", instruction, 1.0, *SIZE, 1.0 if success else 0.0, success, steps)
    return write_shard(folder, shown.task, shown.seed, [shown])


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], Path]:
    """Returns (the demonstrations, the record, the variant's bundle)."""
    folder = tmp_path_factory.mktemp("adapt")
    for seed in range(4):
        demonstrate(folder / "shown", seed)
    target = folder / "out" / "variant.ihb"
    record = adapt(folder / "shown", BASE, target, minutes=1.0)
    return folder / "shown", record, target


def test_what_was_shown_is_done_and_on_a_screen_that_was_kept_back_too(
    adapted: tuple[Path, dict[str, object], Path],
) -> None:
    _, record, _ = adapted
    assert record["adapted_episodes"] == 4
    assert record["adapted_steps_shown"] == 3
    assert record["adapted_measured_apart"]
    assert record["adapted_right_before"] == 0.0
    assert record["adapted_right_after"] == 1.0
    assert record["adapted_training_steps"] < 1000, "it ends when it can do it"


def old_looks(folder: Path) -> Path:
    """Keeps looks of what the base can do already, as `make train` does: buttons that are named."""
    for seed in range(100, 124):
        word = WORDS[seed % len(WORDS)]
        demonstrate(folder / "old", seed, word, instruction=f'Click on the "{word}" button.')
    module_shown(folder / "old", folder / "looks")
    return folder / "looks"


def module_shown(place: Path, kept: Path) -> list[Sample]:
    from models.screen_agent import adapt as module

    return module.shown(place, read_bundle(BASE), kept)


def test_it_forgets_little_of_what_it_could_and_says_how_much(tmp_path: Path) -> None:
    """Steps that it did right before, kept back from rehearsal; and the share of the way that was enough."""
    looks = old_looks(tmp_path)
    old = kept_samples(looks, 1000)
    rehearsed, measured = split_old(old)
    assert {(one.task, one.seed) for one in rehearsed}.isdisjoint((one.task, one.seed) for one in measured)
    assert min(len(rehearsed), len(measured)) >= 3
    for seed in range(4):
        demonstrate(tmp_path / "shown", seed)
    record = adapt(tmp_path / "shown", BASE, tmp_path / "out" / "variant.ihb", minutes=1.0, rehearse=looks)
    assert record["adapted_right_after"] == 1.0
    assert record["adapted_old_steps"] == len(measured)
    assert record["adapted_old_right_before"] >= 0.5, "the base can do these"
    assert record["adapted_old_right_after"] >= record["adapted_old_right_before"] - 1e-9
    assert 0 < record["adapted_share"] < 1, "what was shown needs less than all of the way"


def test_without_old_looks_it_says_that_nothing_was_measured(
    adapted: tuple[Path, dict[str, object], Path],
) -> None:
    _, record, _ = adapted
    assert (record["adapted_old_steps"], record["adapted_old_right_after"]) == (0, -1.0)
    assert "not measured" in _told_of_old(record)
    assert "lost 0.50 points." in _told_of_old(
        {"adapted_old_steps": 200, "adapted_old_right_before": 0.9, "adapted_old_right_after": 0.895}
    )
    assert "more than the one" in _told_of_old(
        {"adapted_old_steps": 200, "adapted_old_right_before": 0.9, "adapted_old_right_after": 0.88}
    )


def test_the_variant_is_a_bundle_that_the_canary_tries(
    adapted: tuple[Path, dict[str, object], Path], tmp_path: Path
) -> None:
    _, record, target = adapted
    base, variant = read_bundle(BASE), read_bundle(target)
    assert variant.manifest.name == base.manifest.name
    assert variant.manifest.version == variant_version(base.manifest.version, int(str(record["adapted_at"])))
    changed = {name for name in base.files if base.files[name] != variant.files[name]}
    assert changed == {base.manifest.models[DECIDER].file}
    assert variant.manifest.training["adapted_from"] == f"screen-agent@{base.manifest.version}"
    assert variant.manifest.training["decider_seed"] == base.manifest.training["decider_seed"]
    store, key = ModelStore(tmp_path / "store"), SigningKey.create(tmp_path / "key")
    store.trust(key.public)
    for source in (BASE, target):
        signed = tmp_path / source.name
        signed.write_bytes(source.read_bytes())
        sign(signed, key)
        store.install(signed, activate=source is BASE)
    trial = Trials(store).start("screen-agent", variant.manifest.version, 200, Limits())
    assert (trial.stable, trial.canary) == (base.manifest.version, variant.manifest.version)


def test_its_networks_run_natively_as_they_do_elsewhere(adapted: tuple[Path, dict[str, object], Path]) -> None:
    from kernels.graph.model import GraphModel

    _, _, target = adapted
    data = read_bundle(target).of_role(DECIDER)
    sample = samples(target, adapted[0])[0]
    feeds = feeds_of(sample.look, GramTable.read(read_bundle(target).files[TABLE]))
    theirs = session_of(data).run(None, feeds)
    whole = GraphModel.load(data, None, name="decider").start(feeds)
    whole.step(0)
    ours = whole.outputs()
    assert int(ours["whole"][0, 0, :-4].argmax()) == int(theirs[0][0, 0, :-4].argmax())


def samples(bundle: Path, shown: Path) -> list[Sample]:
    from models.screen_agent import adapt as module

    return module.shown(shown, read_bundle(bundle), shown.parent / "looks")


def test_a_bundle_gives_its_weights_back(adapted: tuple[Path, dict[str, object], Path]) -> None:
    """The network with them says what the int8 graph says, up to the rounding of activations."""
    parts = read_bundle(BASE)
    table = GramTable.read(parts.files[TABLE])
    decider = BundledDecider(parts.of_role(DECIDER), table)
    net = decider.net().eval()
    session = session_of(parts.of_role(DECIDER))
    for sample in samples(BASE, adapted[0]):
        with torch.inference_mode():
            floats = [value.float().numpy() for value in run(net, batch_of([sample], None).inputs)]
        ints = parted(session.run(None, feeds_of(sample.look, table)), sample.look)
        for one, other in zip(floats, ints, strict=True):
            assert np.corrcoef(one.ravel(), np.asarray(other).ravel())[0, 1] > 0.98
    again = session_of(decider.with_weights(net))
    for sample in samples(BASE, adapted[0]):
        feeds = feeds_of(sample.look, table)
        for one, other in zip(again.run(None, feeds), session.run(None, feeds), strict=True):
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.995
        assert is_right(again, sample, table) == is_right(session, sample, table)


def test_nothing_is_learned_from_what_shows_nothing(tmp_path: Path) -> None:
    target = tmp_path / "variant.ihb"
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToLearn, match="there is no demonstration"):
        adapt(tmp_path / "empty", BASE, target, minutes=1)
    demonstrate(tmp_path / "failed", 1, success=False)
    with pytest.raises(NothingToLearn, match="none of the 0 steps"):
        adapt(tmp_path / "failed", BASE, target, minutes=1)
    with pytest.raises(OtherKind, match="kind 'text_reader'"):
        adapt(tmp_path / "failed", Path("models/bundles/text_reader.ihb"), target, minutes=1)
    damaged = demonstrate(tmp_path / "damaged", 1)
    data = bytearray(damaged.read_bytes())
    data[40:80] = bytes(40)
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        adapt(tmp_path / "damaged", BASE, target, minutes=1)
    assert not target.exists()


def test_a_decider_of_another_recipe_is_refused() -> None:
    parts = read_bundle(BASE)
    table = GramTable.read(parts.files[TABLE])
    other = GramTable(table.rows[:, :8], table.scales)
    with pytest.raises(OtherRecipe, match=r"has no grams\.weight of the shape"):
        BundledDecider(parts.of_role(DECIDER), other).net()
    from tests.backends.made import chain

    with pytest.raises(OtherRecipe, match="has a product called"):
        BundledDecider(chain(1), table)


@pytest.mark.parametrize(
    ("base", "version"),
    [("1.0.0", "1.0.0.1764369000"), ("1.0.0.1764360000", "1.0.0.1764369000"), ("2.1+x", "2.1.1764369000")],
)
def test_a_variant_is_newer_than_its_base_and_older_than_the_next_release(base: str, version: str) -> None:
    from runtime.store.versions import fits

    assert variant_version(base, 1764369000) == version
    assert fits(version, f">={base.split('+')[0]}")
    assert fits(variant_version("1.0.0", 1764369000), "<1.0.1")
