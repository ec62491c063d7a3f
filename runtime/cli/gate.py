"""`idlehands gate`: replay a recording through the gate, prove the policy, live through generated days."""

from __future__ import annotations

import sys

import click

from firmware_bridge import replay as replaying
from firmware_bridge.policy_settings import Policy
from firmware_bridge.settings import load
from runtime.cli.options import json_option, print_json, print_table


@click.group()
def gate() -> None:
    """The gate's own evidence: what it would have done, and that it never opens when it may not."""


@gate.command()
@click.argument("recording", type=click.Path())
@click.option("--policy", "policy_path", metavar="FILE", help="A policy (TOML). Default: every row's default.")
@click.option("--car", metavar="NAME", help="The map of a CAN log (.log, .blf, .asc); other recordings are traces.")
@json_option
def replay(recording: str, policy_path: str | None, car: str | None, as_json: bool) -> None:
    """Run RECORDING through the gate as fast as it goes; exit code 1 if it was ever open when it may not be."""
    policy = load(policy_path, Policy) if policy_path else Policy()
    report = replaying.replay(recording, policy, car=car)
    if as_json:
        print_json(report)
    else:
        told = f"{report['readings']} readings, {report['openings']} openings"
        print(f"{report['duration_s']:.1f} s of {report['file']}: {told}")
        for change in report["transitions"]:
            print(f"{change['t_s']:10.3f} s  {change['state']:<9} {'; '.join(change['reasons'][:2])}")
        for violation in report["violations"]:
            print(f"violation: {violation}")
    sys.exit(1 if report["violations"] else 0)


@gate.command()
@click.option("--no-mutants", is_flag=True, help="Leave out the mutation testing of policy and machine.")
@click.option("--no-solver", is_flag=True, help="Leave out the solver (z3).")
@json_option
def prove(no_mutants: bool, no_solver: bool, as_json: bool) -> None:
    """Check every combination against an oracle that is not the policy; exit code 1 if anything is not proven."""
    from firmware_bridge.proof import prove as proving

    report = proving.prove(with_mutants=not no_mutants, with_solver=not no_solver)
    if as_json:
        print_json(report)
    else:
        print(proving.text(report))
    sys.exit(0 if report["is_proven"] else 1)


@gate.command()
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 100_000), help="How many.")
@click.option("--seed", default=1, show_default=True)
def days(days: int, seed: int) -> None:
    """Live through generated days: drives, charges, heat, broken sensors; exit code 1 if a floor was crossed."""
    from firmware_bridge.proof import days as living

    report = living.run(days, seed)
    print_json(report)
    sys.exit(1 if report["violations"] else 0)


@gate.command()
@click.option("--hours", default=2.0, show_default=True, type=click.FloatRange(0.1, 24), help="How long each run is.")
@json_option
def governor(hours: float, as_json: bool) -> None:
    """Judge the governor on a thermal model: its work against on/off control's at the same peak temperature."""
    from firmware_bridge.thermal_model import compare

    rows = compare(hours)
    if as_json:
        print_json({"hours": hours, "rows": rows})
        return
    columns = ("board", "ambient_C", "on_off_work_s", "gain_duty", "gain_power")
    print_table("work against on/off control", columns, [[row[column] for column in columns] for row in rows])
