"""Reading screens: the int8 reader on rendered UI strings beside the float one, and a 1080p screen, whole and in part.

Accuracy is the share of strings without a mistake, spaces aside. The float models are taken from the recipe's cache (or
`--float FOLDER`); without them their columns are missing, nothing is downloaded. One thread, its CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from kernels.frames.tiles import TILE, tile_hashes
from models.text_reader.screens import screen
from models.text_reader.strings import MEASURE_SEED, Sample, fonts_here, samples
from runtime.agent.blocks import BlockFinder
from runtime.agent.detection import detector_image
from runtime.agent.geometry import Box
from runtime.agent.recognition import LineReader, decode, read_alphabet, recogniser_image
from runtime.backends.protocol import Limits
from runtime.daemon.assets import BundleAssets
from runtime.desktop.frame import Frame
from runtime.store.bundle import Bundle, sign
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore

BUNDLE = Path(__file__).parent.parent / "models" / "bundles" / "text_reader.ihb"
CACHE = Path.home() / ".cache" / "idlehands" / "text_reader"
_KEY = bytes(16)
_WIDTH, _HEIGHT = 1920, 1080


def run(argv: list[str]) -> dict[str, Any]:
    """Returns rows of accuracy and speed; see the module."""
    parser = argparse.ArgumentParser(prog="python -m bench ocr")
    parser.add_argument("--strings", type=int, default=2000, help="how many rendered strings (default 2000)")
    parser.add_argument("--rounds", type=int, default=5, help="screens of each kind (default 5)")
    parser.add_argument("--float", type=Path, default=CACHE, help="folder with the float models")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="idlehands-bench-") as folder:
        bundle = install(Path(folder))
        assets = BundleAssets(bundle, Limits())
        alphabet = read_alphabet(assets.file("alphabet.txt"))
        strings = list(samples(chosen.strings, MEASURE_SEED))
        rows = [_strings("int8", _session(bundle.path("rec.onnx")), strings, alphabet)]
        float_file = chosen.float / "ch_PP-OCRv4_rec_infer.onnx"
        if float_file.is_file():
            rows.append(_strings("float", _session(float_file), strings, alphabet))
        model = assets.model("recognise")
        reader = LineReader(model, alphabet)
        rows += _screens(reader, _session(bundle.path("det.onnx")), chosen.rounds)
        model.close()
    result: dict[str, Any] = {"rows": rows, "fonts": len(fonts_here()), "threads": 1}
    if len(rows) > 1 and rows[1]["what"].startswith("strings, float"):
        result["lost_points"] = round(100 * (rows[1]["right"] - rows[0]["right"]), 2)
    return result


def install(folder: Path, bundle: Path = BUNDLE) -> Bundle:
    """Signs a copy of a committed bundle with a key of the moment and installs it below `folder`."""
    key = SigningKey.create(folder / "bench.key")
    copy = folder / bundle.name
    copy.write_bytes(bundle.read_bytes())
    sign(copy, key)
    store = ModelStore(folder / "store")
    store.trust(key.public, "bench")
    return store.install(copy)


def _strings(
    name: str, session: onnxruntime.InferenceSession, strings: list[Sample], alphabet: list[str]
) -> dict[str, Any]:
    right, times = 0, []
    for sample in strings:
        began = time.thread_time()
        image, _ = recogniser_image(sample.pixels, Box(*sample.box))
        text = decode(session.run(None, {"x": image[None]})[0][0], alphabet).text
        times.append(time.thread_time() - began)
        right += "".join(text.split()) == "".join(sample.text.split())
    return {
        "what": f"strings, {name}",
        "count": len(strings),
        "right": round(right / len(strings), 4),
        "per_s": round(len(strings) / sum(times), 1),
        "p50_ms": round(1e3 * statistics.median(times), 2),
    }


def _screens(reader: LineReader, detector: onnxruntime.InferenceSession, rounds: int) -> list[dict[str, Any]]:
    """Measures a 1080p screen: finding blocks, reading all of them, one changed tile, and the detecting network."""
    times: dict[str, list[float]] = {"blocks, whole": [], "blocks + reading, whole": [], "one changed tile": []}
    times["detecting network, whole"] = []
    lines = 0
    for number in range(rounds):
        pixels = screen(_WIDTH, _HEIGHT, MEASURE_SEED + 100 + number, most_texts=120).pixels
        finder = BlockFinder()
        reader.forget()
        frame = frame_of(pixels)
        began = time.thread_time()
        layout = finder.find(frame)
        times["blocks, whole"].append(time.thread_time() - began)
        for text in layout.texts:
            reader.read(pixels, text.box, None)
        times["blocks + reading, whole"].append(time.thread_time() - began)
        lines = len(layout.texts)
        changed = pixels.copy()
        patch = screen(TILE, TILE, number).pixels
        changed[5 * TILE : 6 * TILE, 7 * TILE : 8 * TILE] = patch
        frame = frame_of(changed)
        began = time.thread_time()
        for text in finder.find(frame).texts:
            reader.read(changed, text.box, None)
        times["one changed tile"].append(time.thread_time() - began)
        began = time.thread_time()
        detector.run(None, {"x": detector_image(pixels)})
        times["detecting network, whole"].append(time.thread_time() - began)
    return [
        {
            "what": f"1080p: {name}",
            "count": lines,
            "p50_ms": round(1e3 * statistics.median(values), 2),
            "best_ms": round(1e3 * min(values), 2),
        }
        for name, values in times.items()
    ]


def frame_of(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Frame:
    """Returns a frame of which everything has changed."""
    hashes = tile_hashes(pixels, _KEY)
    return Frame(1, pixels, np.ones(hashes.shape[:2], dtype=np.bool_), hashes, 0, 0)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
