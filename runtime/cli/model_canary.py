"""`idlehands model canary`: start, status, promote, stop."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from runtime.cli.options import json_option, print_json, print_table
from runtime.store.canary import CANARY, STABLE, Limits, Trial, judge
from runtime.store.models import ModelStore
from runtime.store.trials import Trials


@click.group()
def canary() -> None:
    """Try a version on a share of the jobs; it is withdrawn by itself when it is worse.

    \b
    idlehands model install nav-1.3.ihb --no-activate
    idlehands model canary start nav 1.3 --share 10         a tenth of the jobs
    idlehands model canary status                           what can be said by now
    idlehands model canary promote nav                      it becomes the active version
    """


@canary.command()
@click.argument("name")
@click.argument("version")
@click.option("--share", default=10.0, show_default=True, type=click.FloatRange(0.1, 99.9), help="Percent of the jobs.")
@click.option("--success-drop", default=0.02, show_default=True, type=click.FloatRange(0, 1), help="Of jobs done.")
@click.option("--seconds-ratio", default=1.10, show_default=True, type=click.FloatRange(1, 100), help="An action.")
@click.option("--joules-ratio", default=1.10, show_default=True, type=click.FloatRange(1, 100), help="An action.")
@json_option
@click.pass_obj
def start(
    root: Path,
    name: str,
    version: str,
    share: float,
    success_drop: float,
    seconds_ratio: float,
    joules_ratio: float,
    as_json: bool,
) -> None:
    """Give VERSION of model NAME a share of its jobs. What is worse than the options allow is withdrawn."""
    limits = Limits(success_drop, seconds_ratio, joules_ratio)
    trial = Trials(ModelStore(root)).start(name, version, round(share * 10), limits)
    if as_json:
        print_json(_tree(trial))
    else:
        print(f"{name}@{trial.canary} works {trial.share_permille / 10:g} % of the jobs of {name}@{trial.stable}")


@canary.command()
@json_option
@click.pass_obj
def status(root: Path, as_json: bool) -> None:
    """Show every canary: jobs on each side, the three measures, and the verdict."""
    trials = Trials(ModelStore(root)).all()
    if as_json:
        print_json([_tree(trial) for trial in trials])
        return
    rows = []
    for trial in trials:
        verdict = judge(trial)
        counts = f"{trial.sides[STABLE].done.count} / {trial.sides[CANARY].done.count}"
        rows.append(
            (
                trial.name,
                trial.stable,
                trial.canary,
                f"{trial.share_permille / 10:g} %",
                counts,
                _state(trial, verdict.state),
            )
        )
        rows += [
            (
                "",
                "",
                "",
                "",
                measure.name,
                f"worse by {measure.low:+.3f} to {measure.high:+.3f}, limit {measure.limit:.3f}",
            )
            for measure in verdict.measures
        ]
    print_table("canaries", ("model", "stable", "canary", "share", "jobs", "state"), rows)


@canary.command()
@click.argument("name")
@click.pass_obj
def promote(root: Path, name: str) -> None:
    """Make the canary of model NAME the active version, and end its trial."""
    trial = Trials(ModelStore(root)).promote(name)
    print(f"active: {name}@{trial.canary}")


@canary.command()
@click.argument("name")
@click.pass_obj
def stop(root: Path, name: str) -> None:
    """End the trial of model NAME; all its jobs are the stable version's again."""
    trial = Trials(ModelStore(root)).end(name, "stopped")
    print(f"{name}@{trial.canary}: {trial.ended}")


def _state(trial: Trial, state: str) -> str:
    return trial.ended or f"{state}: {judge(trial).why}"


def _tree(trial: Trial) -> dict[str, object]:
    return {**msgspec.to_builtins(trial), "verdict": msgspec.to_builtins(judge(trial))}
