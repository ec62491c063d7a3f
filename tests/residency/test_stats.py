"""The record of what models turned out to be."""

from __future__ import annotations

from pathlib import Path

from runtime.backends.protocol import Limits
from runtime.residency.models import Residency
from runtime.residency.stats import model_stats, read_stats, write_stats
from tests.backends.made import installed


def test_a_record_is_written_whole_and_read_back(tmp_path: Path) -> None:
    options = {"null": {"latency_us": 900, "steps": 3}}
    model = {"file": "m", "backends": ["null"], "memory_bytes": 77, "options": options}
    residency = Residency(Limits(), 0)
    with residency.use(installed(tmp_path, {"m": b"x"}, {"model": model})):
        write_stats(residency, tmp_path / "stats.json")
        stats = read_stats(tmp_path / "stats.json")
        assert stats == model_stats(residency)
    assert stats is not None
    assert stats.models["net@1/model"].stop_bound_us == 300
    assert (stats.loads, stats.resident_bytes, stats.models["net@1/model"].is_in_use) == (1, 77, True)
    residency.close()


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_stats(tmp_path / "absent") is None
    (tmp_path / "damaged").write_text("{")
    assert read_stats(tmp_path / "damaged") is None
