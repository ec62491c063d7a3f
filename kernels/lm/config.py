"""The numbers of a Llama-family model, read from a GGUF file's metadata and checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kernels.lm.gguf import Gguf, GgufError


@dataclass(frozen=True)
class LlamaConfig:
    """Shapes and constants. `head_dim` values a head, of which the first `rope_dim` turn with the position."""

    n_layer: int
    n_embd: int
    n_ffn: int
    n_head: int
    n_kv_head: int
    head_dim: int
    rope_dim: int
    n_vocab: int
    context: int
    epsilon: float
    rope_base: float
    rope_factor: float
    tied: bool

    def as_dict(self) -> dict[str, int | float | bool]:
        return asdict(self)


def check_config(config: LlamaConfig, name: str) -> None:
    """Raises GgufError unless the shapes are ones that the kernels can run."""
    wants = {
        "embedding length, feed-forward length and heads x head size are multiples of 32": config.n_embd % 32 == 0
        and config.n_ffn % 32 == 0
        and config.n_head * config.head_dim % 32 == 0,
        "head size is a multiple of 16, at most 256": config.head_dim % 16 == 0 and 0 < config.head_dim <= 256,
        "heads are a multiple of KV heads": config.n_kv_head > 0 and config.n_head % config.n_kv_head == 0,
        "rope dimensions are even and within a head": config.rope_dim % 2 == 0
        and 0 < config.rope_dim <= config.head_dim,
    }
    for want, holds in wants.items():
        if not holds:
            raise GgufError(f"{name}: {config} is not supported: wanted that {want}")


def read_config(gguf: Gguf) -> LlamaConfig:
    """Returns the model's shapes. Raises GgufError when it is not a plain Llama, or a number is missing or absurd."""
    architecture = gguf.text("general.architecture")
    if architecture != "llama":
        raise GgufError(f"{gguf.path.name}: architecture {architecture!r}, the native engine runs 'llama'")
    if gguf.pairs.get("llama.expert_count", 0) != 0:
        raise GgufError(f"{gguf.path.name}: mixtures of experts are not supported")
    scaling = gguf.text("llama.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise GgufError(f"{gguf.path.name}: rope scaling {scaling!r} is not supported (none and linear are)")
    n_embd = gguf.integer("llama.embedding_length", 32, 1 << 16)
    n_head = gguf.integer("llama.attention.head_count", 1, 1024)
    head_dim = gguf.integer("llama.attention.key_length", 1, 256, n_embd // n_head or 1)
    embedding = gguf.tensors.get("token_embd.weight")
    if embedding is None or not 1 <= embedding.rows <= 1 << 22:
        raise GgufError(f"{gguf.path.name}: tensor token_embd.weight is missing or has no sensible vocabulary")
    config = LlamaConfig(
        n_layer=gguf.integer("llama.block_count", 1, 1024),
        n_embd=n_embd,
        n_ffn=gguf.integer("llama.feed_forward_length", 32, 1 << 18),
        n_head=n_head,
        n_kv_head=gguf.integer("llama.attention.head_count_kv", 1, 1024, n_head),
        head_dim=head_dim,
        rope_dim=gguf.integer("llama.rope.dimension_count", 2, 256, head_dim),
        n_vocab=embedding.rows,
        context=gguf.integer("llama.context_length", 1, 1 << 24),
        epsilon=gguf.number("llama.attention.layer_norm_rms_epsilon", 1e-12, 1e-1),
        rope_base=gguf.number("llama.rope.freq_base", 1.0, 1e12, 10000.0),
        rope_factor=gguf.number("llama.rope.scaling.factor", 1.0, 1e4, 1.0) if scaling == "linear" else 1.0,
        tied="output.weight" not in gguf.tensors,
    )
    check_config(config, gguf.path.name)
    return config
