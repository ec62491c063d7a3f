"""Checkpoints to int8 ONNX, and the table of letter groups to int8: what the bundle holds.

reader.pt ─► reader.onnx (float) ─► QDQ, calibrated on drawn lines, measured on unseen ones
decider.pt ─► decider.onnx (float) ─► QDQ, calibrated on looks, measured on held-out steps · grams.npz
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from models.quantize import Feeds, Report, quantize
from models.screen_agent.batches import Batch, batch_of
from models.screen_agent.decider_net import HEADS, DeciderNet
from models.screen_agent.labelled import Sample
from models.screen_agent.reader_net import ReaderNet, columns
from models.screen_agent.train_decider import right
from models.screen_agent.train_reader import Line, decoded
from runtime.agent.deciding import GramTable, feeds_of, parted
from runtime.agent.features import Look
from runtime.agent.pairs import PAIRS
from runtime.agent.strips import HEIGHT

_OPSET = 17
_AWAY = -60.0  # added to what attention gives a token of padding


def export_reader(checkpoint: Path, target: Path) -> None:
    """Writes the float reader as ONNX with any number and width of strips."""
    net = ReaderNet()
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["net"])
    net.eval()
    torch.onnx.export(
        net,
        (torch.zeros(1, 1, HEIGHT, 96),),
        str(target),
        input_names=["strips"],
        output_names=["columns"],
        dynamic_axes={"strips": {0: "n", 3: "w"}, "columns": {0: "n", 3: "half"}},
        opset_version=_OPSET,
        dynamo=False,
    )


def quantize_reader(source: Path, target: Path, calibration: Sequence[Line], measured: Sequence[Line]) -> Report:
    """Writes the int8 reader; its score is the share of `measured` lines read without a mistake.

    No layer stays float, so that every backend gives the same bits, and with them the same decisions.
    """

    def score(session: onnxruntime.InferenceSession) -> float:
        good = 0
        for line in measured:
            logits = torch.from_numpy(session.run(None, strip_feed(line))[0])
            good += decoded(columns(logits))[0].strip() == line.text.strip()
        return good / len(measured)

    return quantize(
        source, target, [strip_feed(line) for line in calibration], score=score, most_lost=0.004, most_kept=0
    )


def strip_feed(line: Line) -> Feeds:
    return {"strips": line.strip[None, None].astype(np.float32) / np.float32(255)}


def export_decider(checkpoint: Path, target: Path, example: Look) -> GramTable:
    """Writes the float decider as ONNX with any number of words and boxes, and returns its table in int8."""
    net = DeciderNet()
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["net"])
    net.eval()
    table = GramTable.of(net.grams.weight.detach().numpy())
    feeds = feeds_of(example, table)
    torch.onnx.export(
        _Single(net),
        tuple(torch.from_numpy(feeds[name]) for name in ("tokens", "pairs")),
        str(target),
        input_names=["tokens", "pairs"],
        output_names=["whole", "of_boxes", "of_words", "letters"],
        dynamic_axes={"tokens": {1: "t"}, "pairs": {2: "t", 3: "u"}, "of_boxes": {1: "t"}, "of_words": {1: "t"}},
        opset_version=_OPSET,
        dynamo=False,
    )
    return table


class _Single(torch.nn.Module):
    """The decider for one look: without padding, its inputs in one matrix, so that the graph is products and sums."""

    def __init__(self, net: DeciderNet) -> None:
        super().__init__()
        self.net, self.joined = net, net.joined()
        self.pairs = torch.nn.ModuleList(torch.nn.Conv2d(PAIRS + 1, HEADS, 1) for _ in net.pairs)
        with torch.no_grad():  # one more channel: a token that is padding is not looked at
            for own, layer in zip(self.pairs, net.pairs, strict=True):
                own.weight.copy_(torch.cat((layer.weight, torch.full((HEADS, 1, 1, 1), _AWAY)), 1))
                own.bias.copy_(layer.bias)

    def forward(self, tokens: torch.Tensor, pairs: torch.Tensor) -> Any:
        padding = pairs[:, PAIRS:, :1] * _AWAY
        return self.net.think(self.joined(tokens), [layer(pairs) for layer in self.pairs], padding, 1)


def quantize_decider(
    source: Path, target: Path, table: GramTable, calibration: Sequence[Sample], measured: Sequence[Sample]
) -> Report:
    """Writes the int8 decider; its score is the share of `measured` steps done right.

    Products give floats: to 8 bits, chances came in steps of a third of a logit, where two elements often were equal,
    and what a bias and a ReLU leave of a result was a third of its steps.
    """

    def score(session: onnxruntime.InferenceSession) -> float:
        return float(np.mean([is_right(session, sample, table) for sample in measured]))

    feeds = [feeds_of(sample.look, table) for sample in calibration]
    pairs = [node.name for node in onnx.load(source).graph.node if node.op_type == "Conv"]  # its range is wide
    return quantize(
        source,
        target,
        feeds,
        score=score,
        most_lost=0.005,
        most_kept=6,
        keep_float=pairs,
        float_results=("MatMul", "Gemm"),
    )


def is_right(session: onnxruntime.InferenceSession, sample: Sample, table: GramTable) -> bool:
    outputs = parted(session.run(None, feeds_of(sample.look, table)), sample.look)
    made: Batch = batch_of([sample], None)
    return bool(right(tuple(torch.from_numpy(output) for output in outputs), made)[0])


def save_table(table: GramTable, path: Path) -> None:
    """Writes the table as NPZ: int8 rows and one scale each."""
    with path.open("wb") as file:
        np.savez(file, rows=table.rows, scales=table.scales)


def as_json(reports: dict[str, Report]) -> str:
    return json.dumps({name: report.as_dict() for name, report in reports.items()}, indent=1)
