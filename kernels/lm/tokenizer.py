"""A GGUF's byte-level BPE tokeniser as JSON of the `tokenizers` library, and text from token ids without it.

The pre-tokeniser regular expressions are llama.cpp's (`llama-vocab.cpp`), by the name in `tokenizer.ggml.pre`.
"""

from __future__ import annotations

import json
from typing import Any

from kernels.lm.gguf import Gguf, GgufError

CONTROL, USER_DEFINED = 3, 4
"""`tokenizer.ggml.token_type` of tokens that are matched whole, before any splitting."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS: dict[str, tuple[str, ...]] = {
    "smollm": (r"\p{N}", GPT2),
    "gpt-2": (GPT2,),
    "default": (GPT2,),
    "llama-bpe": (LLAMA3,),
    "llama3": (LLAMA3,),
}


def _strings(gguf: Gguf, key: str) -> list[str]:
    values = gguf.pairs.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise GgufError(f"{gguf.path.name}: {key} is missing or is not an array of UTF-8 strings")
    return [str(value) for value in values]


def tokenizer_json(gguf: Gguf) -> str:
    """Returns the tokeniser of `gguf` for `tokenizers.Tokenizer.from_str`, or "" when the file carries none.

    Raises GgufError when it is damaged or of a kind other than byte-level BPE.
    """
    if "tokenizer.ggml.model" not in gguf.pairs:
        return ""
    model, pre = gguf.text("tokenizer.ggml.model"), gguf.text("tokenizer.ggml.pre", "default")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        raise GgufError(
            f"{gguf.path.name}: tokeniser {model!r} with pre-tokeniser {pre!r}; supported is 'gpt2' with "
            f"{', '.join(sorted(PRE_TOKENIZERS))}"
        )
    tokens, merges = _strings(gguf, "tokenizer.ggml.tokens"), _strings(gguf, "tokenizer.ggml.merges")
    types = gguf.pairs.get("tokenizer.ggml.token_type", [1] * len(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [merge.split(" ", 1) for merge in merges]
    if not isinstance(types, list) or len(types) != len(tokens) or len(vocabulary) != len(tokens):
        raise GgufError(f"{gguf.path.name}: token types or names do not fit the {len(tokens)} tokens")
    if any(len(pair) != 2 or pair[0] not in vocabulary or pair[1] not in vocabulary for pair in pairs):
        raise GgufError(f"{gguf.path.name}: a merge of tokenizer.ggml.merges names tokens that do not exist")
    splits: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        for regex in PRE_TOKENIZERS[pre]
    ]
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == CONTROL,
        }
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": pre == "llama-bpe",
                "vocab": vocabulary,
                "merges": pairs,
            },
        },
        ensure_ascii=False,
    )
