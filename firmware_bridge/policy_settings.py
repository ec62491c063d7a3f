"""The policy's settings: the table behind policy.toml, every limit that the owner or the platform engineer may set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from firmware_bridge.settings import setting
from firmware_bridge.signals import OPTIONAL

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True)
class Timing:
    """When the gate opens and how long what it says is good. No time here ever delays a closing."""

    dwell_s: float = setting(60.0, unit="s", low=0, high=86_400, doc="all must be well for so long before an opening")
    drain_s: float = setting(
        1.0, unit="s", low=0, high=60, doc="after a closing, time for the workers to give back before anything reopens"
    )
    fault_hold_s: float = setting(
        30.0, unit="s", low=1, high=3600, doc="closed for so long after a fault of the bridge"
    )
    lease_ms: float = setting(
        200.0,
        unit="ms",
        low=50,
        high=200,
        doc="the gate shuts by itself so long after the oldest reading of gear and speed that it stands on;\n"
        "the car must repeat both at least twice in this time",
    )


@dataclass(frozen=True)
class Car:
    """What this car is fitted with, and what counts as standing still."""

    not_fitted: tuple[str, ...] = setting(
        (),
        choices=OPTIONAL,
        doc="signals (VSS names) that this car does not have; any other that the policy uses closes the gate while it\n"
        "is unknown. Gear, speed, power state, driver's seat and door, charge, 12 V, battery and computer temperature\n"
        "and consent cannot be left out.",
    )
    standing_below_kmh: float = setting(
        0.5, unit="km/h", low=0, high=3, doc="the speed sensor's noise at a standstill; faster is moving"
    )


@dataclass(frozen=True)
class Charge:
    """What must stay in the battery."""

    floor_pct: float = setting(20.0, unit="%", low=5, high=95, doc="never below, whatever the owner sets")
    reserve_pct: float = setting(50.0, unit="%", low=0, high=100, doc="the owner's reserve: the range that is theirs")
    hysteresis_pct: float = setting(
        3.0, unit="%", low=0, high=20, doc="once closed for the charge, it reopens only so much above the limit"
    )
    pack_Wh: float = setting(
        60_000.0,
        unit="Wh",
        low=5_000,
        high=300_000,
        doc="what the battery holds, for the forecast",
    )
    charging_only: bool = setting(False, doc="work only while the car is being charged")


@dataclass(frozen=True)
class LowVoltage:
    """The 12 V battery. openpilot guards 11.8 V, low-passed at 45 s: a flat one strands the car."""

    guard_V: float = setting(11.8, unit="V", low=10.5, high=15, doc="closed while the averaged voltage is below")
    cut_V: float = setting(10.8, unit="V", low=9, high=14, doc="closed at once when the voltage itself is below")
    filter_s: float = setting(45.0, unit="s", low=0, high=600, doc="time constant of the average")
    hysteresis_V: float = setting(0.4, unit="V", low=0, high=2, doc="reopens only so much above the guard")


@dataclass(frozen=True)
class Energy:
    """What work may use. The debt is what it took from the battery and was not put back by charging since."""

    debt_max_Wh: float = setting(
        500.0, unit="Wh", low=10, high=50_000, doc="closed while work owes the battery so much; charging repays it"
    )
    day_max_Wh: float = setting(5000.0, unit="Wh", low=10, high=50_000, doc="closed once work used so much in a day")
    hysteresis_Wh: float = setting(50.0, unit="Wh", low=0, high=5000, doc="reopens only with so much left")
    assumed_power_W: float = setting(
        100.0, unit="W", low=1, high=2000, doc="draw of the computer at work where no rail is measured; take the worst"
    )
    awake_power_W: float = setting(
        0.0, unit="W", low=0, high=1000, doc="what the rest of the car draws because work keeps it awake"
    )
    store_every_s: float = setting(
        10.0, unit="s", low=1, high=600, doc="how often the account goes to disk during work"
    )


@dataclass(frozen=True)
class Heat:
    """Temperatures. What the governor aims at is below compute_max_C; reaching the limit itself closes."""

    battery_max_C: float = setting(45.0, unit="°C", low=20, high=60, doc="closed above")
    battery_min_C: float = setting(-10.0, unit="°C", low=-40, high=20, doc="closed below")
    compute_max_C: float = setting(85.0, unit="°C", low=40, high=105, doc="closed above, the hottest zone counts")
    target_below_C: float = setting(
        3.0, unit="°C", low=0.5, high=30, doc="the governor holds the computer so much below compute_max_C"
    )
    control: str = setting(
        "duty",
        choices=("duty", "power"),
        doc="what the governor sets: the share of each 100 ms window, or a power budget (better, where the worker can\n"
        "hold one; limits.power_budget_mW must then be set)",
    )
    cabin_max_C: float = setting(60.0, unit="°C", low=30, high=90, doc="closed above")
    hysteresis_C: float = setting(5.0, unit="°C", low=0, high=30, doc="reopens only so much inside the limit")


@dataclass(frozen=True)
class Owner:
    """What the owner allows besides the signed consent itself."""

    hours: tuple[str, ...] = setting(
        (), doc='local hours in which work may run, such as ["22:00-06:00"]; an empty list is at any hour'
    )
    metered: bool = setting(False, doc="work also over a link that is paid by volume")

    def __post_init__(self) -> None:
        for hours in self.hours:
            _span(hours)

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Returns `hours` in minutes of the day, those over midnight cut in two: [begin, end)."""
        spans: list[tuple[int, int]] = []
        for hours in self.hours:
            begin, end = _span(hours)
            spans += [(begin, end)] if begin < end else [(begin, 1440), (0, end)]
        return tuple(spans)


@dataclass(frozen=True)
class Sleep:
    """A parked car's buses go to sleep. An announced sleep and a live witness that the car is off may hold the parked
    readings; without, they turn stale and the gate closes."""

    hold: bool = setting(False, doc="hold them; the car must announce its sleep, and a witness must be wired up")
    hold_max_s: float = setting(3600.0, unit="s", low=10, high=86_400, doc="the longest hold; then they are stale")


@dataclass(frozen=True)
class Ahead:
    """How long this parking may last, told from those before it: for the forecast that admits jobs."""

    parked_share_pct: float = setting(
        75.0,
        unit="%",
        low=0,
        high=99,
        doc="a job may be as long as this share of comparable parkings still lasted; 0 asks no history",
    )
    parkings_least: int = setting(
        5, low=1, high=200, doc="with fewer comparable parkings nothing is known, and nothing is bounded"
    )


@dataclass(frozen=True)
class Limits:
    """What work may take of the computer while the gate is open; the governor only ever gives less."""

    duty_max_permille: int = setting(1000, unit="permille", low=0, high=1000, doc="share of each 100 ms window")
    max_threads: int = setting(0, low=0, high=1024, doc="threads kept busy; 0 is every CPU")
    power_budget_mW: int = setting(0, unit="mW", low=0, high=2_000_000, doc="draw of the computer; 0 is not limited")
    power_floor_mW: int = setting(0, unit="mW", low=0, high=2_000_000, doc="draw of the computer that does not work")


@dataclass(frozen=True)
class Policy:
    """The whole of policy.toml."""

    timing: Timing = field(default_factory=Timing)
    car: Car = field(default_factory=Car)
    charge: Charge = field(default_factory=Charge)
    low_voltage: LowVoltage = field(default_factory=LowVoltage)
    energy: Energy = field(default_factory=Energy)
    heat: Heat = field(default_factory=Heat)
    owner: Owner = field(default_factory=Owner)
    sleep: Sleep = field(default_factory=Sleep)
    ahead: Ahead = field(default_factory=Ahead)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.heat.battery_min_C >= self.heat.battery_max_C:
            raise ValueError("heat.battery_min_C must be below heat.battery_max_C")
        if self.energy.hysteresis_Wh >= min(self.energy.debt_max_Wh, self.energy.day_max_Wh):
            raise ValueError("energy.hysteresis_Wh must be below debt_max_Wh and day_max_Wh")
        if self.heat.control == "power" and self.limits.power_budget_mW <= self.limits.power_floor_mW:
            raise ValueError('heat.control = "power" needs a limits.power_budget_mW above limits.power_floor_mW')
        if self.low_voltage.cut_V > self.low_voltage.guard_V:
            raise ValueError("low_voltage.cut_V must not be above low_voltage.guard_V")


def _span(hours: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(hours)
    if match is None:
        raise ValueError(f"hours must look like 22:00-06:00, got {hours!r}")
    begin, begin_min, end, end_min = (int(part) for part in match.groups())
    first, last = begin * 60 + begin_min, end * 60 + end_min
    if last > 1440 or first == last:
        raise ValueError(f"hours must be a span of the day, got {hours!r}")
    return first, last
