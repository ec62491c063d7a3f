"""Generated days: a car's life with drives, charges, heat waves, guests and failing sensors, through the gate.

The world knows the truth; the sensors tell it with noise and failures; the gate sees only the sensors. Judged is the
truth: whether work ever ran in a car that moved, was occupied or not consented, below a floor, or above a limit. Each
step stands for a bridge that looked all the time at the same readings, so steps can be minutes. Seeds are fixed.

Sensor noise, and what five minutes of work use (the bridge itself looks every 20 ms), are within `TOLERANCE` of each
floor. A sensor that fails says so (stale, invalid, absent) or contradicts another. One that lies steadily and
plausibly, alone, no gate can see: for motion and gear that takes two.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from firmware_bridge import derived, energy, governor, machine, policy, signals
from firmware_bridge.derived import Derived
from firmware_bridge.energy import Account
from firmware_bridge.fusion import Fact
from firmware_bridge.governor import Governor
from firmware_bridge.policy import Memory
from firmware_bridge.policy_settings import Charge, Energy, Owner, Policy, Timing
from firmware_bridge.readings import Quality, Value
from kernels.gate.word import State

STEP_MIN = 5
TOLERANCE = {"charge_pct": 0.5, "volts": 0.4, "temperature_C": 1.5, "energy_Wh": 21.0}
POLICY = Policy(
    timing=Timing(dwell_s=60.0),
    charge=Charge(floor_pct=20.0, reserve_pct=40.0),
    energy=Energy(debt_max_Wh=400.0, day_max_Wh=1500.0, hysteresis_Wh=50.0, assumed_power_W=90.0, awake_power_W=150.0),
    owner=Owner(hours=("19:00-09:00", "10:00-16:00")),
)
_PACK_WH = 60_000.0
_DOUBTS = (Quality.STALE, Quality.INVALID, Quality.ABSENT, Quality.CONTRADICTORY)


@dataclass
class World:
    """The truth at one moment. `minute` is of the day."""

    day: int = 0
    minute: float = 0.0
    is_driving: bool = False
    is_occupied: bool = False
    door_open: bool = False
    is_plugged: bool = False
    has_consent: bool = True
    is_metered: bool = False
    is_updating: bool = False
    has_crashed: bool = False
    charge_pct: float = 70.0
    volts: float = 13.2
    outside_C: float = 20.0
    cabin_C: float = 22.0
    battery_C: float = 22.0
    compute_C: float = 40.0
    weak_12v: bool = False


@dataclass
class Day:
    """What chance has laid into one day: intervals in minutes, each list sorted."""

    drives: list[tuple[float, float]]
    plugged: list[tuple[float, float]]
    visits: list[tuple[float, float]]
    updates: list[tuple[float, float]]
    failures: list[tuple[float, float, str, Quality]]
    mean_C: float
    is_sunny: bool
    has_consent: bool
    revoked_at: float
    is_metered: bool
    crash_at: float
    weak_12v: bool

    def edges(self) -> list[float]:
        """Returns the minutes at which something changes, and every fifth."""
        found = {float(minute) for minute in range(0, 1440, STEP_MIN)}
        for begin, end in (*self.drives, *self.plugged, *self.visits, *self.updates):
            found |= {begin, end}
        for begin, end, _, _ in self.failures:
            found |= {begin, end}
        return sorted(each for each in found | {self.revoked_at, self.crash_at} if 0 <= each < 1440)


@dataclass
class Tally:
    """What the days came to."""

    days: int = 0
    steps: int = 0
    open_h: float = 0.0
    openings: int = 0
    violations: list[str] = field(default_factory=list)
    closed_by: dict[str, int] = field(default_factory=dict)
    lowest_charge_pct: float = 100.0
    hottest_open_C: float = -100.0


def generate(rng: random.Random, number: int) -> Day:
    """Returns one day of a year: `number` sets the season."""
    season_C = 12.0 - 12.0 * math.cos(2 * math.pi * (number % 365) / 365)
    heat_wave = 14.0 if rng.random() < 0.06 else 0.0

    def spans(count: int, low: float, high: float) -> list[tuple[float, float]]:
        begins = sorted(rng.uniform(0, 1400) for _ in range(count))
        return [(begin, min(1439.0, begin + rng.uniform(low, high))) for begin in begins]

    used = [signal for signal in _seen(World()) if signal not in (signals.DAY,)]
    failures = [
        (begin, end, rng.choice(used), rng.choice(_DOUBTS))
        for begin, end in spans(rng.choice((0, 0, 1, 2, 4)), 0.5, 240)
    ]
    return Day(
        drives=spans(rng.randint(0, 4), 5, 70),
        plugged=spans(rng.choice((0, 1, 1, 2)), 60, 600),
        visits=spans(rng.randint(0, 5), 0.2, 8),
        updates=spans(1, 20, 60) if rng.random() < 0.05 else [],
        failures=failures,
        mean_C=season_C + heat_wave + rng.uniform(-5, 5),
        is_sunny=rng.random() < 0.5,
        has_consent=rng.random() > 0.02,
        revoked_at=rng.uniform(0, 1440) if rng.random() < 0.03 else 1440.0,
        is_metered=rng.random() < 0.1,
        crash_at=rng.uniform(0, 1440) if rng.random() < 0.002 else 1440.0,
        weak_12v=rng.random() < 0.05,
    )


class Life:
    """A car through its days: the world, and the gate's pure parts as the engine strings them together."""

    def __init__(self, seed: int, settings: Policy = POLICY) -> None:
        self.rng = random.Random(seed)
        self.settings = settings
        self.world = World()
        self.tally = Tally()
        self._rules = policy.rules_of(settings)
        self._memory = Memory()
        self._derived = Derived()
        self._governor = Governor()
        self._account = Account()
        self._debt_Wh = 0.0  # the truth of the energy account
        self._gate = machine.start(0)

    def live(self, days: int) -> Tally:
        """Lives so many days; returns the tally."""
        for number in range(days):
            for _ in self.day(number):
                pass
        return self.tally

    def day(self, number: int) -> Iterator[dict[str, Any]]:
        """Lives one day; yields a row for each step, for plots."""
        plan = generate(self.rng, number)
        self.tally.days += 1
        edges = plan.edges()
        for minute, following in zip(edges, [*edges[1:], 1440.0], strict=True):
            yield self._step(plan, number, minute, (following - minute) * 60)

    def _step(self, plan: Day, number: int, minute: float, span_s: float) -> dict[str, Any]:
        world = self.world
        _happen(world, plan, number, minute)
        now_ns = int((number * 1440 + minute) * 60e9) + 10**12
        facts = self._sense(plan, minute, now_ns)
        verdict = policy.evaluate(facts, self._rules, self.settings, self._memory, now_ns)
        self._memory = verdict.memory
        before = self._gate.state
        # The bridge has looked at these readings all the time since the last step: no gap.
        self._gate = machine.step(replace(self._gate, stepped_ns=now_ns), verdict, self.settings.timing, now_ns)
        is_open = self._gate.state is State.OPEN
        if is_open:
            self._judge(number, minute)
        for because in verdict.reasons:
            self.tally.closed_by[because.reason] = self.tally.closed_by.get(because.reason, 0) + 1
        self.tally.steps += 1
        self.tally.openings += is_open and before is not State.OPEN
        level = governor.grant(self._governor, self.settings.heat, self.settings.limits).duty_permille / 1000
        self._pass(span_s, level if is_open else 0.0, is_open, facts)
        return {
            "minute": minute,
            "state": self._gate.state.name.lower(),
            "duty": level if is_open else 0.0,
            "charge_pct": world.charge_pct,
            "volts": world.volts,
            "cabin_C": world.cabin_C,
            "battery_C": world.battery_C,
            "compute_C": world.compute_C,
            "debt_Wh": self._account.debt_Wh,
            "is_driving": world.is_driving,
            "is_plugged": world.is_plugged,
            "reasons": sorted({because.reason for because in verdict.reasons}),
        }

    def _sense(self, plan: Day, minute: float, now_ns: int) -> dict[str, Fact]:
        rng, world = self.rng, self.world
        seen = _seen(world)
        noisy: dict[str, float] = {signals.CHARGE: 0.2, signals.VOLTAGE_12V: 0.05, signals.COMPUTE_TEMPERATURE: 0.3}
        facts: dict[str, Fact] = {}
        for name, value in seen.items():
            if name in noisy and isinstance(value, float):
                value += rng.uniform(-noisy[name], noisy[name])
            facts[name] = Fact(name, value, Quality.GOOD, now_ns, value)
        for begin, end, name, quality in plan.failures:
            if begin <= minute < end:
                facts[name] = Fact(name, None, quality, now_ns, None)
        own, self._derived = derived.derive(facts, self.settings, self._derived)
        return {**facts, **own, **energy.facts_of(self._account, self.settings.energy, now_ns)}

    def _judge(self, number: int, minute: float) -> None:
        """The truth against what may not be, while the gate is open."""
        world, tolerance = self.world, TOLERANCE
        clock = int(minute)
        wrong = {
            "it drives": world.is_driving,
            "someone is inside": world.is_occupied,
            "a door is open": world.door_open,
            "the owner has not consented": not world.has_consent,
            "the link is metered": world.is_metered,
            "an update runs": world.is_updating,
            "it has crashed": world.has_crashed,
            "charge is below the reserve": world.charge_pct < 40.0 - tolerance["charge_pct"],
            "the 12 V battery is below the cut": world.volts < 10.8 - tolerance["volts"],
            "the battery is too hot": world.battery_C > 45.0 + tolerance["temperature_C"],
            "the battery is too cold": world.battery_C < -10.0 - tolerance["temperature_C"],
            "the computer is too hot": world.compute_C > 85.0 + tolerance["temperature_C"],
            "the cabin is too hot": world.cabin_C > 60.0 + tolerance["temperature_C"],
            "work owes more than it may": self._debt_Wh > 400.0 + tolerance["energy_Wh"],
            "it is not the owner's hour": 540 <= clock < 600 or 960 <= clock < 1140,
        }
        self.tally.lowest_charge_pct = min(self.tally.lowest_charge_pct, world.charge_pct)
        self.tally.hottest_open_C = max(self.tally.hottest_open_C, world.compute_C)
        for what, is_so in wrong.items():
            if is_so and len(self.tally.violations) < 20:
                self.tally.violations.append(f"day {number}, minute {minute:.1f}: {what}")

    def _pass(self, span_s: float, level: float, is_open: bool, facts: dict[str, Fact]) -> None:
        """Lets the time to the next step pass in the world, work included, at most a minute at once."""
        left_s = span_s
        self.tally.open_h += span_s / 3600 * is_open
        while left_s > 0:
            step_s = min(60.0, left_s)
            left_s -= step_s
            work_W = (20.0 + 70.0 * level) + 150.0 if is_open else 0.0
            _evolve(self.world, step_s, work_W, level)
            flow = facts[signals.PACK_POWER]
            if flow.quality is Quality.GOOD:  # the pack's power is read every few seconds, also within a step
                facts = {**facts, signals.PACK_POWER: replace(flow, value=_into_battery_W(self.world))}
            account, settings = self._account, self.settings.energy
            self._account = energy.after(account, facts, step_s, is_open, settings, longest_s=60.0)
            into_W = _into_battery_W(self.world)
            self._debt_Wh += 0.0 if into_W > 0 else work_W * step_s / 3600
            self._debt_Wh = max(0.0, self._debt_Wh - max(0.0, into_W) * step_s / 3600)
            time_ns = self._governor.time_ns + int(step_s * 1e9)
            self._governor = governor.after(self._governor, self.world.compute_C, time_ns, self.settings.heat)


def _happen(world: World, plan: Day, number: int, minute: float) -> None:
    def within(spans: list[tuple[float, float]]) -> bool:
        return any(begin <= minute < end for begin, end in spans)

    world.day, world.minute = number, minute
    world.is_driving = within(plan.drives)
    world.is_occupied = world.is_driving or within(plan.visits)
    world.door_open = within(plan.visits) and not world.is_driving and int(minute * 10) % 3 == 0
    world.is_plugged = within(plan.plugged) and not world.is_driving
    world.is_updating = within(plan.updates)
    world.has_consent = plan.has_consent and minute < plan.revoked_at
    world.is_metered = plan.is_metered
    world.has_crashed = minute >= plan.crash_at
    world.weak_12v = plan.weak_12v
    swing = 7.0 * math.sin(2 * math.pi * (minute / 1440 - 0.33))
    sun = 22.0 * max(0.0, math.sin(math.pi * (minute - 420) / 780)) if plan.is_sunny and 420 <= minute <= 1200 else 0.0
    world.outside_C = plan.mean_C + swing
    world.cabin_C = 21.0 if world.is_driving else world.outside_C + sun


def _evolve(world: World, step_s: float, work_W: float, level: float) -> None:
    hours = step_s / 3600
    flow_W = _into_battery_W(world) - (0.0 if _into_battery_W(world) > 0 else work_W)
    world.charge_pct = min(100.0, max(3.0, world.charge_pct + 100 * flow_W * hours / _PACK_WH))
    target_V = (11.0 if world.weak_12v else 13.2) - (0.3 if work_W and world.weak_12v else 0.0)
    world.volts += (target_V - world.volts) * min(1.0, step_s / 600)
    target_C = world.outside_C + (12.0 if world.is_driving or world.is_plugged else 2.0)
    world.battery_C += (target_C - world.battery_C) * min(1.0, step_s / 7200)
    hot_C = world.cabin_C + 0.5 * ((20.0 + 70.0 * level) if work_W else 6.0)
    world.compute_C += (hot_C - world.compute_C) * min(1.0, step_s / 240)


def _into_battery_W(world: World) -> float:
    if world.is_driving:
        return -11_000.0
    return 7_000.0 if world.is_plugged and world.charge_pct < 90.0 else -40.0


def _seen(world: World) -> dict[str, Value]:
    """Returns what sensors without a fault would say."""
    return {
        signals.GEAR: 127.0 if world.is_driving else 126.0,
        signals.PARK_LOCK: not world.is_driving,
        signals.SPEED: 48.0 if world.is_driving else 0.0,
        signals.IS_MOVING: world.is_driving,
        signals.POWER_STATE: "ON" if world.is_driving else "LOCK",
        signals.DRIVER_SEAT: world.is_occupied,
        signals.PASSENGER_SEAT: False,
        signals.DRIVER_DOOR: world.door_open,
        signals.PASSENGER_DOOR: False,
        signals.REAR_DRIVER_DOOR: False,
        signals.REAR_PASSENGER_DOOR: False,
        signals.CHARGE: world.charge_pct,
        signals.PACK_POWER: _into_battery_W(world),
        signals.PACK_HOTTEST: world.battery_C,
        signals.PACK_COLDEST: world.battery_C,
        signals.IS_CHARGING: world.is_plugged,
        signals.VOLTAGE_12V: world.volts,
        signals.CABIN_TEMPERATURE: world.cabin_C,
        signals.CONSENT: world.has_consent,
        signals.COMPUTE_TEMPERATURE: world.compute_C,
        signals.METERED: world.is_metered,
        signals.CRASH: world.has_crashed,
        signals.OTA: world.is_updating,
        signals.LOW_POWER: False,
        signals.PAUSE: False,
        signals.MINUTE_OF_DAY: world.minute,
        signals.DAY: float(world.day),
    }


def run(days: int, seed: int = 1) -> dict[str, Any]:
    """Returns what so many generated days came to: {"days", "steps", "open_h", "openings", "violations", ...}."""
    tally = Life(seed).live(days)
    return {
        "days": tally.days,
        "seed": seed,
        "steps": tally.steps,
        "open_h_per_day": round(tally.open_h / max(1, tally.days), 2),
        "openings": tally.openings,
        "violations": tally.violations,
        "lowest_charge_pct_at_work": round(tally.lowest_charge_pct, 2),
        "hottest_computer_at_work_C": round(tally.hottest_open_C, 2),
        "steps_closed_by": dict(sorted(tally.closed_by.items(), key=lambda each: -each[1])),
    }
