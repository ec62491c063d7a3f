"""A Llama in exact arithmetic, as far as float32 goes: weights as the GGUF states them, activations never quantised.

The third reference of `bench lm --fidelity`: two engines with 8-bit activations differ from each other by the sum
of what each loses, so neither can be the other's judge. Whole windows at once, numpy only, nothing of the engine's
own code but the reader of the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.lm.cache import rope_frequencies
from kernels.lm.config import read_config
from kernels.lm.gguf import Gguf, Tensor, read_gguf

Floats = NDArray[np.float32]


def dequantised(tensor: Tensor) -> Floats:
    """Returns a Q4_0, Q4_1, Q8_0, F16 or F32 matrix as float32 (rows, cols). Raises ValueError for another type."""
    rows, cols, raw = tensor.rows, tensor.cols, tensor.data
    if tensor.kind in ("F32", "F16"):
        kind = np.float32 if tensor.kind == "F32" else np.float16
        return raw.view(kind).reshape(rows, cols).astype(np.float32)
    head = {"Q4_0": 2, "Q4_1": 4, "Q8_0": 2}.get(tensor.kind)
    if head is None:
        raise ValueError(f"{tensor.name} is {tensor.kind}")
    blocks = raw.reshape(rows * cols // 32, -1)
    scales = np.ascontiguousarray(blocks[:, :head]).view(np.float16).astype(np.float32)
    body = blocks[:, head:]
    if tensor.kind == "Q8_0":
        values = body.view(np.int8).astype(np.float32) * scales[:, :1]
    else:
        nibbles = np.concatenate([body & 15, body >> 4], axis=1).astype(np.float32)
        values = nibbles * scales[:, :1] + (scales[:, 1:] if tensor.kind == "Q4_1" else -8 * scales[:, :1])
    return values.reshape(rows, cols)


class ExactLlama:
    """Logits of whole windows, each from an empty context."""

    def __init__(self, path: Path) -> None:
        gguf = read_gguf(path)
        self.config = read_config(gguf)
        self.frequencies = rope_frequencies(gguf, self.config).view(np.float64)
        self.weights = {name: dequantised(tensor) for name, tensor in self._matrices(gguf)}

    @staticmethod
    def _matrices(gguf: Gguf) -> list[tuple[str, Tensor]]:
        return [(name, tensor) for name, tensor in gguf.tensors.items() if name != "rope_freqs.weight"]

    def logits(self, tokens: list[int]) -> Floats:
        """Returns the logits after every token, float32 (tokens, vocabulary)."""
        c, w = self.config, self.weights
        x = w["token_embd.weight"][tokens]
        angles = np.arange(len(tokens))[:, None] * self.frequencies
        turn = (np.cos(angles) + 1j * np.sin(angles)).astype(np.complex64)[:, None, :]
        for layer in range(c.n_layer):
            at = f"blk.{layer}."
            x = x + self._attention(self._norm(x, at + "attn_norm.weight"), at, turn)
            h = self._norm(x, at + "ffn_norm.weight")
            gate = h @ w[at + "ffn_gate.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w[at + "ffn_up.weight"].T)) @ w[at + "ffn_down.weight"].T
        head = w["token_embd.weight" if c.tied else "output.weight"]
        found: Floats = self._norm(x, "output_norm.weight") @ head.T
        return found

    def _norm(self, x: Floats, name: str) -> Floats:
        scale = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + self.config.epsilon)
        normed: Floats = x * scale.astype(np.float32) * self.weights[name]
        return normed

    def _attention(self, h: Floats, at: str, turn: NDArray[np.complex64]) -> Floats:
        c, w, count = self.config, self.weights, len(h)
        q, k = (
            self._turned((h @ w[f"{at}attn_{name}.weight"].T).reshape(count, heads, c.head_dim), turn)
            for name, heads in (("q", c.n_head), ("k", c.n_kv_head))
        )
        v = (h @ w[at + "attn_v.weight"].T).reshape(count, c.n_kv_head, c.head_dim)
        share, hidden = c.n_head // c.n_kv_head, np.triu(np.full((count, count), -np.inf, np.float32), 1)
        mixed = np.empty_like(q)
        for head in range(c.n_head):
            scores = q[:, head] @ k[:, head // share].T / np.float32(np.sqrt(c.head_dim)) + hidden
            weight = np.exp(scores - scores.max(1, keepdims=True))
            mixed[:, head] = weight / weight.sum(1, keepdims=True) @ v[:, head // share]
        out: Floats = mixed.reshape(count, -1) @ w[at + "attn_output.weight"].T
        return out

    def _turned(self, heads: Floats, turn: NDArray[np.complex64]) -> Floats:
        dims = self.config.rope_dim
        pairs = np.ascontiguousarray(heads[:, :, :dims]).view(np.complex64) * turn
        return np.concatenate([pairs.view(np.float32), heads[:, :, dims:]], axis=2)
