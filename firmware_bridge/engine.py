"""The bridge without its shell: readings in, decisions out, no file and no clock.

    Reading ► Fusion ► sleep ► derive, energy ► policy.evaluate ► machine.step ► governor ► Decision

The bridge, the replay of a trace and the proofs all run this one engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import energy, governor, machine, parkings, policy, signals, sleep
from firmware_bridge.derived import Derived, derive
from firmware_bridge.energy import Account
from firmware_bridge.forecast import Forecast, forecast
from firmware_bridge.fusion import Fact, Facts, Fusion
from firmware_bridge.governor import Governor
from firmware_bridge.machine import Gate
from firmware_bridge.parkings import Parkings
from firmware_bridge.policy import Because, Memory, Verdict
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Quality, Reading, Value
from firmware_bridge.sleep import Sleep
from kernels.gate.word import State


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be published: `reasons` is empty if and only if `state` is OPEN."""

    state: State
    reasons: tuple[Because, ...]
    lease_until_ns: int
    duty_permille: int
    max_threads: int
    power_budget_mW: int
    time_ns: int

    @property
    def reason_names(self) -> tuple[str, ...]:
        """The reasons as the gate word names them, each once."""
        return tuple(dict.fromkeys(because.reason for because in self.reasons))


class Engine:
    """Holds what must be remembered between evaluations. Times are CLOCK_BOOTTIME ns and never fall."""

    def __init__(
        self,
        settings: Policy,
        now_ns: int,
        *,
        cpu_count: int = 1,
        account: Account | None = None,
        before: Parkings = parkings.NONE,
    ) -> None:
        self.settings = settings
        self._fusion = Fusion()
        self._rules = policy.rules_of(settings)
        self._memory = Memory()
        self._derived = Derived()
        self.account = account or Account()
        self.parkings = before
        self._sleep = Sleep()
        self._governor = Governor()
        self._verdict: Verdict | None = None
        self._judged: object = None  # what the verdict stands on
        self._cpu_count = cpu_count
        self.gate: Gate = machine.start(now_ns)
        self.facts: dict[str, Fact] = {}

    def accept(self, source: str, reading: Reading, now_ns: int) -> bool:
        """Takes a reading; returns whether it says something new, so that it should be evaluated at once."""
        return self._fusion.accept(source, reading, now_ns)

    def forget(self, source: str) -> None:
        """Drops the readings of a source that ended or broke."""
        self._fusion.forget(source)

    def evaluate(self, now_ns: int, *, fault: str = "") -> Decision:
        """Decides at `now_ns`. `fault` says why the bridge itself cannot be relied on (empty: it can)."""
        verdict = self._judge(now_ns)
        before = self.gate
        self.gate = machine.step(before, verdict, self.settings.timing, now_ns, is_faulted=bool(fault))
        if self.gate.state is State.FAULTED and not fault and before.state is not State.FAULTED:
            fault = f"the bridge's clock went back by {before.stepped_ns - now_ns} ns"
        return self._decide(verdict.reasons, fault, now_ns)

    def _judge(self, now_ns: int) -> Verdict:
        """Evaluates the policy, unless no value and no quality has changed since: then only the lease's base is new."""
        known = self._fusion.facts(now_ns)
        self._sleep, stand_ins = sleep.after(self._sleep, known, self.settings.sleep, now_ns)
        if stand_ins:
            known = {**known, **stand_ins}
        derived, self._derived = derive(known, self.settings, self._derived)
        is_working = self.gate.state is State.OPEN
        elapsed_s = (now_ns - self.gate.stepped_ns) / 1e9
        self.account = energy.after(self.account, known, elapsed_s, is_working, self.settings.energy)
        derived |= energy.facts_of(self.account, self.settings.energy, now_ns)
        self.parkings = parkings.after(self.parkings, known)
        self._govern(known)
        key = (
            self._fusion.generation,
            frozenset(stand_ins),
            tuple((fact.value, fact.quality) for fact in derived.values()),
        )
        self.facts = {**known, **derived}
        if self._verdict is None or key != self._judged:
            self._verdict = policy.evaluate(self.facts, self._rules, self.settings, self._memory, now_ns)
            self._memory, self._judged = self._verdict.memory, key
            return self._verdict
        return Verdict(self._verdict.reasons, policy.confirmed_ns(known), self._memory)

    def forecast(self) -> Forecast:
        """Returns how long a job may be that starts now; it means something only while the gate is open."""
        return forecast(self.facts, self.account, self._governor, self.settings, self.parkings)

    def _govern(self, known: Facts) -> None:
        fact = known.get(signals.COMPUTE_TEMPERATURE)
        is_known = fact is not None and fact.quality is Quality.GOOD and isinstance(fact.value, int | float)
        temperature_C = float(fact.value) if fact is not None and is_known else None  # type: ignore[arg-type]
        time_ns = fact.time_ns if fact is not None else 0
        self._governor = governor.after(self._governor, temperature_C, time_ns, self.settings.heat)

    def was_stopped(self, now_ns: int) -> Decision:
        """Decides anew after the gate word's writer found that its own lease had lapsed."""
        self.gate = machine.stopped(self.gate, now_ns)
        return self._decide((), "", now_ns)

    def _decide(self, blocking: tuple[Because, ...], fault: str, now_ns: int) -> Decision:
        gate, limits = self.gate, self.settings.limits
        granted = governor.grant(self._governor, self.settings.heat, limits)
        reasons = () if gate.state is State.OPEN else (*self._own_reasons(fault, now_ns, not blocking), *blocking)
        return Decision(
            state=gate.state,
            reasons=reasons,
            lease_until_ns=gate.lease_until_ns,
            duty_permille=granted.duty_permille,
            max_threads=limits.max_threads or self._cpu_count,
            power_budget_mW=granted.power_budget_mW,
            time_ns=now_ns,
        )

    def _own_reasons(self, fault: str, now_ns: int, is_clear: bool) -> list[Because]:
        """The machine's own reasons: what the policy does not know of."""
        gate, timing = self.gate, self.settings.timing
        if gate.state is State.FAULTED:
            return [_own("fault", fault or "a fault of the bridge a short time ago", None, timing.fault_hold_s, gate)]
        found: list[Because] = []
        if gate.was_stopped:
            found.append(_own("bridge_was_stopped", "the bridge or the machine stood still", None, None, gate))
        if is_clear:
            opens_ns = machine.opens_ns(gate, timing)
            left_s = None if opens_ns is None else round(max(0, opens_ns - now_ns) / 1e9, 2)
            found.append(_own("dwell", "all is well, and must stay so", left_s, timing.dwell_s, gate))
        return found


def _own(reason: str, says: str, value: Value, limit: float | None, gate: Gate) -> Because:
    unit = "s" if limit is not None else ""
    return Because(reason, "", says, value, unit, limit, None, gate.since_ns)
