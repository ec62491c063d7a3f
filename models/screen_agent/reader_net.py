"""The reader's network: a strip of contrast (1, 24, W) ─► a character or nothing at every column (CTC).

24×W ─ conv ─ conv ↓ ─► 12×W ─ conv ↓↓ ─► 6×W/2 ─ conv ↓ ─► 3×W/2 ─ conv over all 3 rows ─► 1×W/2 ─ 2 residual 1×5
     ─► two columns of classes from each: W columns again, since two narrow letters may be 5 pixels wide in all
"""

from __future__ import annotations

import torch
from torch import nn

from models.screen_agent.reading_texts import ALPHABET

CLASSES = len(ALPHABET) + 1  # class 0 is nothing


def _block(
    ins: int, outs: int, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]
) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(ins, outs, kernel, stride, pad, bias=False), nn.BatchNorm2d(outs), nn.ReLU())


class ReaderNet(nn.Module):
    """Takes float (n, 1, 24, W) in 0 … 1, W a multiple of 2; gives logits (n, 2·CLASSES, 1, W/2)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _block(1, 24, (3, 3), (1, 1), (1, 1)),
            _block(24, 32, (3, 3), (2, 1), (1, 1)),
            _block(32, 48, (3, 4), (2, 2), (1, 1)),
            _block(48, 80, (3, 3), (2, 1), (1, 1)),
            _block(80, width, (3, 3), (1, 1), (0, 1)),
        )
        self.first = _block(width, width, (1, 5), (1, 1), (0, 2))
        self.second = _block(width, width, (1, 5), (1, 1), (0, 2))
        self.out = nn.Conv2d(width, 2 * CLASSES, 1)

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        seen = self.stem(strips)
        seen = seen + self.first(seen)
        seen = seen + self.second(seen)
        logits: torch.Tensor = self.out(seen)
        return logits


def columns(logits: torch.Tensor) -> torch.Tensor:
    """Returns (n, W, CLASSES) for the network's (n, 2·CLASSES, 1, W/2)."""
    count, _, _, half = logits.shape
    return logits.reshape(count, 2, CLASSES, half).permute(0, 3, 1, 2).reshape(count, 2 * half, CLASSES)
