"""The gate's machine: a verdict and a time become the next state. Pure.

                       all well                dwell over
          ┌─────────┐ ─────────► ┌─────────┐ ─────────────► ┌────────┐
     ┌──► │ CLOSED  │            │ WARMING │                │  OPEN  │
     │    └─────────┘ ◄───────── └─────────┘ ◄───────────── └────────┘
     │         ▲       anything   ▲   the lease lapsed: the     │
     │         │                  │   bridge was stopped        │ any reason, at once
     │         │ not well         │ all well                    ▼
     │         └──────────────────┴────────────────────── ┌──────────┐
     │ fault_hold_s                     after drain_s     │ DRAINING │
    ┌─────────┐                                           └──────────┘
    │ FAULTED │ ◄── a fault of the bridge, or time ran backwards, from every state
    └─────────┘

OPEN is reached from WARMING alone, after a dwell in which the machine was stepped without a gap: time in which nobody
looked (a stopped bridge, a suspended machine) is no evidence. Nothing delays a way out of OPEN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from firmware_bridge.policy import Verdict
from firmware_bridge.policy_settings import Timing
from kernels.gate.word import State


@dataclass(frozen=True, slots=True)
class Gate:
    """The machine's state. `since_ns` is when `state` began (in WARMING: the dwell), `stepped_ns` the last step,
    `lease_until_ns` what was last promised, `was_stopped` that the dwell began anew because nobody looked."""

    state: State
    since_ns: int
    stepped_ns: int
    lease_until_ns: int = 0
    was_stopped: bool = False


def start(now_ns: int) -> Gate:
    """Returns the machine as it begins."""
    return Gate(State.CLOSED, now_ns, now_ns)


def step(gate: Gate, verdict: Verdict, timing: Timing, now_ns: int, *, is_faulted: bool = False) -> Gate:
    """Returns the machine after `verdict` at `now_ns`; `is_faulted`: the bridge itself cannot be relied on."""
    if is_faulted or now_ns < gate.stepped_ns:
        return Gate(State.FAULTED, now_ns, now_ns)
    lease_ns = int(timing.lease_ms * 1e6)
    has_gap = now_ns - gate.stepped_ns > lease_ns
    lease_until_ns = verdict.confirmed_ns + lease_ns
    is_well = verdict.is_clear and lease_until_ns > now_ns
    gate = replace(gate, stepped_ns=now_ns, lease_until_ns=lease_until_ns if is_well else 0)
    return _NEXT[gate.state](gate, timing, now_ns, is_well, has_gap)


def stopped(gate: Gate, now_ns: int) -> Gate:
    """Returns the machine after the gate word's writer found its own lease lapsed: the dwell begins anew."""
    return Gate(State.WARMING, now_ns, now_ns, was_stopped=True)


def opens_ns(gate: Gate, timing: Timing) -> int | None:
    """Returns when the gate opens if all stays well, None where that is not known."""
    dwell_ns = int(timing.dwell_s * 1e9)
    if gate.state is State.WARMING:
        return gate.since_ns + dwell_ns
    if gate.state is State.DRAINING:
        return gate.since_ns + int(timing.drain_s * 1e9) + dwell_ns
    return None


def _closed(gate: Gate, timing: Timing, now_ns: int, is_well: bool, has_gap: bool) -> Gate:
    return _to(State.WARMING, gate, now_ns) if is_well else gate


def _warming(gate: Gate, timing: Timing, now_ns: int, is_well: bool, has_gap: bool) -> Gate:
    if not is_well:
        return _to(State.CLOSED, gate, now_ns)
    if has_gap:
        return replace(gate, since_ns=now_ns, was_stopped=True)
    if now_ns - gate.since_ns >= int(timing.dwell_s * 1e9):
        return _to(State.OPEN, gate, now_ns)
    return gate


def _open(gate: Gate, timing: Timing, now_ns: int, is_well: bool, has_gap: bool) -> Gate:
    if not is_well:
        return _to(State.DRAINING, gate, now_ns)
    if has_gap:  # longer than a lease: every reader has seen it lapse
        return stopped(gate, now_ns)
    return gate


def _draining(gate: Gate, timing: Timing, now_ns: int, is_well: bool, has_gap: bool) -> Gate:
    if now_ns - gate.since_ns < int(timing.drain_s * 1e9):
        return gate
    return _to(State.WARMING if is_well else State.CLOSED, gate, now_ns)


def _faulted(gate: Gate, timing: Timing, now_ns: int, is_well: bool, has_gap: bool) -> Gate:
    return gate if now_ns - gate.since_ns < int(timing.fault_hold_s * 1e9) else _to(State.CLOSED, gate, now_ns)


def _to(state: State, gate: Gate, now_ns: int) -> Gate:
    return Gate(state, now_ns, now_ns, gate.lease_until_ns)


_NEXT = {
    State.CLOSED: _closed,
    State.WARMING: _warming,
    State.OPEN: _open,
    State.DRAINING: _draining,
    State.FAULTED: _faulted,
}
