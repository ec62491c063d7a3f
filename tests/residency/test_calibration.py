"""Calibration: plausible rates, from all lanes at once."""

from __future__ import annotations

import threading
from pathlib import Path

from runtime.residency.calibration import calibrate, measure_reading, read_device, write_device


def test_rates_are_of_all_lanes_working_together() -> None:
    lanes: set[int] = set()
    threads: set[int] = set()

    def compute(lane: int) -> int:
        lanes.add(lane)
        threads.add(threading.get_ident())
        return sum(1 for _ in range(1000))

    device = calibrate(2, compute, rounds=3)
    assert device.lanes == 2
    assert lanes == {0, 1}
    assert len(threads) >= 2
    assert 0.01 < device.read_GBps < 10_000
    assert 0 < device.int8_GOPs < 1


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    assert read_device(tmp_path / "device.json") is None
    device = measure_reading(1, rounds=2)
    write_device(tmp_path / "device.json", device)
    assert read_device(tmp_path / "device.json") == device
    (tmp_path / "device.json").write_text("{}")
    assert read_device(tmp_path / "device.json") is None
