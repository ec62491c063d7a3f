"""What a board says of itself: device, JetPack, power mode, clocks, temperatures, rails. Read from sysfs below `root`.

    device     /proc/device-tree/model, or the board's name by DMI
    JetPack    /etc/nv_tegra_release: R36 is JetPack 6, R38 JetPack 7
    mode       `nvpmodel -q`
    clocks     cpufreq, devfreq (the GPU's), MHz
    zones      thermal zones, °C           rails    INA3221 channels by hwmon, mW; RAPL on a PC

What cannot be read is absent, never 0.
"""

from __future__ import annotations

import platform
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import linux_version

JETPACKS = {"R35": "JetPack 5", "R36": "JetPack 6", "R38": "JetPack 7"}
TOTAL_RAILS = (
    "VDD_IN",
    "VIN_SYS_5V0",
    "VIN",
    "SYS5V",
    "package-0",
)  # the one that all others are parts of, if it is there


@dataclass(frozen=True)
class Reading:
    """One look. `rails_mW` by label; `energy_J` of what only counts energy."""

    at_s: float
    clocks_MHz: dict[str, float]
    zones_C: dict[str, float]
    rails_mW: dict[str, float]
    energy_J: dict[str, float]


class Board:
    """The machine below `root`; `root` is another folder in tests."""

    def __init__(self, root: Path = Path("/"), clock: object = time.monotonic) -> None:
        self._root, self._clock = root, clock

    def identity(self) -> dict[str, str]:
        """Returns device, JetPack, kernel and power mode; "unknown" is a value."""
        release = re.search(r"# (R\d+) .*REVISION: ([\d.]+)", _text(self._root / "etc/nv_tegra_release"))
        device = _text(self._root / "proc/device-tree/model") or _text(self._root / "sys/class/dmi/id/product_name")
        return {
            "device": device or platform.machine(),
            "jetpack": f"{JETPACKS.get(release[1], release[1])} ({release[1]}.{release[2]})" if release else "none",
            "kernel": linux_version(),
            "power_mode": self.power_mode(),
        }

    def power_mode(self) -> str:
        """Returns nvpmodel's name of the mode, "none" where there is no nvpmodel, "unknown" where it does not say."""
        try:
            said = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False)
        except FileNotFoundError:
            return "none"
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        found = re.search(r"NV Power Mode:\s*(\S+)", said.stdout)
        return found[1] if found else "unknown"

    def read(self) -> Reading:
        """Looks at everything once."""
        sys = self._root / "sys"
        clocks = {
            path.parent.parent.name: value / 1e3
            for path in sorted((sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
            if (value := _number(path)) is not None
        }
        for path in sorted((sys / "class/devfreq").glob("*/cur_freq")):
            if (value := _number(path)) is not None:
                clocks[path.parent.name] = value / 1e6
        zones = {
            _text(path.parent / "type") or path.parent.name: value / 1e3
            for path in sorted((sys / "class/thermal").glob("thermal_zone*/temp"))
            if (value := _number(path)) is not None
        }
        energy = {
            _text(path.parent / "name") or path.parent.name: value / 1e6
            for path in sorted((sys / "class/powercap").glob("intel-rapl:*/energy_uj"))
            if (value := _number(path)) is not None
        }
        return Reading(time.monotonic(), clocks, zones, self._rails(), energy)

    def _rails(self) -> dict[str, float]:
        rails: dict[str, float] = {}
        for folder in sorted((self._root / "sys/class/hwmon").glob("hwmon*")):
            if _text(folder / "name") != "ina3221":
                continue
            for label in sorted(folder.glob("in[0-9]*_label")):
                number = re.sub(r"\D", "", label.name)
                volts, amperes = _number(folder / f"in{number}_input"), _number(folder / f"curr{number}_input")
                if volts is not None and amperes is not None:
                    rails[_text(label)] = volts * amperes / 1e3
        return rails


def total_mW(rails: dict[str, float]) -> float | None:
    """Returns the whole board's power: the input rail, or the sum of the parts; None without rails."""
    for name in TOTAL_RAILS:
        if name in rails:
            return rails[name]
    return sum(rails.values()) if rails else None


@dataclass
class Recorder:
    """Reads the board in the background, for what is measured meanwhile. Use as a context."""

    board: Board
    every_s: float = 0.1
    readings: list[Reading] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Recorder:
        self.readings.append(self.board.read())
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.readings.append(self.board.read())

    def joules(self) -> float | None:
        """Returns the energy of the whole board since the first reading; None if nothing measures it."""
        first, last = self.readings[0], self.readings[-1]
        for name in TOTAL_RAILS:
            if name in first.energy_J and last.energy_J.get(name, 0) >= first.energy_J[name]:
                return last.energy_J[name] - first.energy_J[name]
        total = 0.0
        for before, after in zip(self.readings, self.readings[1:], strict=False):
            powers = [total_mW(before.rails_mW), total_mW(after.rails_mW)]
            if None in powers:
                return None
            total += sum(power or 0.0 for power in powers) / 2e3 * (after.at_s - before.at_s)
        return total

    def hottest_C(self) -> float | None:
        """Returns the highest temperature of any zone."""
        found = [value for reading in self.readings for value in reading.zones_C.values()]
        return max(found) if found else None

    def _record(self) -> None:
        while not self._stop.wait(self.every_s):
            self.readings.append(self.board.read())


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").replace("\0", "").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
