"""What the tests share: a parked car in which nothing speaks against work, and an engine that it has opened."""

from __future__ import annotations

from collections.abc import Mapping

from firmware_bridge import signals as s
from firmware_bridge.engine import Decision, Engine
from firmware_bridge.policy_settings import Policy, Timing
from firmware_bridge.readings import Quality, Reading, Value
from kernels.gate.word import State

SECOND = 1_000_000_000
MS = 1_000_000
START = 1_000 * SECOND

PARKED: dict[str, Value] = {
    s.GEAR: 126.0,
    s.PARK_LOCK: True,
    s.PARKING_BRAKE: True,
    s.SPEED: 0.0,
    s.IS_MOVING: False,
    s.POWER_STATE: "LOCK",
    s.DRIVER_SEAT: False,
    s.PASSENGER_SEAT: False,
    s.DRIVER_DOOR: False,
    s.PASSENGER_DOOR: False,
    s.REAR_DRIVER_DOOR: False,
    s.REAR_PASSENGER_DOOR: False,
    s.CHARGE: 80.0,
    s.PACK_POWER: 7000.0,
    s.PACK_HOTTEST: 25.0,
    s.PACK_COLDEST: 24.0,
    s.IS_CHARGING: True,
    s.VOLTAGE_12V: 13.2,
    s.CABIN_TEMPERATURE: 22.0,
    s.CONSENT: True,
    s.COMPUTE_TEMPERATURE: 50.0,
    s.COMPUTE_POWER: 15.0,
    s.METERED: False,
    s.CRASH: False,
    s.OTA: False,
    s.LOW_POWER: False,
    s.PAUSE: False,
}
QUICK = Policy(timing=Timing(dwell_s=0.5, drain_s=0.2, fault_hold_s=1.0))


def tell(
    engine: Engine,
    values: Mapping[str, Value],
    now_ns: int,
    *,
    source: str = "car",
    quality: Quality = Quality.GOOD,
) -> None:
    """Delivers `values` to the engine as readings of `now_ns`."""
    for name, value in values.items():
        engine.accept(source, Reading(name, value, s.SIGNALS[name].unit, now_ns, quality), now_ns)


def run(engine: Engine, values: Mapping[str, Value], from_ns: int, for_ms: int, *, step_ms: int = 20) -> Decision:
    """Repeats `values` and evaluates every `step_ms`; returns the last decision, at from_ns + for_ms."""
    decision = None
    for now_ns in range(from_ns, from_ns + for_ms * MS + 1, step_ms * MS):
        tell(engine, values, now_ns)
        decision = engine.evaluate(now_ns)
    assert decision is not None
    return decision


def opened(policy: Policy = QUICK) -> tuple[Engine, int]:
    """Returns an engine that has just opened for a parked car, and the time."""
    engine = Engine(policy, START)
    for_ms = int(policy.timing.dwell_s * 1000) + 40
    assert run(engine, PARKED, START, for_ms).state is State.OPEN
    return engine, START + for_ms * MS
