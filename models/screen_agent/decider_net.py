"""The decider's network: a look as tokens ─► what to do, where, and what to type.

[ screen | words | deeds | boxes ] ─► 4 layers of attention, biased by what each token is to each other,
  which each layer weighs anew ─►
  kind of action (from the screen's token) · target, end and source of text (over boxes) · cell within a box
  first and last word of a copied text (over words) · characters of a text that is neither (slots)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from models.screen_agent.reading_texts import ALPHABET
from runtime.agent.action_kinds import KINDS
from runtime.agent.features import BOX_DIMS, DEED_DIMS, SCREEN_DIMS, WORD_DIMS
from runtime.agent.grams import BUCKETS
from runtime.agent.pairs import PAIRS
from runtime.agent.plans import CELLS, SLOTS, SOURCES

DIMS, LAYERS, HEADS, INNER = 128, 4, 4, 384
GRAM_DIMS = 48
DROPPED = 0.1  # share of the channels of what a layer adds that training leaves out
LETTERS = len(ALPHABET) + 1


class Block(nn.Module):
    """One layer: attention with a bias for every pair, then two products; each after a normalisation."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(dims)
        self.query, self.key, self.value = (nn.Linear(dims, dims) for _ in range(3))
        self.merge = nn.Linear(dims, dims)
        self.between = nn.LayerNorm(dims)
        self.widen, self.narrow = nn.Linear(dims, INNER), nn.Linear(INNER, dims)

    def forward(self, tokens: torch.Tensor, bias: torch.Tensor, batch: int) -> torch.Tensor:
        seen = self.before(tokens)
        each = DIMS // HEADS
        query, key, value = self.asked(seen)
        query = query.reshape(batch, -1, HEADS, each).transpose(1, 2)
        key = key.reshape(batch, -1, HEADS, each).permute(0, 2, 3, 1)
        value = value.reshape(batch, -1, HEADS, each).transpose(1, 2)
        weights = (query * each**-0.5 @ key + bias if self.training else query @ key * each**-0.5 + bias).softmax(-1)
        met = (weights @ value).transpose(1, 2).reshape(batch, -1, DIMS)
        tokens = tokens + self.thinned(self.merge(met), batch)
        return tokens + self.thinned(self.narrow(self.widen(self.between(tokens)).relu()), batch)

    def asked(self, seen: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns queries, keys and values; in training by one product, which is half as long."""
        parts = (self.query, self.key, self.value)
        if not self.training:
            return tuple(part(seen) for part in parts)
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        return tuple(functional.linear(seen, weight, bias).chunk(3, -1))

    def thinned(self, added: torch.Tensor, batch: int) -> torch.Tensor:
        """Returns what a layer adds without some channels, others for every look: the same ones for all its tokens."""
        if not self.training:
            return added
        kept = torch.rand(batch, 1, added.shape[-1], device=added.device) >= DROPPED
        return added * kept.to(added.dtype) / (1 - DROPPED)


class DeciderNet(nn.Module):
    """Takes a batch of looks, padded; a padded token has a bias of -1e4 towards it. See `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.grams = nn.EmbeddingBag(BUCKETS, GRAM_DIMS, mode="sum", padding_idx=0)
        nn.init.normal_(self.grams.weight, 0, 0.15)
        self.screen = nn.Linear(SCREEN_DIMS, DIMS)
        self.words = nn.Linear(WORD_DIMS + GRAM_DIMS, DIMS)
        self.deeds = nn.Linear(DEED_DIMS + GRAM_DIMS, DIMS)
        self.boxes = nn.Linear(BOX_DIMS + GRAM_DIMS, DIMS)
        self.pairs = nn.ModuleList(nn.Conv2d(PAIRS, HEADS, 1) for _ in range(LAYERS))
        self.blocks = nn.ModuleList(Block(DIMS) for _ in range(LAYERS))
        self.last = nn.LayerNorm(DIMS)
        self.kind = nn.Linear(DIMS, len(KINDS) + len(SOURCES))
        self.box_own, self.box_all = nn.Linear(DIMS, DIMS), nn.Linear(DIMS, DIMS)
        self.box_out = nn.Linear(DIMS, 3 + 2 * CELLS)
        self.word_own, self.word_all = nn.Linear(DIMS, DIMS), nn.Linear(DIMS, DIMS)
        self.word_out = nn.Linear(DIMS, 2)
        self.slots = nn.Parameter(torch.randn(1, SLOTS, DIMS) * 0.3)
        self.slot_key, self.slot_value = nn.Linear(DIMS, DIMS), nn.Linear(DIMS, DIMS)
        self.slot_all, self.slot_inner = nn.Linear(DIMS, DIMS), nn.Linear(DIMS, DIMS)
        self.slot_out = nn.Linear(DIMS, LETTERS)

    def forward(
        self,
        screen: torch.Tensor,  # (b, 1, SCREEN_DIMS)
        words: torch.Tensor,  # (b, n, WORD_DIMS + GRAM_DIMS)
        deeds: torch.Tensor,  # (b, REMEMBERED, DEED_DIMS + GRAM_DIMS)
        boxes: torch.Tensor,  # (b, m, BOX_DIMS + GRAM_DIMS)
        pairs: torch.Tensor,  # (b, PAIRS, t, t), t = 1 + n + REMEMBERED + m
        mask: torch.Tensor | None = None,  # (b, 1, 1, t): 0, or -1e4 for padding
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns (b, 1, kinds + sources), (b, m, 3 + 2·CELLS), (b, n, 2), (b, SLOTS, LETTERS)."""
        parts = (self.screen(screen), self.words(words), self.deeds(deeds), self.boxes(boxes))
        kinds, box, word, letters = self.think(torch.cat(parts, 1), self.biases(pairs, mask), mask, screen.shape[0])
        first = 1 + words.shape[1] + deeds.shape[1]
        return kinds, box[:, first:], word[:, 1 : 1 + words.shape[1]], letters

    def biases(self, pairs: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
        """Returns each layer's (b, HEADS, t, t); by one product, since a 1×1 convolution takes ten times as long."""
        weight = torch.cat([layer.weight.flatten(1) for layer in self.pairs])
        bias = torch.cat([layer.bias for layer in self.pairs])
        many = weight[None].expand(pairs.shape[0], -1, -1)  # a plain product would turn the pairs around first
        made = torch.bmm(many, pairs.flatten(2)).unflatten(2, pairs.shape[2:])
        own = bias[:, None, None].to(made.dtype) if mask is None else bias[:, None, None] + mask
        return list((made + own.to(made.dtype)).chunk(LAYERS, 1))

    def think(
        self, tokens: torch.Tensor, biases: Sequence[torch.Tensor], mask: torch.Tensor | None, batch: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns what `forward` does, but with a row for every token: (b, t, 3 + 2·CELLS) and (b, t, 2)."""
        for block, bias in zip(self.blocks, biases, strict=True):
            tokens = block(tokens, bias, batch)
        tokens = self.last(tokens)
        whole = tokens[:, :1]
        box = self.box_out((self.box_own(tokens) + self.box_all(whole)).relu())
        word = self.word_out((self.word_own(tokens) + self.word_all(whole)).relu())
        slots = self.slots + self.slot_all(whole)
        scores = slots @ self.slot_key(tokens).transpose(1, 2) * DIMS**-0.5
        if mask is not None:
            scores = scores + mask[:, 0]
        read = slots + scores.softmax(-1) @ self.slot_value(tokens)
        letters = self.slot_out(self.slot_inner(read).relu())
        return self.kind(whole), box, word, letters

    def joined(self) -> nn.Linear:
        """Returns the four input layers as one over rows [screen | words | deeds | boxes | which of them it is]."""
        layers = (self.screen, self.words, self.deeds, self.boxes)
        wide = sum(layer.in_features for layer in layers)
        made = nn.Linear(wide + len(layers), DIMS, bias=False)
        with torch.no_grad():
            made.weight.copy_(
                torch.cat([layer.weight for layer in layers] + [torch.stack([layer.bias for layer in layers], 1)], 1)
            )
        return made


def taken_over(net: DeciderNet, kept: dict[str, torch.Tensor]) -> None:
    """Begins with the weights of an earlier, smaller net: what it had no input for counts nothing yet.

    New inputs stand before the letter groups, new relations, kinds and sources at the end; relations that all layers
    shared are each layer's own.
    """
    made = net.state_dict()
    for name, value in kept.items():
        if name.startswith("pairs.") and name.count(".") == 1:
            names = [f"pairs.{layer}.{name.removeprefix('pairs.')}" for layer in range(LAYERS)]
        else:
            names = [name]
        for own in names:
            target = torch.zeros_like(made[own])
            if name in ("words.weight", "deeds.weight", "boxes.weight"):
                before = value.shape[1] - GRAM_DIMS
                target[:, :before], target[:, -GRAM_DIMS:] = value[:, :before], value[:, before:]
            elif name.startswith("kind.") and value.shape[0] < target.shape[0]:
                target[: value.shape[0]] = value
                target[value.shape[0] :] = made[own][value.shape[0] :] * 0.1
            else:
                target[tuple(slice(0, size) for size in value.shape)] = value
            made[own] = target
    net.load_state_dict(made)
