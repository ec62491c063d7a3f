"""Damaged and hostile files: always a clear error, never a crash or a read out of bounds."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.lm import _lm
from kernels.lm.cache import packed_model
from kernels.lm.config import read_config
from kernels.lm.gguf import GgufError, parse_gguf
from kernels.lm.model import LanguageModel, Runner
from tests.kernels.lm.synthetic import Synthetic, gguf_bytes, pair, string, synthetic_model

SMALL = synthetic_model(layers=1, embd=32, ffn=32, heads=2, kv_heads=1, vocabulary=40)


def load_and_run(raw: bytes, folder: Path) -> None:
    """Loads `raw` with as little trust as the daemon would, and runs a token if it loads."""
    path = folder / "hostile.gguf"
    path.write_bytes(raw)
    model = LanguageModel.load(path, folder / "cache")
    session = model.session(16)
    session.ask([1, 2])
    Runner(model).run([session])


def survives(raw: bytes, folder: Path) -> None:
    try:
        load_and_run(raw, folder)
    except GgufError:
        return


@given(position=st.integers(0, 6000), value=st.integers(0, 255), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_flipped_bytes(position: int, value: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    raw = bytearray(SMALL.raw)
    rng = random.Random(seed)
    raw[position] = value
    for _ in range(rng.randrange(3)):
        raw[rng.randrange(6000)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    survives(bytes(raw), tmp_path_factory.mktemp("flip"))


@given(st.integers(0, len(SMALL.raw) - 1))
@settings(max_examples=80, deadline=None)
def test_truncated_files_are_refused(length: int) -> None:
    with pytest.raises(GgufError):
        parse_gguf(memoryview(SMALL.raw[:length]), Path("cut.gguf"))


HUGE = 2**64 - 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "cannot be read|cut short"),
        (b"GGML" + bytes(40), "not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "tensors, at most"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "metadata pairs, at most"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE), "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 4, HUGE), "does not fit"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<IIQ", 9, 9, 1), "not supported"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string("k") + struct.pack("<I", 77), "type 77 is unknown"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + pair("k", 1) + pair("k", 2), "stands twice"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"\xff") + struct.pack("<I", 4), "not UTF-8"),
        (gguf_bytes({"general.alignment": 33}, {}), "not a power of two"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<IQQIQ", 2, 2**63, 2**63, 0, 0),
            "cut short",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<IQQIQ", 2, 0, 5, 0, 0), "dimensions"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<IQIQ", 1, 32, 0, HUGE - 31), "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<I", 5), "5 dimensions"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + string("t") + struct.pack("<IQIQ", 1, 32, 12, 0), "GGML type 12"),
    ],
)
def test_hostile_headers_are_named(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(raw)
    with pytest.raises(GgufError, match=message):
        LanguageModel.load(path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"general.architecture": "qwen2"}, "architecture 'qwen2'"),
        ({"llama.block_count": 3}, r"blk.2.attn_norm.weight is missing"),
        ({"llama.block_count": 0}, "block_count is 0"),
        ({"llama.embedding_length": 96}, "wanted that head size"),
        ({"llama.attention.head_count": 3}, "not supported"),
        ({"llama.attention.head_count_kv": 3}, "not supported|expected"),
        ({"llama.attention.head_count": 0}, "head_count is 0"),
        ({"llama.rope.dimension_count": 7}, "rope dimensions are even"),
        ({"llama.rope.scaling.type": "yarn"}, "rope scaling 'yarn'"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon is nan"),
        ({"llama.rope.freq_base": "big"}, "freq_base is 'big'"),
        ({"llama.expert_count": 8}, "mixtures of experts"),
        ({"tokenizer.ggml.merges": ["a z", "nowhere a"]}, "merge"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "do not fit"),
    ],
)
def test_models_that_cannot_run_are_named(extra: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(GgufError, match=message):
        LanguageModel.load(synthetic_model(extra=extra).write(tmp_path), tmp_path / "cache")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="cannot be read"):
        LanguageModel.load(tmp_path / "none.gguf", tmp_path / "cache")


def test_the_doorway_refuses_offsets_outside_the_stream(tiny: Synthetic, tmp_path: Path) -> None:
    packed = packed_model(tiny.write(tmp_path), tmp_path / "cache")
    weights = _lm.Weights(bytes(packed.path), packed.stream_offset, packed.stream_bytes)
    config = packed.config.as_dict()
    _lm.Model(weights, config, packed.entries)
    for name in ("blk.1.ffn_down.weight", "output_norm.weight", "rope", "token_embd.weight"):
        for offset in (packed.stream_bytes, packed.stream_bytes - 32, 1 << 62, 32):
            moved = {**packed.entries, name: (*packed.entries[name][:4], offset)}
            with pytest.raises(ValueError, match="not in the stream"):
                _lm.Model(weights, config, moved)
    for key, value in (
        ("head_dim", 272),
        ("head_dim", 8),
        ("n_layer", 0),
        ("n_kv_head", 3),
        ("rope_dim", 0),
        ("n_embd", 33),
    ):
        with pytest.raises(ValueError, match="not ones that the kernels run"):
            _lm.Model(weights, {**config, key: value}, packed.entries)
    for shape in ((0, 64, 64), (9, 64, 96), (-1, 64, 96), (1, 64, 128)):
        bent = {**packed.entries, "blk.1.ffn_down.weight": ("", *shape, 0)}
        with pytest.raises(ValueError, match="ffn_down"):
            _lm.Model(weights, config, bent)


def test_a_stream_cut_short_is_an_error(tiny: Synthetic, tmp_path: Path) -> None:
    packed = packed_model(tiny.write(tmp_path), tmp_path / "cache")
    with pytest.raises(OSError, match="No data"):
        _lm.Weights(bytes(packed.path), packed.stream_offset + 4096, packed.stream_bytes)


def test_nan_weights_do_not_crash(tmp_path: Path) -> None:
    raw = bytearray(SMALL.raw)
    for at in range(len(raw) // 2, len(raw) - 4, 97):
        raw[at : at + 4] = np.float32(np.nan).tobytes()
    load_and_run(bytes(raw), tmp_path)


def test_config_comes_from_the_header() -> None:
    config = read_config(parse_gguf(memoryview(SMALL.raw), Path("small.gguf")))
    assert (config.n_layer, config.n_embd, config.head_dim, config.n_vocab, config.tied) == (1, 32, 16, 40, True)
