"""The sysfs source: the computer's own temperatures, power, load and memory pressure, polled.

    sysfs:?every_ms=200&root=/&zones=cpu,gpu&rails=VDD_IN&supply=aux12v

    /sys/class/thermal/thermal_zone*/{type,temp}             milli-°C; the hottest zone counts
    /sys/bus/i2c/devices/*/hwmon/hwmon*/in*_label,_input     INA3221 rails: mV, and curr*_input mA
    /sys/bus/i2c/devices/*/hwmon/hwmon*/power1_input         INA238: µW
    /sys/class/devfreq/*/load                                permille; the busiest counts
    /sys/class/power_supply/<supply>/voltage_now             µV of a supply that is the 12 V battery
    /proc/pressure/memory                                    `some avg10`, %

A zone that cannot be read or says less than -50 °C is powered down: unknown, not cold. Where no zone is left, the
temperature itself is unknown, and the gate closes.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from firmware_bridge import signals
from firmware_bridge.clock import Clock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Reading, Value
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.table import SourceUrl

_COLDEST_C = -50.0
_PRESSURE = re.compile(r"^some avg10=(\d+(?:\.\d+)?)", re.MULTILINE)
# Jetson modules with a rail for the whole module; elsewhere the rails are summed.
_TOTAL_RAILS = ("VDD_IN", "VIN", "POM_5V_IN")


def open_sysfs(url: SourceUrl) -> SysfsSource:
    """Returns the source of `sysfs:?every_ms=N&root=FOLDER&zones=A,B&rails=A,B&supply=NAME`."""
    url.check_options("every_ms", "root", "zones", "rails", "supply")
    every = url.options.get("every_ms", "200")
    if not every.isdigit() or not 20 <= int(every) <= 1000:
        raise SourceError(f"source {url.text}: every_ms must be a whole number from 20 to 1000, got {every!r}")
    root = Path(url.options.get("root", "/"))
    if not (root / "sys").is_dir():
        raise SourceError(f"source {url.text}: there is no {root / 'sys'}")
    lists = {name: tuple(filter(None, url.options.get(name, "").split(","))) for name in ("zones", "rails")}
    tree = Tree(root, lists["zones"], lists["rails"], url.options.get("supply", ""))
    if not tree.zones:
        asked = f" of the types {', '.join(lists['zones'])}" if lists["zones"] else ""
        raise SourceError(
            f"source {url.text}: {root} has no thermal zone{asked}",
            next_step="without the computer's temperature the gate stays closed; name zones that exist",
        )
    return SysfsSource(url.text, tree, int(every) * 1_000_000)


class Tree:
    """The files below `root`, found once; each reader gives None for what is not known. `zones` and `rails` select by
    type and label (empty: all, and the rail of the whole module where there is one)."""

    def __init__(self, root: Path, zones: tuple[str, ...] = (), rails: tuple[str, ...] = (), supply: str = "") -> None:
        found = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        self.zones = [zone / "temp" for zone in found if not zones or _text(zone / "type") in zones]
        self.rails = _rails(root, rails)
        self.loads = sorted((root / "sys/class/devfreq").glob("*/load"))
        self.supply = root / "sys/class/power_supply" / supply / "voltage_now" if supply else None
        self.pressure = root / "proc/pressure/memory"

    def temperature_C(self) -> float | None:
        known = [read / 1000 for zone in self.zones if (read := _number(zone)) is not None]
        return max((each for each in known if each >= _COLDEST_C), default=None)

    def power_W(self) -> float | None:
        """Returns the sum of the rails; None where there is none, or one of them cannot be read."""
        powers = [_rail_W(*rail) for rail in self.rails]
        return None if not powers or None in powers else sum(each for each in powers if each is not None)

    def load_permille(self) -> float | None:
        return max((each for path in self.loads if (each := _number(path)) is not None), default=None)

    def supply_V(self) -> float | None:
        microvolts = _number(self.supply) if self.supply else None
        return None if microvolts is None else microvolts / 1e6

    def memory_pressure_pct(self) -> float | None:
        match = _PRESSURE.search(_text(self.pressure) or "")
        return float(match[1]) if match else None


class SysfsSource:
    """Polls `tree`. The reads are short (tens of µs on a Jetson), but an I2C sensor may hang: they run in a thread."""

    def __init__(self, url: str, tree: Tree, every_ns: int) -> None:
        self.url = url
        self._tree = tree
        self._every_ns = every_ns

    async def readings(self, clock: Clock) -> AsyncIterator[Reading]:
        while True:
            began_ns = clock.now_ns()  # a value is at least as old as the moment at which its reading began
            for name, value in (await asyncio.to_thread(self._poll)).items():
                yield Reading(name, value, SIGNALS[name].unit, began_ns)
            await clock.sleep_until(began_ns + self._every_ns)

    def _poll(self) -> dict[str, Value]:
        tree = self._tree
        values: dict[str, Value] = {signals.COMPUTE_TEMPERATURE: tree.temperature_C()}
        if tree.rails:
            values[signals.COMPUTE_POWER] = tree.power_W()
        if tree.loads:
            values[signals.COMPUTE_LOAD] = tree.load_permille()
        if tree.supply:
            values[signals.VOLTAGE_12V] = tree.supply_V()
        values[signals.MEMORY_PRESSURE] = tree.memory_pressure_pct()
        return values


def _rails(root: Path, wanted: tuple[str, ...]) -> list[tuple[Path, ...]]:
    """Returns (voltage, current) of INA3221 channels and (power,) of INA238s."""
    labelled: dict[str, tuple[Path, ...]] = {}
    for hwmon in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*")):
        for label in sorted(hwmon.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            name, current = _text(label), hwmon / f"curr{channel}_input"
            if name and not name.lower().startswith(("sum of", "nc")) and current.exists():
                labelled[name] = (hwmon / f"in{channel}_input", current)
        if (hwmon / "power1_input").exists():
            labelled[_text(hwmon / "label") or hwmon.name] = (hwmon / "power1_input",)
    for total in wanted or _TOTAL_RAILS:
        if not wanted and total in labelled:
            return [labelled[total]]
    return [paths for name, paths in labelled.items() if not wanted or name in wanted]


def _rail_W(first: Path, current: Path | None = None) -> float | None:
    read = _number(first)
    if current is None:
        return None if read is None else read / 1e6
    milliamperes = _number(current)
    return None if read is None or milliamperes is None else read * milliamperes / 1e6


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(path: Path) -> str | None:
    """Returns the stripped text of a small file, None if it cannot be read (a sensor that is powered down)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).decode("ascii", errors="replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)
