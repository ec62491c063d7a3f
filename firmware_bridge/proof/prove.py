"""`idlehands gate prove`: the battery, the solver and the mutants, as one report."""

from __future__ import annotations

import time
from typing import Any

from firmware_bridge import machine, policy
from firmware_bridge.proof import battery, mutants, solver


def prove(*, with_mutants: bool = True, with_solver: bool = True) -> dict[str, Any]:
    """Returns {"combinations", "violations", "solver", "mutants", "seconds", "is_proven"}; takes one to two minutes.

    `violations` says the first twenty in words; `is_proven` is True where there is none, no counterexample of the
    solver, and no mutant alive. Raises BridgeError where the solver is wanted and not installed.
    """
    begun_s = time.monotonic()
    findings = battery.run(policy, machine, pairs=True)
    report: dict[str, Any] = {"combinations": findings.combinations, "violations": findings.violations}
    is_proven = not findings.violations
    if with_solver:
        report["solver"] = solver.prove()
        is_proven = is_proven and all(
            report["solver"][key] is True
            for key in ("never_open_when_forbidden", "reopens_only_inside", "opens_when_all_is_well")
        )
    if with_mutants:
        found = mutants.run()
        report["mutants"] = {
            "total": found.total,
            "killed": found.killed,
            "equivalent": found.equivalent,
            "survivors": found.survivors,
        }
        is_proven = is_proven and not found.survivors
    return {**report, "seconds": round(time.monotonic() - begun_s, 1), "is_proven": is_proven}


def text(report: dict[str, Any]) -> str:
    """Returns the report as lines for a person."""
    lines = [f"{report['combinations']} combinations, {len(report['violations'])} violations"]
    lines += [f"  {each}" for each in report["violations"]]
    if "solver" in report:
        found = report["solver"]
        lines.append(f"solver: {found['variables']} variables, a product of {found['product']:.1e} combinations")
        lines += [f"  {key.replace('_', ' ')}: {'proven' if each is True else each}" for key, each in found.items()][2:]
    if "mutants" in report:
        found = report["mutants"]
        lines.append(f"mutants: {found['killed']} of {found['total']} killed, {len(found['equivalent'])} equivalent")
        lines += [f"  alive: {each}" for each in found["survivors"]]
    return "\n".join([*lines, "proven" if report["is_proven"] else "NOT PROVEN"])
