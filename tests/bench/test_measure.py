"""The shared ruler: percentiles, paired ratios, fresh inputs for every call, and the table of benches."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import BENCHES, main
from bench.measure import Samples, interleaved


def test_percentiles_are_nearest_rank() -> None:
    samples = Samples(tuple(range(1_000_000, 101_000_000, 1_000_000)))
    assert [samples.percentile_ms(percent) for percent in (50, 90, 99, 100)] == [50.0, 90.0, 99.0, 100.0]
    assert Samples((7_000_000,)).percentile_ms(99) == 7.0


def test_a_ratio_is_paired_by_round() -> None:
    """A slow round slows both: the ratio of medians would say 1.0 here, the truth is 0.5."""
    assert Samples((10, 100, 20)).ratio_to(Samples((20, 200, 40))) == 0.5


def test_candidates_take_turns_and_never_an_input_just_used() -> None:
    calls: list[tuple[str, int]] = []
    now = iter(range(0, 10_000, 5))
    found = interleaved(
        {"a": lambda call: calls.append(("a", call)), "b": lambda call: calls.append(("b", call))},
        rounds=3,
        warmup=1,
        clock=lambda: next(now),
    )
    assert [call for _, call in calls] == list(range(8))
    assert [name for name, _ in calls[2:]] == ["a", "b", "b", "a", "a", "b"]
    assert found["a"].times_ns == (5, 5, 5), "the warm-up is not counted"


def test_an_unknown_bench_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such"]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in BENCHES)


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    assert main(["frames", "--json", "--rounds", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["case"] for row in result["rows"]} >= {"resize 640x360", "64 crops to 160x48", "changed tiles"}
    assert set(result) == {"rows", "ratios", "variant", "machine"}
