"""The bus asleep: an announced sleep and a live witness may hold the parked readings. Pure.

    the car announces it   BUS_ASLEEP is true (its network management, or the adapter that hears it)
    GRACE_NS               its last frames may still arrive; they refresh what is held
    asleep                 what turned stale since then is held at its last good value, while the witness lives
    the first frame        ends it at once: what is held is stale again, the gate closes until all is understood

The witness is a line of its own that says, many times a second, that the car is off (ignition line, a power rail). It
bounds the lease in place of gear and speed. A hold lasts at most `hold_max_s`; then the readings are stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firmware_bridge import signals
from firmware_bridge.fusion import Fact, Facts
from firmware_bridge.policy_settings import Sleep as SleepSettings
from firmware_bridge.readings import Quality

GRACE_NS = 2_000_000_000
# What a sleeping car's own computers would say. What the bridge's computer and the owner say is never held.
HELD = frozenset(
    {
        signals.GEAR,
        signals.PARK_LOCK,
        signals.PARKING_BRAKE,
        signals.SPEED,
        signals.IS_MOVING,
        signals.POWER_STATE,
        signals.DRIVER_SEAT,
        signals.PASSENGER_SEAT,
        signals.DRIVER_DOOR,
        signals.PASSENGER_DOOR,
        signals.REAR_DRIVER_DOOR,
        signals.REAR_PASSENGER_DOOR,
        signals.CHARGE,
        signals.PACK_HOTTEST,
        signals.PACK_COLDEST,
        signals.IS_CHARGING,
        signals.CABIN_TEMPERATURE,
        signals.CRASH,
        signals.LOW_POWER,
    }
)


@dataclass(frozen=True, slots=True)
class Sleep:
    """What is held since `began_ns`; None: awake. `is_used`: this announcement has been held and ended already."""

    began_ns: int | None = None
    held: Mapping[str, Fact] = field(default_factory=dict)
    is_used: bool = False


def after(sleep: Sleep, facts: Facts, settings: SleepSettings, now_ns: int) -> tuple[Sleep, dict[str, Fact]]:
    """Returns the next state, and the facts that stand in for those that turned stale (empty unless asleep)."""
    witness = facts.get(signals.OFF_WITNESS)
    is_off = witness is not None and witness.quality is Quality.GOOD and witness.value is True
    announcing = facts.get(signals.BUS_ASLEEP)
    is_announced = announcing is not None and announcing.quality is Quality.GOOD and announcing.value is True
    if not settings.hold or witness is None or not is_off:
        return Sleep(is_used=is_announced), {}
    began_ns = sleep.began_ns
    if began_ns is None:
        if not is_announced or sleep.is_used:
            return Sleep(is_used=is_announced), {}
        sleep = Sleep(now_ns, _good(facts))
    elif now_ns - began_ns <= GRACE_NS:
        sleep = Sleep(began_ns, {**sleep.held, **_good(facts)})
    elif now_ns - began_ns > settings.hold_max_s * 1e9 or _has_woken(sleep, facts):
        return Sleep(is_used=True), {}
    if announcing is not None and announcing.quality is Quality.GOOD and announcing.value is False:
        return Sleep(), {}
    stand_ins = {
        name: Fact(name, fact.value, Quality.GOOD, witness.time_ns, fact.value)
        for name, fact in sleep.held.items()
        if facts[name].quality is Quality.STALE
    }
    return sleep, stand_ins


def _good(facts: Facts) -> dict[str, Fact]:
    return {name: fact for name, fact in facts.items() if name in HELD and fact.quality is Quality.GOOD}


def _has_woken(sleep: Sleep, facts: Facts) -> bool:
    """Returns whether the bus said anything since: a newer reading, good or bad, of any signal that it speaks of."""
    return any(
        name not in sleep.held or fact.time_ns > sleep.held[name].time_ns
        for name, fact in facts.items()
        if name in HELD
    )
