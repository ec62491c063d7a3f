"""The signals that the bridge knows: COVESA VSS 4 names, one row each, with unit, range, age limit and tolerance.

What VSS has no name for stands under the overlay branch `Vehicle.IdleHands`. The catalogue of VSS:
https://covesa.github.io/vehicle_signal_specification (SelectedGear: 126 is Park, 127 Drive, below 0 Reverse).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_bridge.readings import Value

GEAR = "Vehicle.Powertrain.Transmission.SelectedGear"
PARK_LOCK = "Vehicle.Powertrain.Transmission.IsParkLockEngaged"
PARKING_BRAKE = "Vehicle.Chassis.ParkingBrake.IsEngaged"
SPEED = "Vehicle.Speed"
IS_MOVING = "Vehicle.IsMoving"
POWER_STATE = "Vehicle.LowVoltageSystemState"
DRIVER_SEAT = "Vehicle.Cabin.Seat.Row1.DriverSide.IsOccupied"
PASSENGER_SEAT = "Vehicle.Cabin.Seat.Row1.PassengerSide.IsOccupied"
DRIVER_DOOR = "Vehicle.Cabin.Door.Row1.DriverSide.IsOpen"
PASSENGER_DOOR = "Vehicle.Cabin.Door.Row1.PassengerSide.IsOpen"
REAR_DRIVER_DOOR = "Vehicle.Cabin.Door.Row2.DriverSide.IsOpen"
REAR_PASSENGER_DOOR = "Vehicle.Cabin.Door.Row2.PassengerSide.IsOpen"
CHARGE = "Vehicle.Powertrain.TractionBattery.StateOfCharge.Displayed"
PACK_POWER = "Vehicle.Powertrain.TractionBattery.CurrentPower"
PACK_HOTTEST = "Vehicle.Powertrain.TractionBattery.Temperature.Max"
PACK_COLDEST = "Vehicle.Powertrain.TractionBattery.Temperature.Min"
IS_CHARGING = "Vehicle.Powertrain.TractionBattery.Charging.IsCharging"
VOLTAGE_12V = "Vehicle.LowVoltageBattery.CurrentVoltage"
CABIN_TEMPERATURE = "Vehicle.Cabin.HVAC.AmbientAirTemperature"
OUTSIDE_TEMPERATURE = "Vehicle.Exterior.AirTemperature"
CONSENT = "Vehicle.IdleHands.Consent.IsGiven"
COMPUTE_TEMPERATURE = "Vehicle.IdleHands.Compute.Temperature"
COMPUTE_POWER = "Vehicle.IdleHands.Compute.Power"
COMPUTE_LOAD = "Vehicle.IdleHands.Compute.Load"
MEMORY_PRESSURE = "Vehicle.IdleHands.Compute.MemoryPressure"
METERED = "Vehicle.IdleHands.Link.IsMetered"
CRASH = "Vehicle.IdleHands.Crash.IsDetected"
OTA = "Vehicle.IdleHands.Update.IsInProgress"
LOW_POWER = "Vehicle.IdleHands.LowPowerMode.IsActive"
PAUSE = "Vehicle.IdleHands.Operator.IsPaused"
OFF_WITNESS = "Vehicle.IdleHands.Witness.IsOff"
BUS_ASLEEP = "Vehicle.IdleHands.Bus.IsAsleep"
MINUTE_OF_DAY = "Vehicle.IdleHands.Clock.MinuteOfDay"
DAY = "Vehicle.IdleHands.Clock.Day"
# Derived inside the bridge from others, never accepted from a source.
FILTERED_12V = "Vehicle.IdleHands.LowVoltageBattery.FilteredVoltage"
DEBT_ENERGY_LEFT = "Vehicle.IdleHands.Energy.DebtBudgetLeft"
DAY_ENERGY_LEFT = "Vehicle.IdleHands.Energy.DayBudgetLeft"

GEAR_PARK = 126.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One row. `low`..`high` is what the sensor can say; beyond it the reading is invalid, not extreme.

    `age_limit_s`: older is stale. `tolerance`: two sources that differ by more contradict each other. `max_per_s`: a
    faster change is no physics but a changed scale or a broken sensor; the signal is invalid until it has been steady.
    `keeps_lease`: its time bounds the lease of the gate word. `is_core`: no car is fitted without it.
    """

    name: str
    kind: type
    unit: str
    says: str
    age_limit_s: float
    low: float = -math.inf
    high: float = math.inf
    choices: frozenset[str] = frozenset()
    tolerance: float = 0.0
    max_per_s: float = math.inf
    keeps_lease: bool = False
    is_core: bool = False
    is_derived: bool = False

    @property
    def age_limit_ns(self) -> int:
        return int(self.age_limit_s * 1e9)

    def accepts(self, value: Value) -> bool:
        """Returns whether `value` is of the signal's type and in its range; None (unknown) is not."""
        if self.kind is bool:
            return isinstance(value, bool)
        if self.kind is str:
            return isinstance(value, str) and value in self.choices
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


def _flag(name: str, says: str, age_limit_s: float, *, is_core: bool = False) -> Signal:
    return Signal(name, bool, "", says, age_limit_s, is_core=is_core)


_ROWS = (
    Signal(GEAR, float, "", "the selected gear", 0.2, -8, 127, keeps_lease=True, is_core=True),
    _flag(PARK_LOCK, "the park lock", 0.5),
    _flag(PARKING_BRAKE, "the parking brake", 1.0),
    Signal(SPEED, float, "km/h", "the speed", 0.2, -60, 400, tolerance=1.0, keeps_lease=True, is_core=True),
    _flag(IS_MOVING, "the car's own sign of motion", 0.5),
    Signal(
        POWER_STATE,
        str,
        "",
        "the power state",
        1.0,
        choices=frozenset({"LOCK", "OFF", "ACC", "ON", "START"}),  # VSS' UNDEFINED is unknown: invalid here
        is_core=True,
    ),
    _flag(DRIVER_SEAT, "the driver's seat", 1.0, is_core=True),
    _flag(PASSENGER_SEAT, "the passenger's seat", 1.0),
    _flag(DRIVER_DOOR, "the driver's door", 1.0, is_core=True),
    _flag(PASSENGER_DOOR, "the passenger's door", 1.0),
    _flag(REAR_DRIVER_DOOR, "the rear door on the driver's side", 1.0),
    _flag(REAR_PASSENGER_DOOR, "the rear door on the passenger's side", 1.0),
    # 350 kW into 50 kWh is 0.2 % a second; a display may round to whole percents.
    Signal(CHARGE, float, "%", "state of charge", 30.0, 0, 100, tolerance=2.0, max_per_s=0.5, is_core=True),
    Signal(PACK_POWER, float, "W", "the power into the pack", 5.0, -1e6, 1e6, tolerance=500.0),
    Signal(PACK_HOTTEST, float, "°C", "the hottest cell", 60.0, -50, 90, tolerance=3.0, max_per_s=1.0, is_core=True),
    Signal(PACK_COLDEST, float, "°C", "the coldest cell", 60.0, -50, 90, tolerance=3.0, max_per_s=1.0, is_core=True),
    _flag(IS_CHARGING, "the charger", 5.0),
    Signal(VOLTAGE_12V, float, "V", "the 12 V battery", 5.0, 5, 18, tolerance=0.5, is_core=True),
    Signal(CABIN_TEMPERATURE, float, "°C", "cabin temperature", 60.0, -50, 100, tolerance=3.0, max_per_s=2.0),
    Signal(OUTSIDE_TEMPERATURE, float, "°C", "outside temperature", 300.0, -60, 70, tolerance=5.0),
    _flag(CONSENT, "the owner's consent", 5.0, is_core=True),
    Signal(
        COMPUTE_TEMPERATURE,
        float,
        "°C",
        "the computer's temperature",
        2.0,
        -50,
        130,
        tolerance=8.0,  # the hottest of several zones
        max_per_s=40.0,  # a junction under a step of load; a zone that goes from 40 to -256 is caught by the range
        is_core=True,
    ),
    Signal(COMPUTE_POWER, float, "W", "the computer's power", 2.0, 0, 2000, tolerance=20.0),
    Signal(COMPUTE_LOAD, float, "permille", "the computer's load", 5.0, 0, 1000, tolerance=1000.0),
    Signal(MEMORY_PRESSURE, float, "%", "memory pressure", 5.0, 0, 100, tolerance=100.0),
    _flag(METERED, "the network link", 60.0),
    _flag(CRASH, "the crash signal", 5.0),
    _flag(OTA, "a software update", 5.0),
    _flag(LOW_POWER, "the low-power mode", 5.0),
    _flag(PAUSE, "the operator's pause", 5.0),
    _flag(BUS_ASLEEP, "the bus", 1.0),
    _flag(OFF_WITNESS, "the witness that the car is off", 0.2),
    Signal(MINUTE_OF_DAY, float, "min", "the local time", 5.0, 0, 1440),
    Signal(DAY, float, "", "the date", 5.0, 0, 1e6),
    Signal(FILTERED_12V, float, "V", "the 12 V battery, averaged", 5.0, 5, 18, is_derived=True),
    Signal(DEBT_ENERGY_LEFT, float, "Wh", "what work may still take from the battery", 5.0, is_derived=True),
    Signal(DAY_ENERGY_LEFT, float, "Wh", "what is left of the day's energy", 5.0, is_derived=True),
)

SIGNALS: dict[str, Signal] = {row.name: row for row in _ROWS}
OPTIONAL: tuple[str, ...] = tuple(row.name for row in _ROWS if not row.is_core and not row.is_derived)
LEASE_KEEPERS: tuple[str, ...] = tuple(row.name for row in _ROWS if row.keeps_lease)
