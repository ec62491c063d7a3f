"""Requantising a GGUF: the blocks are the format's, their error is what the bits allow, and the new file runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kernels.lm.gguf import GgufError, read_gguf
from models.gguf_blocks import KINDS, blocks_of, weights
from models.gguf_quantize import FILE_TYPES, compare, requantize
from models.quantize import QuantisationFailed
from models.quantize_command import main
from tests.kernels.lm.synthetic import gguf_bytes, random_tensor, synthetic_model

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("kind", ["F32", "F16", *KINDS])
def test_bytes_mean_what_the_format_says(kind: str) -> None:
    raw, values = random_tensor(RNG, kind, 8, 96)
    found = weights(kind, np.frombuffer(raw, np.uint8), 8, 96)
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("kind", "most"), [("Q8_0", 0.008), ("Q4_1", 0.08), ("Q4_0", 0.09)])
def test_the_nearest_block_is_near(kind: str, most: float) -> None:
    values = RNG.normal(size=(64, 256)).astype(np.float32)
    back = weights(kind, blocks_of(kind, values), 64, 256)
    assert np.linalg.norm(back - values) / np.linalg.norm(values) < most
    again = weights(kind, blocks_of(kind, back), 64, 256)
    assert np.linalg.norm(again - back) / np.linalg.norm(back) < most / 4, "what is on the grid stays near it"


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_the_search_is_better_than_the_range_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.normal(size=(32, 256)).astype(np.float32)
    searched = np.linalg.norm(weights(kind, blocks_of(kind, values), 32, 256) - values)
    monkeypatch.setattr("models.gguf_blocks._STRETCH", (1.0,))
    plain = np.linalg.norm(weights(kind, blocks_of(kind, values), 32, 256) - values)
    assert searched < 0.97 * plain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-30, 6e4])
def test_blocks_of_one_value(kind: str, value: float) -> None:
    values = np.full((1, 32), value, np.float32)
    back = weights(kind, blocks_of(kind, values), 1, 32)
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back, values, rtol=0.01, atol=1e-7)


def test_a_model_is_requantised_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = synthetic_model("F16", "F16", vocabulary=200, extra={"general.file_type": 1}).write(tmp_path)
    reports = {kind: requantize(source, tmp_path / f"{kind}.gguf", kind) for kind in KINDS}
    for kind, report in reports.items():
        made = read_gguf(tmp_path / f"{kind}.gguf")
        assert made.pairs == {**read_gguf(source).pairs, "general.file_type": FILE_TYPES[kind]}
        assert made.tensors["blk.0.attn_q.weight"].kind == kind
        assert made.tensors["blk.0.attn_norm.weight"].kind == "F32"
        assert report.target_bytes == (tmp_path / f"{kind}.gguf").stat().st_size < report.source_bytes
    fidelity = {kind: report.fidelity for kind, report in reports.items()}
    assert fidelity["Q8_0"] is not None
    assert fidelity["Q4_0"] is not None
    assert fidelity["Q8_0"].divergence < fidelity["Q4_0"].divergence
    assert fidelity["Q8_0"].agreement > 0.9
    assert compare(source, source).divergence == 0
    errors = [tensor.error for tensor in reports["Q4_0"].tensors]
    assert errors == sorted(errors, reverse=True)
    assert 0.03 < errors[0] < 0.12
    assert main([str(source), str(tmp_path / "cli.gguf"), "--kind", "Q4_1", "--embedding", "keep", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    kept = next(tensor for tensor in told["tensors"] if tensor["name"] == "token_embd.weight")
    assert (kept["before"], kept["after"], kept["error"]) == ("F16", "F16", 0.0)


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(GgufError):
        requantize(tmp_path / "no.gguf", tmp_path / "out.gguf", "Q4_0")
    assert not (tmp_path / "out.gguf").exists()
    assert main([str(tmp_path / "absent.gguf"), str(tmp_path / "out.gguf")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    infinite = np.full((2, 32), np.inf, np.float32)
    (tmp_path / "inf.gguf").write_bytes(gguf_bytes({}, {"x.weight": ("F32", 2, 32, infinite.tobytes())}))
    with pytest.raises(QuantisationFailed, match=r"x\.weight holds values that are no finite"):
        requantize(tmp_path / "inf.gguf", tmp_path / "out.gguf", "Q4_0", score=False)
