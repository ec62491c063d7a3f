"""The repacked model on disk: made once, made anew when damaged, never half there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from kernels.lm import cache
from kernels.lm.gguf import GgufError
from kernels.lm.model import LanguageModel, Runner
from tests.kernels.lm.synthetic import Synthetic, synthetic_model


def first_logits(model: LanguageModel) -> bytes:
    session = model.session(16)
    session.ask([1, 2, 3])
    Runner(model).run([session])
    return session.logits.tobytes()


def test_the_second_load_repacks_nothing(tiny: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write(tmp_path)
    made = first_logits(LanguageModel.load(path, tmp_path / "cache"))

    def forbidden(*_: object) -> None:
        raise AssertionError("read or repacked again")

    for name in ("repack", "read_gguf", "tokenizer_json"):
        monkeypatch.setattr(cache, name, forbidden)
    assert first_logits(LanguageModel.load(path, tmp_path / "cache")) == made


def test_a_known_hash_spares_reading_the_file(tiny: Synthetic, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    known = hashlib.sha256(tiny.raw).hexdigest()
    made = first_logits(LanguageModel.load(path, tmp_path / "cache"))
    path.unlink()
    assert first_logits(LanguageModel.load(path, tmp_path / "cache", sha256=known)) == made


def test_another_content_under_the_same_name_is_another_model(tiny: Synthetic, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    before = first_logits(LanguageModel.load(path, tmp_path / "cache"))
    changed = bytearray(tiny.raw)
    changed[-101] ^= 0x55  # the exponent of a norm weight
    path.write_bytes(bytes(changed))
    os.utime(path, ns=(1, 1))
    assert first_logits(LanguageModel.load(path, tmp_path / "cache")) != before


@pytest.mark.parametrize("damage", ["cut", "header", "magic", "empty", "no tokeniser"])
def test_a_damaged_cache_is_made_anew(tiny: Synthetic, tmp_path: Path, damage: str) -> None:
    path = tiny.write(tmp_path)
    made = first_logits(LanguageModel.load(path, tmp_path / "cache"))
    (packed,) = (tmp_path / "cache").glob("*.lm")
    raw = bytearray(packed.read_bytes())
    if damage == "no tokeniser":
        packed.with_suffix(".tok").unlink()
    elif damage in ("cut", "empty"):
        packed.write_bytes(bytes(raw[: len(raw) // 2 if damage == "cut" else 0]))
    else:
        raw[100 if damage == "header" else 2] ^= 1
        packed.write_bytes(bytes(raw))
    assert first_logits(LanguageModel.load(path, tmp_path / "cache")) == made


def test_a_failed_write_leaves_nothing_behind(tiny: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.write(tmp_path)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        LanguageModel.load(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.undo()
    LanguageModel.load(path, tmp_path / "cache")


def test_a_bad_model_leaves_no_cache(tiny: Synthetic, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    path.write_bytes(tiny.raw[:-5000])
    with pytest.raises(GgufError):
        LanguageModel.load(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.lm"))


def test_a_large_stream_is_mapped_or_copied_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = synthetic_model("F16", "F32", embd=256, ffn=256, layers=1, vocabulary=9000)
    path = made.write(tmp_path)
    large = LanguageModel.load(path, tmp_path / "large")
    assert large.packed.stream_offset % (2 << 20) == 0
    assert large.packed.path.stat().st_size % (2 << 20) == 0
    monkeypatch.setattr("kernels.lm.cache.LARGE_STREAM", 1 << 40)
    copied = LanguageModel.load(path, tmp_path / "small")
    assert copied.packed.stream_offset == 4096
    assert not copied.native.weights.mapped
    assert first_logits(large) == first_logits(copied)
