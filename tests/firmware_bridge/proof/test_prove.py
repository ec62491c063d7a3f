"""The proof itself: it holds, and it would notice. A check that cannot fail proves nothing."""

from __future__ import annotations

import dataclasses
from types import ModuleType, SimpleNamespace

import pytest

from firmware_bridge import machine, policy
from firmware_bridge.errors import BridgeError
from firmware_bridge.policy import Rule, Verdict
from firmware_bridge.proof import battery, mutants, prove, solver
from firmware_bridge.signals import SIGNALS
from kernels.gate.word import REASONS, State


def broken(module: ModuleType, **changes: object) -> ModuleType:
    """Returns `module` with some of its names replaced."""
    return SimpleNamespace(**{**vars(module), **changes})  # type: ignore[return-value]


def test_the_battery_finds_nothing_and_is_not_empty() -> None:
    findings = battery.run(policy, machine, pairs=False)
    assert findings.violations == []
    assert findings.combinations > 3000


@pytest.mark.parametrize("lost", range(0, 29, 4))
def test_a_lost_row_is_found(lost: int) -> None:
    def fewer(settings: object) -> tuple[Rule, ...]:
        rows = policy.rules_of(settings)  # type: ignore[arg-type]
        return rows[:lost] + rows[lost + 1 :]

    assert battery.run(broken(policy, rules_of=fewer), machine, pairs=False).violations


def test_a_policy_that_trusts_what_is_stale_is_found() -> None:
    def trusting(facts, rules, settings, memory, now_ns) -> Verdict:
        verdict = policy.evaluate(facts, rules, settings, memory, now_ns)
        kept = tuple(each for each in verdict.reasons if each.reason != "signal_stale")
        return dataclasses.replace(verdict, reasons=kept)

    assert battery.run(broken(policy, evaluate=trusting), machine, pairs=False).violations


def test_a_machine_that_opens_early_or_closes_late_is_found() -> None:
    def early(gate, verdict, timing, now_ns, *, is_faulted=False):
        after = machine.step(gate, verdict, timing, now_ns, is_faulted=is_faulted)
        return dataclasses.replace(after, state=State.OPEN) if after.state is State.WARMING else after

    def late(gate, verdict, timing, now_ns, *, is_faulted=False):
        after = machine.step(gate, verdict, timing, now_ns, is_faulted=is_faulted)
        return gate if gate.state is State.OPEN and after.state is State.DRAINING else after

    for wrong in (early, late):
        assert battery.run(policy, broken(machine, step=wrong), pairs=False).violations


def test_the_oracle_covers_every_row_and_names_reasons_that_exist() -> None:
    from firmware_bridge.proof.oracle import NEEDS

    rows = {(rule.reason, rule.signal) for rule in policy.rules_of(battery.reference())}
    assert {(need.reason, need.signal) for need in NEEDS} == rows
    assert {need.reason for need in NEEDS} <= set(REASONS)
    assert {name for name, row in SIGNALS.items() if row.is_core} <= {need.signal for need in NEEDS}


def test_the_solver_proves_and_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("z3")
    found = solver.prove()
    assert [found[key] for key in ("never_open_when_forbidden", "reopens_only_inside", "opens_when_all_is_well")] == [
        True
    ] * 3
    assert found["product"] > 1e20
    rows = policy.rules_of(battery.reference())
    monkeypatch.setattr(solver, "rules_of", lambda settings: rows[1:])
    assert "counterexample" in str(solver.prove()["never_open_when_forbidden"])


def test_without_the_solver_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(solver, "import_module", absent)
    with pytest.raises(BridgeError, match="pip install z3-solver"):
        solver.prove()


def test_mutants_are_killed() -> None:
    """The first of each module; `idlehands gate prove` runs them all."""
    report = mutants.run(limit=12)
    assert report.total == 24
    assert report.survivors == []


def test_a_mutant_that_nobody_sees_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "_is_killed", lambda module, mutant: False)
    report = mutants.run(limit=2)
    assert len(report.survivors) + len(report.equivalent) == 4
    assert report.survivors[0].startswith("firmware_bridge.policy:")


def test_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "run", lambda *_, **__: battery.Findings(7, ["a violation"]))
    report = prove.prove(with_mutants=False, with_solver=False)
    assert not report["is_proven"]
    assert "7 combinations, 1 violations\n  a violation\nNOT PROVEN" in prove.text(report)
