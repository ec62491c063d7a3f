"""The sysfs source on faked trees: Jetson rails and zones; a powered-down sensor is unknown, never cold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Reading
from firmware_bridge.sources.sysfs import Tree
from firmware_bridge.sources.table import open_source
from tests.firmware_bridge.parked import MS, START


def put(root: Path, **files: object) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def jetson(root: Path) -> Path:
    """An Orin NX: three zones, one of them powered down, and an INA3221 with the module's rail."""
    for number, (kind, temp) in enumerate([("cpu-thermal", 51_250), ("gpu-thermal", -256_000), ("tj-thermal", 53_062)]):
        put(root, **{f"sys__class__thermal__thermal_zone{number}__type": kind})
        put(root, **{f"sys__class__thermal__thermal_zone{number}__temp": temp})
    rails = {1: ("VDD_IN", 4952, 2984), 2: ("VDD_CPU_GPU_CV", 4944, 800), 3: ("VDD_SOC", 4944, 500)}
    for channel, (label, mV, mA) in rails.items():
        base = "sys__bus__i2c__devices__1-0040__hwmon__hwmon1__"
        put(
            root,
            **{f"{base}in{channel}_label": label, f"{base}in{channel}_input": mV, f"{base}curr{channel}_input": mA},
        )
    put(
        root,
        **{"sys__class__devfreq__17000000.gpu__load": 437, "sys__class__power_supply__aux12v__voltage_now": 13_180_000},
    )
    put(root, proc__pressure__memory="some avg10=1.25 avg60=0.40 avg300=0.00 total=1\nfull avg10=0.50 avg60=0 total=0")
    return root


def test_a_jetson(tmp_path: Path) -> None:
    tree = Tree(jetson(tmp_path), supply="aux12v")
    assert tree.temperature_C() == 53.062
    assert tree.power_W() == pytest.approx(4.952 * 2.984)
    assert tree.load_permille() == 437
    assert tree.supply_V() == 13.18
    assert tree.memory_pressure_pct() == 1.25
    assert Tree(tmp_path, zones=("cpu-thermal",)).temperature_C() == 51.25
    assert Tree(tmp_path, rails=("VDD_SOC", "VDD_CPU_GPU_CV")).power_W() == pytest.approx(4.944 * 1.3)


def test_rails_without_a_total_are_summed_and_ina238(tmp_path: Path) -> None:
    base = "sys__bus__i2c__devices__"
    for device, label, mV, mA in (("1-0040", "VDD_GPU_SOC", 5000, 1000), ("1-0041", "VDD_CPU_CV", 5000, 500)):
        path = f"{base}{device}__hwmon__hwmon{device[-1]}__"
        put(tmp_path, **{f"{path}in1_label": label, f"{path}in1_input": mV, f"{path}curr1_input": mA})
    put(tmp_path, **{f"{base}2-0044__hwmon__hwmon9__power1_input": 12_500_000})
    tree = Tree(tmp_path)
    assert tree.power_W() == pytest.approx(5.0 + 2.5 + 12.5)
    (tmp_path / "sys/bus/i2c/devices/1-0041/hwmon/hwmon1/curr1_input").unlink()
    assert tree.power_W() is None  # a rail that is gone is unknown, not 0 W


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    tree = Tree(jetson(tmp_path), supply="aux12v")
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name not in ("type", "in1_label"):
            path.unlink()
    values = tree.temperature_C(), tree.power_W(), tree.load_permille(), tree.supply_V(), tree.memory_pressure_pct()
    assert values == (None,) * 5


@given(st.lists(st.one_of(st.integers(-300_000, 200_000), st.text(max_size=4)), min_size=1, max_size=4))
def test_the_hottest_known_zone_counts(tmp_path_factory: pytest.TempPathFactory, temps: list[int | str]) -> None:
    root = tmp_path_factory.mktemp("sys")
    for number, temp in enumerate(temps):
        put(root, **{f"sys__class__thermal__thermal_zone{number}__type": "z"})
        path = root / f"sys/class/thermal/thermal_zone{number}/temp"
        path.write_text(str(temp), encoding="utf-8")
    known = [each / 1000 for each in temps if isinstance(each, int) and each >= -50_000]
    digits = [each for each in temps if isinstance(each, str) and any(c.isdigit() for c in each)]
    if not digits:
        assert Tree(root).temperature_C() == max(known, default=None)


def test_readings_come_at_the_period_with_the_time_they_began(tmp_path: Path) -> None:
    jetson(tmp_path)

    async def scene() -> list[Reading]:
        clock = VirtualClock(START)
        found: list[Reading] = []

        async def listen() -> None:
            async for reading in open_source(f"sysfs:?root={tmp_path}&every_ms=100").readings(clock):
                found.append(reading)

        task = asyncio.create_task(listen())
        while len(found) < 12:
            await asyncio.sleep(0.001)  # the reads are in a thread
            await clock.advance_to(clock.now_ns() + 10 * MS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    found = asyncio.run(scene())
    assert {each.name for each in found} == {
        s.COMPUTE_TEMPERATURE,
        s.COMPUTE_POWER,
        s.COMPUTE_LOAD,
        s.MEMORY_PRESSURE,
    }
    assert found[0].source_time_ns == START
    assert found[4].source_time_ns >= START + 100 * MS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("every_ms=5", "every_ms must be a whole number from 20 to 1000, got '5'"),
        ("root=/none", "there is no /none/sys"),
        ("zones=none", "has no thermal zone of the types none"),
        ("zone=cpu", "did you mean zones"),
    ],
)
def test_wrong_urls(tmp_path: Path, options: str, words: str) -> None:
    jetson(tmp_path)
    url = f"sysfs:?{options}" + ("" if "root" in options else f"&root={tmp_path}")
    with pytest.raises(SourceError, match=words):
        open_source(url)
