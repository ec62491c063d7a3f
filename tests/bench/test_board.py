"""A board's bench over a faked sysfs: what it reads, what it warns of, what it saves and compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.board import compared, fitting_height, mode_warnings, run
from bench.plots import bars, lines
from bench.sensors import Board, Reading, Recorder, total_mW
from runtime.backends.protocol import ModelUnsupported, StepResult
from runtime.store.manifest import TensorSpec
from tests.backends.made import chain, entry, installed

ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2201600\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "729600\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "1300500000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51250\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/hwmon/hwmon3/name": "ina3221\n",
    "sys/class/hwmon/hwmon3/in1_label": "VDD_GPU_SOC\n",
    "sys/class/hwmon/hwmon3/in1_input": "19000\n",
    "sys/class/hwmon/hwmon3/curr1_input": "200\n",
    "sys/class/hwmon/hwmon4/name": "ina3221\n",
    "sys/class/hwmon/hwmon4/in2_label": "VIN_SYS_5V0\n",
    "sys/class/hwmon/hwmon4/in2_input": "5000\n",
    "sys/class/hwmon/hwmon4/curr2_input": "3000\n",
}


@pytest.fixture
def orin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An Orin's sysfs, with an nvpmodel that says MAXN."""
    for path, text in ORIN.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "bin").mkdir()
    says(tmp_path, "NV Power Mode: MAXN")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def says(root: Path, words: str) -> None:
    tool = root / "bin" / "nvpmodel"
    tool.write_text(f"#!/bin/sh\necho '{words}'\necho 0\n")
    tool.chmod(0o755)


def test_what_a_jetson_says_of_itself(orin: Path) -> None:
    board = Board(orin)
    identity = board.identity()
    assert identity["device"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert identity["jetpack"] == "JetPack 6 (R36.4.3)"
    assert identity["power_mode"] == "MAXN"
    (orin / "etc/nv_tegra_release").write_text("# R38 (release), REVISION: 2.0, GCID: 1\n")
    assert board.identity()["jetpack"] == "JetPack 7 (R38.2.0)"
    found = board.read()
    assert found.clocks_MHz == {"cpu0": 2201.6, "cpu1": 729.6, "17000000.gpu": 1300.5}
    assert found.zones_C == {"cpu-thermal": 51.25}, "a zone that does not answer is absent, not 0"
    assert found.rails_mW == {"VDD_GPU_SOC": 3800.0, "VIN_SYS_5V0": 15000.0}
    assert total_mW(found.rails_mW) == 15000.0, "the input has the others in it"
    assert total_mW({"a": 1.0, "b": 2.0}) == 3.0
    assert total_mW({}) is None


def test_a_machine_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    board = Board(tmp_path)
    assert (board.identity()["jetpack"], board.identity()["power_mode"]) == ("none", "none")
    with Recorder(board) as recorder:
        pass
    assert recorder.joules() is None
    assert recorder.hottest_C() is None


def test_energy_is_the_power_over_the_time() -> None:
    def at(second: float, power: float, energy: dict[str, float]) -> Reading:
        return Reading(second, {}, {}, {"VDD_IN": power}, energy)

    recorder = Recorder(Board(Path("/nowhere")), readings=[at(0, 1000, {}), at(2, 3000, {}), at(3, 3000, {})])
    assert recorder.joules() == pytest.approx(7.0)
    counted = [at(0, 1000, {"package-0": 10.0}), at(1, 1000, {"package-0": 14.5})]
    assert Recorder(Board(Path("/nowhere")), readings=counted).joules() == 4.5


def test_a_wrong_power_mode_is_warned_of() -> None:
    assert mode_warnings("MAXN", "") == mode_warnings("MAXN_SUPER", "") == mode_warnings("none", "") == []
    assert mode_warnings("MODE_15W", "MODE_15W") == []
    assert "the power mode is MODE_15W, expected MAXN" in mode_warnings("MODE_15W", "")[0]
    assert "expected MODE_30W" in mode_warnings("MAXN", "MODE_30W")[0]
    assert "does not say" in mode_warnings("unknown", "")[0]


def test_all_of_it_is_measured_saved_and_compared(orin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says(orin, "NV Power Mode: MODE_15W")
    (orin / "made").mkdir()
    installed(orin / "made", {"m.onnx": chain(6, width=64)}, {"model": entry("onnxruntime")})
    arguments = ["--root", str(orin), "--store", str(orin / "made" / "store"), "--out", str(orin / "out")]
    brief = [*arguments, "--soak-s", "0.3", "--rounds", "5", "--yields", "2"]
    result = run(brief)
    assert "warning: the power mode is MODE_15W" in capsys.readouterr().err
    models = [row["model"] for row in result["rows"]]
    assert models == ["net@1/model native", "net@1/model onnxruntime"] or models == ["net@1/model onnxruntime"]
    assert "needs the Python package tensorrt" in result["absent"]["net@1/model tensorrt"]
    for row in result["rows"]:
        assert row["p50_ms"] > 0
        assert row["joules"] > 0, "15 W for as long as it took"
        assert row["hottest_C"] == 51.25
    assert result["soak"]["throttling"] > 0
    assert result["soak"]["power_mW"][0][1] == 15000.0
    saved = Path(result["saved"])
    assert json.loads(saved.read_text())["board"]["power_mode"] == "MODE_15W"
    pictures = sorted(path.name.rsplit("-", 1)[1] for path in saved.parent.glob("*.svg"))
    assert pictures == ["clocks_MHz.svg", "hottest_C.svg", "latency.svg", "power_mW.svg", "run_ms.svg"]
    assert isinstance(run([*brief, "--baseline", str(saved)])["worse"], list)


def test_a_model_gets_the_first_height_that_it_takes() -> None:
    class Net:
        inputs = (TensorSpec("x", ("n", 3, "h", "w"), "float32"),)

        def __init__(self, least: int) -> None:
            self.least = least

        def start(self, feed: dict[str, Any]) -> Net:
            if feed["x"].shape[2] < self.least:
                raise ModelUnsupported("shapes do not broadcast")
            return self

        def step(self, gate: None) -> StepResult:
            return StepResult.DONE

        def outputs(self) -> dict[str, Any]:
            return {}

    assert [fitting_height(Net(least)) for least in (1, 50, 320)] == [48, 64, 320]  # type: ignore[arg-type]
    with pytest.raises(ModelUnsupported):
        fitting_height(Net(321))  # type: ignore[arg-type]


def test_what_is_worse_than_the_baseline_is_said() -> None:
    def row(model: str, p50_ms: float, joules: float | None) -> dict[str, Any]:
        return {"model": model, "p50_ms": p50_ms, "joules": joules}

    before = [row("a", 1.0, 2.0), row("b", 1.0, None), row("c", 1.0, None)]
    assert compared([row("a", 1.05, 2.3), row("b", 1.2, 3.0), row("new", 9.0, None)], before) == [
        "c is gone",
        "a: joules 2.3, was 2",
        "b: p50_ms 1.2, was 1",
    ]


def test_pictures_are_whole() -> None:
    from xml.etree import ElementTree

    for picture in (bars("a < b", "ms", {"x & y": 3.0, "z": 0.0}), bars("none", "ms", {}), lines("t", "°C", "s", {})):
        assert ElementTree.fromstring(picture).tag.endswith("svg")
    drawn = ElementTree.fromstring(lines("t", "°C", "s", {"zone": [(0, 1), (5, 2)]}))
    assert any(one.tag.endswith("polyline") for one in drawn)
