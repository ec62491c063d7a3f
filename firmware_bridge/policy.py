"""The policy: facts, settings and a time become a verdict. Pure; what it must remember is handed in and out.

`rules_of` turns the settings into rows of data: for each reason, the signal, what is allowed, where it opens again. A
signal that a row stands on must be good: absent, stale, invalid and contradictory close the gate as a row does. Park
has two witnesses that share no sensor, gear and speed, whose rows no setting can take away; what else the car is fitted
with (park lock, its own sign of motion, charger) may only contradict them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from firmware_bridge import signals
from firmware_bridge.fusion import Fact, Facts, absent
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Quality, Value
from firmware_bridge.signals import SIGNALS

# Above this no wheel slip or sensor noise explains a speed while the transmission says Park.
CONTRADICTION_KMH = 5.0
# Less than this of an energy budget is nothing.
_SOME_WH = 0.001
_DOUBT = {
    Quality.ABSENT: "signal_absent",
    Quality.STALE: "signal_stale",
    Quality.INVALID: "signal_invalid",
    Quality.CONTRADICTORY: "signals_contradict",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: `reason` blocks unless `signal` is within `spans` (numbers) or among `allowed` (flags, texts).

    Once it blocks, it goes on until the number is within `reopen` (hysteresis: for openings only). `says` names the
    limit in words; `{limit}` is put in.
    """

    reason: str
    signal: str
    says: str
    allowed: frozenset[Value] = frozenset()
    spans: tuple[tuple[float, float], ...] = ()
    reopen: tuple[tuple[float, float], ...] = ()

    def is_met(self, value: Value, was_blocking: bool) -> bool:
        if self.allowed:
            return value in self.allowed
        number = _number(value)
        spans = self.reopen if was_blocking else self.spans
        return number is not None and any(low <= number <= high for low, high in spans)


@dataclass(frozen=True, slots=True)
class Because:
    """Why the gate is not open: `reason` is a row of the gate word's table. Unknown parts are None.

    `limit` is the bound that `value` broke, `opens_at` the one it must reach, `since_ns` when this began to block.
    """

    reason: str
    signal: str
    says: str
    value: Value
    unit: str
    limit: float | None = None
    opens_at: float | None = None
    since_ns: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.reason, self.signal


@dataclass(frozen=True, slots=True)
class Memory:
    """What the next evaluation must know of the last one: which reasons blocked, and since when."""

    since_ns: Mapping[tuple[str, str], int] = field(default_factory=dict)
    is_first: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the policy has nothing against opening. `confirmed_ns`: the oldest reading of gear and speed that this
    stands on (0 if one is not good), from which the lease runs."""

    reasons: tuple[Because, ...]
    confirmed_ns: int
    memory: Memory

    @property
    def is_clear(self) -> bool:
        return not self.reasons


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """Returns the rows that are in force: those of signals that the car has and the settings ask for."""
    rows = [*_car_rows(policy), *_energy_rows(policy), *_heat_rows(policy), *_owner_rows(policy)]
    return tuple(row for row in rows if row.signal not in policy.car.not_fitted)


def evaluate(facts: Facts, rules: tuple[Rule, ...], policy: Policy, memory: Memory, now_ns: int) -> Verdict:
    """Judges `facts` at `now_ns`. `rules` are `rules_of(policy)`, made once.

    The first evaluation of all counts every row as blocking before, so that a start has no smaller margins. Judging the
    same values again, with the memory of the first time, gives the same reasons: a caller may skip it.
    """
    found: list[Because] = []
    doubted: set[str] = set()
    for rule in rules:
        fact = facts.get(rule.signal) or absent(rule.signal)
        if fact.quality is not Quality.GOOD:
            if rule.signal not in doubted:
                doubted.add(rule.signal)
                found.append(_doubt(fact))
        elif not rule.is_met(fact.value, memory.is_first or (rule.reason, rule.signal) in memory.since_ns):
            found.append(_broken(rule, fact.value))
    found += _contradictions(facts)
    since = {because.key: memory.since_ns.get(because.key, now_ns) for because in found}
    dated = tuple(_dated(because, since[because.key]) for because in found)
    return Verdict(dated, confirmed_ns(facts), Memory(since, is_first=False))


def confirmed_ns(facts: Facts) -> int:
    """Returns the time of the oldest reading that the lease stands on: gear and speed; 0 if one is not good."""
    return min(facts[name].time_ns if _good(facts, name) is not None else 0 for name in signals.LEASE_KEEPERS)


def _car_rows(policy: Policy) -> list[Rule]:
    still = policy.car.standing_below_kmh
    yes, no = frozenset({True}), frozenset({False})
    rows = [
        Rule("not_parked", signals.GEAR, "Park (126)", allowed=frozenset({signals.GEAR_PARK})),
        Rule("not_parked", signals.PARK_LOCK, "engaged", allowed=yes),
        Rule(
            "moving", signals.SPEED, "a standstill, {limit} km/h", spans=((-still, still),), reopen=((-still, still),)
        ),
        Rule("moving", signals.IS_MOVING, "a standstill", allowed=no),
        Rule("ignition_on", signals.POWER_STATE, "OFF or LOCK", allowed=frozenset({"OFF", "LOCK"})),
        Rule("crash_detected", signals.CRASH, "no crash", allowed=no),
        Rule("ota_update", signals.OTA, "no update", allowed=no),
        Rule("low_power_mode", signals.LOW_POWER, "the low-power mode off", allowed=no),
        Rule("operator_pause", signals.PAUSE, "no pause", allowed=no),
    ]
    rows += [Rule("occupied", name, "empty", allowed=no) for name in (signals.DRIVER_SEAT, signals.PASSENGER_SEAT)]
    doors = (
        signals.DRIVER_DOOR,
        signals.PASSENGER_DOOR,
        signals.REAR_DRIVER_DOOR,
        signals.REAR_PASSENGER_DOOR,
    )
    return rows + [Rule("door_open", name, "shut", allowed=no) for name in doors]


def _energy_rows(policy: Policy) -> list[Rule]:
    charge, battery = policy.charge, policy.low_voltage
    rows = [
        _at_least(
            "charge_below_floor", signals.CHARGE, "the floor is {limit} %", charge.floor_pct, charge.hysteresis_pct
        ),
        _at_least(
            "charge_below_reserve",
            signals.CHARGE,
            "your reserve is {limit} %",
            charge.reserve_pct,
            charge.hysteresis_pct,
            highest=100.0,
        ),
        _at_least("low_12v", signals.VOLTAGE_12V, "the cut is {limit} V", battery.cut_V, battery.hysteresis_V),
        _at_least("low_12v", signals.FILTERED_12V, "the guard is {limit} V", battery.guard_V, battery.hysteresis_V),
    ]
    for name in (signals.DEBT_ENERGY_LEFT, signals.DAY_ENERGY_LEFT):
        words = "the budget is spent"
        rows.append(_at_least("energy_budget_spent", name, words, _SOME_WH, policy.energy.hysteresis_Wh))
    if charge.charging_only:
        rows.append(Rule("not_charging", signals.IS_CHARGING, "charging", allowed=frozenset({True})))
    return rows


def _heat_rows(policy: Policy) -> list[Rule]:
    heat, room = policy.heat, policy.heat.hysteresis_C
    limit = "the limit is {limit} °C"
    return [
        _at_most("battery_too_hot", signals.PACK_HOTTEST, limit, heat.battery_max_C, room),
        _at_least("battery_too_cold", signals.PACK_COLDEST, limit, heat.battery_min_C, room),
        _at_most("compute_too_hot", signals.COMPUTE_TEMPERATURE, limit, heat.compute_max_C, room),
        _at_most("cabin_too_hot", signals.CABIN_TEMPERATURE, limit, heat.cabin_max_C, room),
    ]


def _owner_rows(policy: Policy) -> list[Rule]:
    rows = [Rule("no_consent", signals.CONSENT, "your signed consent", allowed=frozenset({True}))]
    if not policy.owner.metered:
        rows.append(Rule("link_metered", signals.METERED, "a link that is not metered", allowed=frozenset({False})))
    if policy.owner.hours:
        spans = tuple((float(begin), math.nextafter(end, 0)) for begin, end in policy.owner.spans())
        words = "your hours are " + ", ".join(policy.owner.hours)
        rows.append(Rule("outside_hours", signals.MINUTE_OF_DAY, words, spans=spans, reopen=spans))
    return rows


def _at_least(reason: str, signal: str, says: str, limit: float, hysteresis: float, highest: float = math.inf) -> Rule:
    reopen = min(round(limit + hysteresis, 6), highest)  # a reserve of 99 % must be able to open at 100 %
    return Rule(reason, signal, says, spans=((limit, math.inf),), reopen=((reopen, math.inf),))


def _at_most(reason: str, signal: str, says: str, limit: float, hysteresis: float) -> Rule:
    reopen = round(limit - hysteresis, 6)
    return Rule(reason, signal, says, spans=((-math.inf, limit),), reopen=((-math.inf, reopen),))


def _good(facts: Facts, name: str) -> Value:
    fact = facts.get(name)
    return fact.value if fact is not None and fact.quality is Quality.GOOD else None


def _number(value: Value) -> float | None:
    return None if value is None or isinstance(value, bool | str) else float(value)


def _contradictions(facts: Facts) -> list[Because]:
    """Pairs of good facts that cannot both be true; they close also where each alone would not be asked for."""
    gear, lock, speed = (_good(facts, name) for name in (signals.GEAR, signals.PARK_LOCK, signals.SPEED))
    driven_kmh = _number(speed)
    fast = driven_kmh is not None and abs(driven_kmh) > CONTRADICTION_KMH
    pairs = (
        (gear == signals.GEAR_PARK and fast, signals.GEAR, "Park, yet the car is driving", gear),
        (lock is True and gear not in (None, signals.GEAR_PARK), signals.PARK_LOCK, "engaged, yet a gear is in", lock),
        (lock is False and gear == signals.GEAR_PARK, signals.PARK_LOCK, "not engaged, yet Park is selected", lock),
        (_good(facts, signals.IS_MOVING) is False and fast, signals.IS_MOVING, "still, yet the car is driving", False),
        (_good(facts, signals.IS_CHARGING) is True and fast, signals.IS_CHARGING, "charging, yet driving", True),
    )
    return [Because("signals_contradict", name, says, value, "") for is_so, name, says, value in pairs if is_so]


def _doubt(fact: Fact) -> Because:
    signal = SIGNALS[fact.name]
    says = {
        Quality.ABSENT: "no source delivers it",
        Quality.STALE: f"older than {signal.age_limit_s:g} s",
        Quality.INVALID: "not a value that it can have",
        Quality.CONTRADICTORY: "two sources differ",
    }[fact.quality]
    return Because(_DOUBT[fact.quality], fact.name, says, fact.seen, signal.unit)


def _broken(rule: Rule, value: Value) -> Because:
    number = _number(value)
    limit = opens_at = None
    if number is not None and rule.spans:
        limit, opens_at = _nearest(rule.spans, number), _nearest(rule.reopen, number)
    says = rule.says if limit is None else rule.says.replace("{limit}", f"{limit:g}")
    return Because(rule.reason, rule.signal, says, value, SIGNALS[rule.signal].unit, limit, opens_at)


def _nearest(spans: tuple[tuple[float, float], ...], value: float) -> float:
    """Returns the end of a span that is nearest to `value`."""
    return min((end for span in spans for end in span if math.isfinite(end)), key=lambda end: abs(end - value))


def _dated(because: Because, since_ns: int) -> Because:
    return Because(
        because.reason,
        because.signal,
        because.says,
        because.value,
        because.unit,
        because.limit,
        because.opens_at,
        since_ns,
    )
