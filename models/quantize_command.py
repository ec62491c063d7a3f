"""`idlehands model quantize`: float ONNX -> int8 QDQ, or a GGUF to fewer bits, with what it cost and where.

The kind of the source decides: what ends in .gguf is requantised (gguf_quantize.py), all else is ONNX (quantize.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.errors import IdlehandsError
from models.quantize import QuantisationFailed, Report, quantize


def load_calibration(path: Path, most: int) -> list[dict[str, NDArray[Any]]]:
    """Returns at most `most` feeds of an .npz whose arrays are named as the model's inputs, (samples, …) each.

    Raises QuantisationFailed: cannot be read, or the inputs differ in their number of samples.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            inputs = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise QuantisationFailed(f"the calibration set {path} cannot be read: {error}") from error
    counts = {len(array) for array in inputs.values()}
    if len(counts) != 1:
        raise QuantisationFailed(f"{path}: every input needs the same number of samples, got {sorted(counts)}")
    return [{name: array[n : n + 1] for name, array in inputs.items()} for n in range(min(most, counts.pop()))]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, or 2 after one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument.endswith(".gguf") for argument in arguments):
        return gguf_main(arguments)
    parser = argparse.ArgumentParser(
        prog="idlehands model quantize",
        description="Quantises a float ONNX model to int8 (QDQ: u8 activations, s8 weights by output channel), "
        "or, where the source ends in .gguf, a language model: see `idlehands model quantize x.gguf --help`.",
    )
    parser.add_argument("source", type=Path, help="the float model")
    parser.add_argument("target", type=Path, help="where the int8 model goes")
    parser.add_argument(
        "--calibration", type=Path, required=True, help=".npz: an array an input, by its name, (samples, ...)"
    )
    parser.add_argument("--samples", type=int, default=64, help="use at most so many samples (default: 64)")
    parser.add_argument("--percentile", type=float, help="cut outliers of activations, for example 99.99")
    parser.add_argument("--keep-float", action="append", default=[], metavar="LAYER", help="never quantise this layer")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    given = parser.parse_args(arguments)
    try:
        feeds = load_calibration(given.calibration, given.samples)
        report = quantize(given.source, given.target, feeds, keep_float=given.keep_float, percentile=given.percentile)
    except IdlehandsError as error:
        print(f"idlehands model quantize: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report.as_dict(), indent=2) if given.json else text(report))
    return 0


def gguf_main(arguments: Sequence[str]) -> int:
    """The same for a GGUF."""
    from models.gguf_blocks import KINDS
    from models.gguf_quantize import requantize

    parser = argparse.ArgumentParser(
        prog="idlehands model quantize",
        description="Requantises a GGUF of F32, F16, Q8_0 or Q4 matrices; the native engine says how alike both are.",
    )
    parser.add_argument("source", type=Path, help="the model")
    parser.add_argument("target", type=Path, help="where the new one goes")
    parser.add_argument("--kind", choices=KINDS, default="Q4_0", help="of the matrices (default: Q4_0)")
    parser.add_argument(
        "--embedding", choices=(*KINDS, "keep"), default="Q8_0", help="of embedding and head (default: Q8_0)"
    )
    parser.add_argument("--no-score", action="store_true", help="do not run both models")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    given = parser.parse_args(arguments)
    is_shown = sys.stderr.isatty()

    def progress(done: int, all_: int) -> None:
        if is_shown:
            print(f"\rtensors {done}/{all_}", end="" if done < all_ else "\n", file=sys.stderr, flush=True)

    try:
        report = requantize(
            given.source,
            given.target,
            given.kind,
            embedding=given.embedding,
            score=not given.no_score,
            on_tensor=progress,
        )
    except IdlehandsError as error:
        print(f"idlehands model quantize: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(report.as_dict(), indent=2))
        return 0
    print(f"size      {report.source_bytes} -> {report.target_bytes} bytes")
    if report.fidelity is not None:
        found = report.fidelity
        print(f"fidelity  {100 * found.agreement:.1f} % the same next token, {found.divergence:.4f} nats apart")
    print("tensors, the largest change first:")
    for tensor in report.tensors:
        print(f"  {100 * tensor.error:6.2f} %  {tensor.before:5} -> {tensor.after:5} {tensor.bytes:>12}  {tensor.name}")
    return 0


def text(report: Report) -> str:
    """Returns the report for people."""
    lines = [
        f"size     {report.float_bytes} -> {report.int8_bytes} bytes",
        f"time     {report.float_ms:.2f} -> {report.int8_ms:.2f} ms a run",
        f"outputs  {report.snr_db:.1f} dB signal to quantisation noise",
        f"layers   {report.quantised} int8, kept float: {', '.join(report.kept_float) or 'none'}",
        "most sensitive (quantised alone):",
    ]
    return "\n".join([*lines, *(f"  {layer}" for layer in report.most_sensitive)])


if __name__ == "__main__":
    sys.exit(main())
