"""Every combination that can be enumerated, against the oracle: one signal, every pair, every state of the machine.

The modules under proof are handed in, so that mutants of them run through the same checks.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from firmware_bridge.fusion import Fact, Fusion
from firmware_bridge.policy_settings import Policy, Timing
from firmware_bridge.proof import oracle
from firmware_bridge.proof.oracle import DOUBTS, NEEDS, Need
from firmware_bridge.readings import Quality, Reading
from firmware_bridge.settings import parse
from firmware_bridge.signals import SIGNALS
from kernels.gate.word import State

NOW_NS = 1_000_000_000_000
_MS = 1_000_000


class EnoughError(Exception):
    """Enough violations were found; more would say nothing new."""


@dataclass(slots=True)
class Findings:
    """`combinations` checked; `violations` says the first `most` in words, then EnoughError ends the checks."""

    combinations: int = 0
    violations: list[str] = field(default_factory=list)
    most: int = 20

    def check(self, is_right: bool, what: str) -> None:
        self.combinations += 1
        if not is_right:
            self.violations.append(what)
            if len(self.violations) >= self.most:
                raise EnoughError


def reference() -> Policy:
    """Returns the policy that the oracle is written for."""
    return parse(oracle.REFERENCE_TOML, Policy, where="the oracle's reference policy")


def run(policy: ModuleType, machine: ModuleType, *, pairs: bool, most: int = 20) -> Findings:
    """Runs all checks on the two modules; `pairs` False leaves out the pairs of signals (for mutants)."""
    findings = Findings(most=most)
    with contextlib.suppress(EnoughError):
        _run(policy, machine, findings, pairs)
    return findings


def _run(policy: ModuleType, machine: ModuleType, findings: Findings, pairs: bool) -> None:
    settings = reference()
    rules = policy.rules_of(settings)
    for known in itertools.chain(_singles(), _pairs(_WITNESSES)):
        _check_policy(policy, settings, rules, known, findings)
    _check_memory(policy, settings, rules, findings)
    _check_not_fitted(policy, findings)
    _check_machine(machine, policy, findings)
    if pairs:
        _check_ages(findings)
        for known in _pairs():
            _check_policy(policy, settings, rules, known, findings)


def _options(need: Need) -> list[tuple[str, Any]]:
    return [("good", value) for value in oracle.values_of(need)] + [(doubt, None) for doubt in DOUBTS]


def options_by_signal() -> dict[str, list[tuple[str, Any]]]:
    """Returns what is tried of each signal: (quality, value), the oracle's values and every doubt."""
    options: dict[str, list[tuple[str, Any]]] = {}
    for need in NEEDS:
        known = options.setdefault(need.signal, [])
        known += [each for each in _options(need) if each not in known]
    return options


_WITNESSES = (oracle.GEAR, oracle.LOCK, oracle.SPEED, oracle.IS_MOVING, oracle.IS_CHARGING)
_CALM: dict[str, tuple[str, Any]] = {need.signal: ("good", need.calm) for need in NEEDS}


def _singles() -> Iterator[dict[str, tuple[str, Any]]]:
    for signal, options in options_by_signal().items():
        for option in options:
            yield {**_CALM, signal: option}


def _pairs(names: tuple[str, ...] = ()) -> Iterator[dict[str, tuple[str, Any]]]:
    """Every pair of signals, or of those in `names`, with every option of each."""
    options = {name: each for name, each in options_by_signal().items() if not names or name in names}
    for (first, some), (second, others) in itertools.combinations(options.items(), 2):
        for one, other in itertools.product(some, others):
            yield {**_CALM, first: one, second: other}


def _facts(known: dict[str, tuple[str, Any]], at_ns: int = NOW_NS) -> dict[str, Fact]:
    return {
        name: Fact(name, value if quality == "good" else None, Quality(quality), at_ns, value)
        for name, (quality, value) in known.items()
    }


def _check_policy(
    policy: ModuleType, settings: Policy, rules: Any, known: dict[str, tuple[str, Any]], findings: Findings
) -> None:
    facts = _facts(known)
    all_broken = policy.Memory({(need.reason, need.signal): 7 for need in NEEDS}, is_first=False)
    for memory, was_broken in ((policy.Memory(is_first=False), False), (all_broken, True), (policy.Memory(), True)):
        verdict = policy.evaluate(facts, rules, settings, memory, NOW_NS)
        told = {(each.reason, each.signal) for each in verdict.reasons}
        wanted = oracle.expected(known, was_broken)
        findings.combinations += 1
        if told != wanted or verdict.is_clear != (not wanted):
            differs = {name: each for name, each in known.items() if each != _CALM[name]}
            findings.check(False, f"{differs}, broken before: {was_broken}: {sorted(told)}, oracle: {sorted(wanted)}")
        for each in verdict.reasons:
            since_ns = memory.since_ns.get((each.reason, each.signal), NOW_NS)
            if each.since_ns != since_ns or each.key != (each.reason, each.signal):
                findings.check(False, f"{each.key}: since {each.since_ns}")
            if each.value != known[each.signal][1]:
                findings.check(False, f"{each.key}: tells the value {each.value}")


def _check_memory(policy: ModuleType, settings: Policy, rules: Any, findings: Findings) -> None:
    """What is remembered, where the lease begins, and what a reason tells of its limits."""
    calm = _facts(_CALM)
    for need in NEEDS:
        for value in oracle.values_of(need):
            known = {**_CALM, need.signal: ("good", value)}
            first = policy.evaluate(_facts(known), rules, settings, policy.Memory(is_first=False), NOW_NS)
            again = policy.evaluate(_facts(known), rules, settings, first.memory, NOW_NS + 5)
            same = [(each.key, each.since_ns) for each in first.reasons] == [
                (each.key, each.since_ns) for each in again.reasons
            ]
            findings.check(same, f"{need.signal} = {value}: judged again, the reasons differ")
            findings.check(not first.memory.is_first, "after an evaluation the memory still says that it is the first")
            for each in first.reasons:
                if each.reason == need.reason and need.within and isinstance(value, float):
                    bounds = [bound for span in need.within for bound in span]
                    opens = [bound for span in need.again for bound in span]
                    is_told = any(abs(each.limit - bound) < 1e-3 for bound in bounds)
                    is_told = is_told and any(abs(each.opens_at - bound) < 1e-3 for bound in opens)
                    near = min(abs(bound - value) for bound in bounds)
                    findings.check(
                        is_told and abs(abs(each.limit - value) - near) < 1e-3 and each.value == value,
                        f"{need.signal} = {value}: limit {each.limit}, opens at {each.opens_at}",
                    )
    for name in (oracle.GEAR, oracle.SPEED):
        for quality in ("good", *DOUBTS):
            facts = {**calm, name: Fact(name, calm[name].value, Quality(quality), NOW_NS - 90)}
            confirmed = policy.evaluate(facts, rules, settings, policy.Memory(is_first=False), NOW_NS).confirmed_ns
            findings.check(
                confirmed == (NOW_NS - 90 if quality == "good" else 0), f"{name} {quality}: confirmed at {confirmed}"
            )
    for need in NEEDS:
        facts = {name: fact for name, fact in calm.items() if name != need.signal}
        verdict = policy.evaluate(facts, rules, settings, policy.Memory(is_first=False), NOW_NS)
        findings.check(not verdict.is_clear, f"without any word of {need.signal} the policy is clear")


def _check_not_fitted(policy: ModuleType, findings: Findings) -> None:
    """The optional rows go, and come, with their settings; and a limit at the end of its range can be reached."""
    plain = parse("", Policy)
    names = {rule.signal for rule in policy.rules_of(plain)}
    optional = {"Vehicle.Powertrain.TractionBattery.Charging.IsCharging", "Vehicle.IdleHands.Clock.MinuteOfDay"}
    findings.check(not names & optional, "the default policy asks for charging or for the time of day")
    metered = parse("[owner]\nmetered = true", Policy)
    without = {rule.signal for rule in policy.rules_of(metered)}
    findings.check(names - without == {"Vehicle.IdleHands.Link.IsMetered"}, "owner.metered takes away another row")
    lock = parse('[car]\nnot_fitted = ["Vehicle.Powertrain.Transmission.IsParkLockEngaged"]', Policy)
    without = {rule.signal for rule in policy.rules_of(lock)}
    findings.check(names - without == {oracle.LOCK}, "car.not_fitted takes away another row")
    full = parse("[charge]\nreserve_pct = 99", Policy)
    row = next(rule for rule in policy.rules_of(full) if rule.reason == "charge_below_reserve")
    findings.check(row.is_met(100.0, True), "a reserve of 99 % can never be reached again")
    findings.check(not row.is_met(99.9, True), "a reserve of 99 % opens below 100 %")


def _check_ages(findings: Findings) -> None:
    """No reading counts beyond the oracle's age; every signal's table row agrees with it."""
    for need in NEEDS:
        signal = SIGNALS[need.signal]
        findings.check(signal.age_limit_s * 1000 == need.age_ms, f"{need.signal}: age limit {signal.age_limit_s} s")
        if signal.is_derived:
            continue
        fusion = Fusion()
        value = need.calm
        fusion.accept("a", Reading(need.signal, value, signal.unit, NOW_NS), NOW_NS)
        for after_ns, quality in ((need.age_ms * _MS, Quality.GOOD), (need.age_ms * _MS + 1, Quality.STALE)):
            fact = fusion.facts(NOW_NS + after_ns)[need.signal]
            findings.check(fact.quality is quality, f"{need.signal} after {after_ns} ns is {fact.quality.value}")
        fusion.forget("a")
        findings.check(fusion.facts(NOW_NS)[need.signal].quality is Quality.ABSENT, f"{need.signal} is not forgotten")


def _check_machine(machine: ModuleType, policy: ModuleType, findings: Findings) -> None:
    """The machine at every edge: state × well, bad, lease gone, gap, fault, time back, a moment before and after."""
    timing = reference().timing
    bad = (policy.Because("moving", oracle.SPEED, "", 9.0, "km/h", None, None, 0),)
    holds = {State.DRAINING: oracle.DRAIN_NS, State.WARMING: oracle.DWELL_NS, State.FAULTED: oracle.FAULT_HOLD_NS}
    for state in State:
        edge = holds.get(state, 5_000_000_000)
        for held_ns, gap_ns, age_ns, is_bad, is_faulted in itertools.product(
            (0, 1, edge - 1, edge, edge + 1, 2 * edge),
            (-1, 0, 1, oracle.LEASE_NS, oracle.LEASE_NS + 1, 10 * oracle.LEASE_NS),
            (0, oracle.LEASE_NS - 1, oracle.LEASE_NS, 10**12),
            (False, True),
            (False, True),
        ):
            gate = machine.Gate(state, NOW_NS - held_ns, NOW_NS - gap_ns)
            confirmed_ns = 0 if age_ns == 10**12 else NOW_NS - age_ns
            verdict = policy.Verdict(bad if is_bad else (), confirmed_ns, policy.Memory(is_first=False))
            after = machine.step(gate, verdict, timing, NOW_NS, is_faulted=is_faulted)
            is_well = not is_bad and age_ns < oracle.LEASE_NS
            wanted = _next_state(state, held_ns, gap_ns, is_well, is_faulted)
            has_moved = after.state is not state
            restarted = state in (State.WARMING, State.OPEN) and gap_ns > oracle.LEASE_NS and is_well and not is_faulted
            faulted = wanted is State.FAULTED and (is_faulted or gap_ns < 0)
            since_ns = NOW_NS if has_moved or restarted or faulted else gate.since_ns
            lease_ns = confirmed_ns + oracle.LEASE_NS if wanted is State.OPEN else after.lease_until_ns
            findings.check(
                after.state is wanted
                and after.since_ns == since_ns
                and after.stepped_ns == NOW_NS
                and after.lease_until_ns == lease_ns
                and (is_well or not after.lease_until_ns)
                and after.was_stopped == (restarted and wanted is State.WARMING),
                f"{state.name} held {held_ns}, gap {gap_ns}, age {age_ns}, bad {is_bad}, fault {is_faulted}: {after}",
            )
    _check_times_told(machine, policy, timing, findings)


def _next_state(state: State, held_ns: int, gap_ns: int, is_well: bool, is_faulted: bool) -> State:
    """The requirements, as a table from above: what comes first wins."""
    is_over = held_ns >= {State.DRAINING: oracle.DRAIN_NS, State.FAULTED: oracle.FAULT_HOLD_NS}.get(state, 0)
    table = (
        (is_faulted or gap_ns < 0, State.FAULTED),
        (state is State.FAULTED, State.CLOSED if is_over else State.FAULTED),
        (state is State.DRAINING and not is_over, State.DRAINING),
        (state is State.OPEN and not is_well, State.DRAINING),
        (not is_well, State.CLOSED),
        (state is State.OPEN and gap_ns > oracle.LEASE_NS, State.WARMING),
        (state is State.OPEN, State.OPEN),
        (state is State.WARMING and gap_ns <= oracle.LEASE_NS and held_ns >= oracle.DWELL_NS, State.OPEN),
    )
    return next((then for condition, then in table if condition), State.WARMING)


def _check_times_told(machine: ModuleType, policy: ModuleType, timing: Timing, findings: Findings) -> None:
    begun = machine.start(NOW_NS)
    findings.check(
        begun.state is State.CLOSED and begun.since_ns == begun.stepped_ns == NOW_NS, f"it starts as {begun}"
    )
    findings.check(not begun.was_stopped and begun.lease_until_ns == 0, f"it starts as {begun}")
    warm = machine.step(begun, policy.Verdict((), NOW_NS, policy.Memory(is_first=False)), timing, NOW_NS)
    findings.check(warm.state is State.WARMING, f"without a word of a fault it is {warm.state.name}")
    halted = machine.stopped(machine.Gate(State.OPEN, 1, 2, 3), NOW_NS)
    findings.check(
        halted == machine.Gate(State.WARMING, NOW_NS, NOW_NS, 0, True), f"after its own lease lapsed it is {halted}"
    )
    told = {state: machine.opens_ns(machine.Gate(state, NOW_NS, NOW_NS), timing) for state in State}
    wanted = dict.fromkeys(State) | {
        State.WARMING: NOW_NS + oracle.DWELL_NS,
        State.DRAINING: NOW_NS + oracle.DRAIN_NS + oracle.DWELL_NS,
    }
    findings.check(told == wanted, f"it says that it opens at {told}")
