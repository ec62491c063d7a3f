"""Frames of a parked Tesla Model 3 for the tests, packed by cantools (not by the code under test)."""

from __future__ import annotations

from pathlib import Path

import cantools.database

from firmware_bridge import cars

DATABASE = cantools.database.load_file(Path(cars.__file__).parent / "tesla_model3.dbc", strict=True)
_PROTECTED = {"DI_systemStatus", "DI_speed", "VCFRONT_LVPowerState"}
PARKED: dict[str, dict[str, float]] = {
    "VCLEFT_doorStatus": {"VCLEFT_frontLatchStatus": 2, "VCLEFT_rearLatchStatus": 2},
    "VCRIGHT_doorStatus": {"VCRIGHT_frontLatchStatus": 2, "VCRIGHT_rearLatchStatus": 2},
    "DI_systemStatus": {"DI_gear": 1},
    "DI_speed": {"DI_vehicleSpeed": 0.0},
    "VCFRONT_LVPowerState": {"VCFRONT_vehiclePowerState": 1},
    "BMS_hvBusStatus": {"BMS_packVoltage": 390.0, "BMS_smoothCurrent": -18.0},
    "BMS_status": {"BMS_uiChargeStatus": 3},
    "VCFRONT_12vBattStatus": {"VCFRONT_12vVoltage": 13.4},
    "BMS_socStatus": {"BMS_socUI": 80.5},
    "BMS_thermalStatus": {"BMS_minPackTemperature": 24.0, "BMS_maxPackTemperature": 26.5},
    "VCLEFT_switchStatus": {"VCLEFT_switchStatusIndex": 0, "VCLEFT_frontOccupancySwitch": 1},
    "VCRIGHT_switchStatus": {"VCRIGHT_frontOccupancySwitch": 1},
}


def frame(message: str, counter: int = 0, **values: float) -> tuple[int, bytes]:
    """Returns (id, data) of one message of the parked car with some signals changed; counter and checksum are right."""
    definition = DATABASE.get_message_by_name(message)  # type: ignore[union-attr]
    fields = {**PARKED[message], **values}
    if message not in _PROTECTED:
        return definition.frame_id, definition.encode(fields, strict=False)
    fields |= {f"{message}Counter": counter % 16, f"{message}Checksum": 0}
    data = definition.encode(fields, strict=False)
    total = (sum(data) + (definition.frame_id & 0xFF) + (definition.frame_id >> 8)) & 0xFF
    return definition.frame_id, definition.encode(fields | {f"{message}Checksum": total}, strict=False)


def second(counter: int, offset_ms: int = 0, **changes: dict[str, float]) -> list[tuple[int, int, bytes]]:
    """Returns a second of the bus as (ms, id, data): gear and speed at 50 Hz, doors and seats at 10, others at 1."""
    found: list[tuple[int, int, bytes]] = []
    for ms in range(0, 1000, 20):
        for name in PARKED:
            period = 20 if name.startswith("DI_") else 100 if name.startswith("VC") and "12v" not in name else 1000
            if ms % period == 0:
                found.append((offset_ms + ms, *frame(name, counter + ms // period, **changes.get(name, {}))))
    return found
