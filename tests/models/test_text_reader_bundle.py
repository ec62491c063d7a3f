"""The committed bundle: whole, licensed, and reading what it is said to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.ocr import BUNDLE, install
from models.onnx_session import session_of
from models.text_reader.screens import screen
from models.text_reader.strings import LARGEST_PX, MEASURE_SEED, SMALLEST_PX, samples
from runtime.agent.detection import TextDetector, detector_image
from runtime.agent.geometry import Box
from runtime.agent.inference import run_model
from runtime.agent.recognition import LineReader, read_alphabet, recogniser_image
from runtime.backends.protocol import Limits, load_model
from runtime.daemon.assets import BundleAssets
from runtime.store.bundle import Bundle, verify
from runtime.store.errors import UntrustedBundle
from runtime.store.keys import TrustedKeys


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return install(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def assets(bundle: Bundle) -> BundleAssets:
    return BundleAssets(bundle, Limits())


def test_it_says_whose_weights_it_holds_and_what_int8_cost(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.kind == "text_reader"
    assert manifest.licence.startswith("Apache-2.0")
    assert "PP-OCRv4" in manifest.licence
    assert set(manifest.models) == {"detect", "recognise"}
    for net in ("rec", "det"):
        before, after = manifest.training[f"{net}_float"], manifest.training[f"{net}_int8"]
        assert isinstance(before, float)
        assert isinstance(after, float)
        assert before - after <= 0.01


def test_as_committed_nobody_trusts_it() -> None:
    with pytest.raises(UntrustedBundle):
        verify(BUNDLE, TrustedKeys([]))


def test_it_reads_rendered_strings(assets: BundleAssets) -> None:
    reader = LineReader(assets.model("recognise"), read_alphabet(assets.file("alphabet.txt")))
    strings = list(samples(120, MEASURE_SEED + 500_000))
    right = sum(
        "".join(reader.read(one.pixels, Box(*one.box), None).text.split()) == "".join(one.text.split())
        for one in strings
    )
    assert right / len(strings) >= 0.85


def test_places_point_at_the_characters(assets: BundleAssets) -> None:
    reader = LineReader(assets.model("recognise"), read_alphabet(assets.file("alphabet.txt")))
    sample = next(one for one in samples(50, MEASURE_SEED) if len(one.text) >= 8 and " " not in one.text)
    reading = reader.read(sample.pixels, Box(*sample.box), None)
    assert len(reading.places) == len(reading.text)
    assert list(reading.places) == sorted(reading.places)
    assert 0 < reading.places[0] < 0.25
    assert 0.75 < reading.places[-1] < 1


def test_the_detector_finds_lines_on_a_screen(assets: BundleAssets) -> None:
    one = screen(640, 320, MEASURE_SEED)
    boxes = TextDetector(assets.model("detect")).find(one.pixels, None)
    found = sum(any(box.holds(*Box(*line).centre) for box in boxes) for _, line in one.texts)
    assert found / len(one.texts) >= 0.9


@pytest.mark.parametrize("role", ["recognise", "detect"])
def test_our_engine_comes_first_and_says_what_onnxruntime_says(bundle: Bundle, role: str) -> None:
    assert bundle.manifest.models[role].backends == ("native", "onnxruntime")
    backend, native = load_model(bundle, Limits(), role)
    assert backend == "native"
    one = screen(320, 64, MEASURE_SEED)
    line = next(iter(samples(1, MEASURE_SEED)))
    fed = recogniser_image(line.pixels, Box(*line.box))[0][None] if role == "recognise" else detector_image(one.pixels)
    ours = run_model(native, {"x": fed}, None)[0]
    (theirs,) = session_of(bundle.path(bundle.manifest.models[role].file)).run(None, {"x": fed})
    native.close()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_samples_are_the_same_for_a_seed_and_within_the_sizes() -> None:
    first, second = list(samples(20, 7)), list(samples(20, 7))
    assert all(
        (a.text, a.box) == (b.text, b.box) and (a.pixels == b.pixels).all() for a, b in zip(first, second, strict=True)
    )
    assert all(SMALLEST_PX <= one.size_px <= LARGEST_PX for one in first)
    assert {one.dark for one in first} == {True, False}


def test_the_bundle_is_small_enough_to_be_committed() -> None:
    assert Path(BUNDLE).stat().st_size <= 15 << 20
