"""The bridge without its shell: readings in, decisions out, no file and no clock.

    Reading ► Fusion ► derive ► policy.evaluate ► machine.step ► Decision

The bridge, the replay of a trace and the proofs all run this one engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import machine, policy
from firmware_bridge.derived import Derived, derive
from firmware_bridge.fusion import Fact, Fusion
from firmware_bridge.machine import Gate
from firmware_bridge.policy import Because, Memory
from firmware_bridge.policy_settings import Policy
from firmware_bridge.readings import Reading, Value
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

    def __init__(self, settings: Policy, now_ns: int, *, cpu_count: int = 1) -> None:
        self.settings = settings
        self._fusion = Fusion()
        self._rules = policy.rules_of(settings)
        self._memory = Memory()
        self._derived = Derived()
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
        facts = self._fusion.facts(now_ns)
        self._derived = derive(facts, self.settings, self._derived)
        self.facts = facts
        verdict = policy.evaluate(facts, self._rules, self.settings, self._memory, now_ns)
        self._memory = verdict.memory
        before = self.gate
        self.gate = machine.step(before, verdict, self.settings.timing, now_ns, is_faulted=bool(fault))
        if self.gate.state is State.FAULTED and not fault and before.state is not State.FAULTED:
            fault = f"the bridge's clock went back by {before.stepped_ns - now_ns} ns"
        return self._decide(verdict.reasons, fault, now_ns)

    def was_stopped(self, now_ns: int) -> Decision:
        """Decides anew after the gate word's writer found that its own lease had lapsed."""
        self.gate = machine.stopped(self.gate, now_ns)
        return self._decide((), "", now_ns)

    def _decide(self, blocking: tuple[Because, ...], fault: str, now_ns: int) -> Decision:
        gate, limits = self.gate, self.settings.limits
        reasons = () if gate.state is State.OPEN else (*self._own_reasons(fault, now_ns, not blocking), *blocking)
        return Decision(
            state=gate.state,
            reasons=reasons,
            lease_until_ns=gate.lease_until_ns,
            duty_permille=limits.duty_max_permille,
            max_threads=limits.max_threads or self._cpu_count,
            power_budget_mW=limits.power_budget_mW,
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


def _own(reason: str, says: str, value: Value, limit: Value, gate: Gate) -> Because:
    unit = "s" if limit is not None else ""
    return Because(reason, "", says, value, unit, limit, None, gate.since_ns)
