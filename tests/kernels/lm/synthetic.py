"""Small random Llama models as GGUF files, their blocks unpacked by plain numpy, and a float64 forward pass.

Written from the format's description, not from the code under test, so that both must be right to agree.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q6_K": 14}
BLOCK_VALUES = {"F32": 1, "F16": 1, "Q4_0": 32, "Q4_1": 32, "Q8_0": 32, "Q6_K": 256}

Floats = NDArray[np.float64]


def f16(values: Floats) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values.astype(np.float16)).view(np.uint8)


def random_tensor(rng: np.random.Generator, kind: str, rows: int, cols: int) -> tuple[bytes, Floats]:
    """Returns a tensor's bytes in the file and the values (rows, cols) that they mean, about N(0, 1/cols)."""
    size = 1 / np.sqrt(cols)
    blocks = cols // BLOCK_VALUES[kind]
    if kind in ("F32", "F16"):
        values = (rng.normal(size=(rows, cols)) * size).astype(np.float32 if kind == "F32" else np.float16)
        return values.tobytes(), values.astype(np.float64)
    scale = (
        rng.uniform(0.5, 1.5, (rows, blocks, 1)) * size / {"Q4_0": 5, "Q4_1": 5, "Q8_0": 60, "Q6_K": 600}[kind]
    ).astype(np.float16)
    if kind == "Q8_0":
        q = rng.integers(-127, 128, (rows, blocks, 32)).astype(np.int8)
        return np.concatenate([f16(scale), q.view(np.uint8)], 2).tobytes(), (scale.astype(float) * q).reshape(
            rows, cols
        )
    if kind == "Q6_K":
        return _random_q6_k(rng, scale, rows, blocks)
    nibbles = rng.integers(0, 16, (rows, blocks, 32)).astype(np.uint8)
    packed = nibbles[..., :16] | nibbles[..., 16:] << 4
    if kind == "Q4_0":
        return np.concatenate([f16(scale), packed], 2).tobytes(), (
            scale.astype(float) * (nibbles.astype(float) - 8)
        ).reshape(rows, cols)
    least = (-scale.astype(float) * rng.uniform(6, 9, scale.shape)).astype(np.float16)
    values = scale.astype(float) * nibbles + least.astype(float)
    return np.concatenate([f16(scale), f16(least), packed], 2).tobytes(), values.reshape(rows, cols)


def _random_q6_k(rng: np.random.Generator, scale: NDArray[Any], rows: int, blocks: int) -> tuple[bytes, Floats]:
    q = rng.integers(0, 64, (rows, blocks, 256)).astype(np.uint8)
    low, high = np.zeros((rows, blocks, 128), np.uint8), np.zeros((rows, blocks, 64), np.uint8)
    for at in range(256):  # as ggml's dequantize_row_q6_K reads it
        half, rest = divmod(at, 128)
        quarter, lane = divmod(rest, 32)
        low[..., half * 64 + quarter % 2 * 32 + lane] |= (q[..., at] & 15) << (4 * (quarter // 2))
        high[..., half * 32 + lane] |= (q[..., at] >> 4) << (2 * quarter)
    sub = rng.integers(-20, 21, (rows, blocks, 16)).astype(np.int8)
    values = scale.astype(float) * np.repeat(sub, 16, axis=2) * (q.astype(float) - 32)
    raw = np.concatenate([low, high, sub.view(np.uint8), f16(scale)], 2)
    return raw.tobytes(), values.reshape(rows, blocks * 256)


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: object) -> bytes:
    if isinstance(value, bool):
        return string(key) + struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return string(key) + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return string(key) + struct.pack("<If", 6, value)
    if isinstance(value, str):
        return string(key) + struct.pack("<I", 8) + string(value)
    assert isinstance(value, list)
    if value and isinstance(value[0], str):
        return string(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(string(item) for item in value)
    return string(key) + struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def gguf_bytes(pairs: dict[str, object], tensors: dict[str, tuple[str, int, int, bytes]]) -> bytes:
    """A GGUF file of `tensors` name -> (kind, rows, cols, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pair(*item) for item in pairs.items())
    data = b""
    for name, (kind, rows, cols, raw) in tensors.items():
        dims = [cols] if rows == 1 else [cols, rows]
        head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, NUMBERS[kind], len(data))
        data += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + data


@dataclass(frozen=True)
class Synthetic:
    """A random model: its file, and the numbers in it."""

    raw: bytes
    values: dict[str, Floats]
    heads: int
    kv_heads: int
    layers: int
    base: float

    def write(self, folder: Path) -> Path:
        path = folder / "model.gguf"
        path.write_bytes(self.raw)
        return path

    def forward(self, tokens: list[int], window: int = 0) -> Floats:
        """Returns the logits (tokens, vocabulary) in float64, with nothing quantised but the weights."""
        v, count = self.values, len(tokens)
        x = v["token_embd.weight"][tokens]
        hd = v["blk.0.attn_q.weight"].shape[0] // self.heads
        angle = np.arange(count)[:, None] * self.base ** (-np.arange(0, hd, 2) / hd)
        turn = np.exp(1j * angle)[:, None]
        age = np.arange(count)[:, None] - np.arange(count)
        seen = (age >= 0) & (age < window if window else True)
        for layer in range(self.layers):
            w = {key: v[f"blk.{layer}.{key}.weight"] for key in LAYER}
            h = rms(x, w["attn_norm"])
            q, k = (rotated((h @ w[f"attn_{name}"].T).reshape(count, -1, hd), turn) for name in "qk")
            value = (h @ w["attn_v"].T).reshape(count, -1, hd)
            out = np.zeros_like(q)
            for head in range(self.heads):
                kv = head * self.kv_heads // self.heads
                score = np.where(seen, q[:, head] @ k[:, kv].T / np.sqrt(hd), -np.inf)
                weight = np.exp(score - score.max(1, keepdims=True))
                out[:, head] = weight / weight.sum(1, keepdims=True) @ value[:, kv]
            x = x + out.reshape(count, -1) @ w["attn_output"].T
            h = rms(x, w["ffn_norm"])
            gate = h @ w["ffn_gate"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
        return rms(x, v["output_norm.weight"]) @ v.get("output.weight", v["token_embd.weight"]).T


LAYER = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")


def rms(x: Floats, weight: Floats) -> Floats:
    return x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) * weight


def rotated(x: Floats, turn: NDArray[np.complex128]) -> Floats:
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def tiny_tokenizer(vocabulary: int) -> dict[str, object]:
    """A byte-level BPE of single letters, a few merges, and one control token at the end."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + ["Ġ"]
    merged = ["th", "the", "Ġthe", "in"]
    rest = [f"<{n}>" for n in range(vocabulary - len(letters) - len(merged))]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": letters + merged + rest,
        "tokenizer.ggml.token_type": [1] * (len(letters) + len(merged)) + [3] * len(rest),
        "tokenizer.ggml.merges": ["t h", "th e", "Ġ the", "i n"],
        "tokenizer.ggml.eos_token_id": vocabulary - 1,
    }


def synthetic_model(
    kind: str = "Q4_1",
    head_kind: str = "Q8_0",
    *,
    layers: int = 2,
    embd: int = 64,
    ffn: int = 96,
    heads: int = 4,
    kv_heads: int = 2,
    vocabulary: int = 50,
    tied: bool = True,
    seed: int = 1,
    extra: dict[str, object] | None = None,
) -> Synthetic:
    """Returns a random model whose matrices are of `kind` (the embedding and head of `head_kind`)."""
    rng = np.random.default_rng(seed)
    values: dict[str, Floats] = {}
    tensors: dict[str, tuple[str, int, int, bytes]] = {}

    def add(name: str, matrix_kind: str, rows: int, cols: int) -> None:
        raw, values[name] = random_tensor(rng, matrix_kind, rows, cols)
        tensors[name] = (matrix_kind, rows, cols, raw)

    def add_norm(name: str) -> None:
        norm = rng.uniform(0.5, 1.5, embd).astype(np.float32)
        values[name], tensors[name] = norm.astype(np.float64), ("F32", 1, embd, norm.tobytes())

    kv = embd // heads * kv_heads
    add("token_embd.weight", head_kind, vocabulary, embd)
    for layer in range(layers):
        sizes = {"attn_q": (embd, embd), "attn_k": (kv, embd), "attn_v": (kv, embd), "attn_output": (embd, embd)}
        sizes |= {"ffn_gate": (ffn, embd), "ffn_up": (ffn, embd), "ffn_down": (embd, ffn)}
        for name in LAYER:
            if name in sizes:
                add(f"blk.{layer}.{name}.weight", kind, *sizes[name])
            else:
                add_norm(f"blk.{layer}.{name}.weight")
    add_norm("output_norm.weight")
    if not tied:
        add("output.weight", head_kind, vocabulary, embd)
    pairs: dict[str, object] = {
        "general.architecture": "llama",
        "llama.block_count": layers,
        "llama.context_length": 256,
        "llama.embedding_length": embd,
        "llama.feed_forward_length": ffn,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
    }
    pairs |= tiny_tokenizer(vocabulary) | (extra or {})
    return Synthetic(gguf_bytes(pairs, tensors), values, heads, kv_heads, layers, 10000.0)
