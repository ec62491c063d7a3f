"""`idlehands eval`: how well and how fast an agent works, on live pages and on real applications."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from runtime.cli.options import json_option, print_json, print_table

BUNDLES = Path(__file__).parents[2] / "models" / "bundles"


@click.group(name="eval")
def evaluate() -> None:
    """Measure an agent through the whole product: car, daemon, worker, wire, connector, screen."""


@evaluate.command()
@click.option(
    "--split", default="train", show_default=True, type=click.Choice(["train", "unseen"]), help="Which pages."
)
@click.option("--tasks", default="", help="Pages by name instead, with commas between; any of the package.")
@click.option("--episodes", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Of each page.")
@click.option("--seeds", default="eval", show_default=True, help="Prefix of the seeds: PREFIX-0, PREFIX-1, …")
@click.option("--agent", default="text_reader", show_default=True, help="Which agent acts.")
@click.option("--model", default="", help="Its model bundle, by name; default: the agent's own.")
@click.option(
    "--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A bundle to install, too."
)
@click.option(
    "--ablation",
    default="none",
    show_default=True,
    type=click.Choice(["none", "paraphrased", "shuffled", "random", "no-memory"]),
    help="Takes a part away, on training pages only: other words, words in no order, chance as decider, no memory.",
)
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A report.json of another agent or an oracle, whose success stands in a column; more than one may be given.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 16), help="So many at once.")
@click.option("--out", default="out/eval", show_default=True, type=click.Path(path_type=Path), help="Report, logs.")
@json_option
def miniwob(split: str, tasks: str, out: Path, as_json: bool, **asked: Any) -> None:
    """Work MiniWoB++ pages in live Chromium from their pixels.

    Pages of the split `train` leave annotated pictures of failures and OUT/report.html. Pages that are not for training
    leave a row each and a line in models/screen_agent/unseen.jsonl; they are worked only with what is committed.
    """
    from runtime.evaluation.miniwob import task_lists

    lists = task_lists()
    names = tuple(name.strip() for name in tasks.split(",") if name.strip()) or tuple(lists[split])
    splits = {name: next((kind for kind in ("train", "unseen") if name in lists[kind]), "other") for name in names}
    wanted = PagesWanted(splits=splits, out=out.resolve(), **asked)
    if wanted.seeds.startswith("train-"):
        raise click.UsageError("seeds that begin with 'train-' are those of the demonstrations; take another prefix")
    if wanted.ablation != "none" and set(splits.values()) != {"train"}:
        raise click.UsageError("ablations are measured on training pages alone; leave the others out")
    report = _run(wanted)
    if as_json:
        print_json(report)
    else:
        print_report(report)


@dataclass(frozen=True, kw_only=True)
class PagesWanted:
    """What `eval miniwob` was asked for, by the names of its options; `splits` tells of each page where it belongs."""

    splits: dict[str, str]
    episodes: int
    seeds: str
    agent: str
    model: str
    bundle: Path | None
    ablation: str
    beside: tuple[Path, ...]
    workers: int
    out: Path


def _run(wanted: PagesWanted) -> dict[str, Any]:
    from runtime.agent.protocol import check_kind
    from runtime.demo.show import POLICY, TRACE
    from runtime.evaluation import ablation as ablations
    from runtime.evaluation import unseen
    from runtime.evaluation.miniwob import human_medians_s
    from runtime.evaluation.page_report import write_page
    from runtime.evaluation.player import Episode
    from runtime.evaluation.scores import set_beside, summary, wilson
    from runtime.evaluation.trial import EvaluationFailed, Trial, run_trial

    check_kind(wanted.agent)
    is_open = all(split == "train" for split in wanted.splits.values())
    if any(split == "unseen" for split in wanted.splits.values()):
        commit: str | None = unseen.committed(wanted.bundle)
    else:
        commit = unseen.head()
    bundle = wanted.bundle
    if wanted.ablation in ablations.OF_BUNDLE:
        whole = bundle or BUNDLES / f"{wanted.agent}.ihb"
        (wanted.out / "ablated").mkdir(parents=True, exist_ok=True)
        bundle = ablations.ablated(whole, wanted.ablation, wanted.out / "ablated" / whole.name)
    trial = Trial(
        tasks=tuple(wanted.splits),
        episodes=wanted.episodes,
        seeds=wanted.seeds,
        agent=wanted.agent,
        model=wanted.model,
        bundles=BUNDLES,
        bundle=bundle,
        source=parked_source(TRACE, wanted.out),
        policy=POLICY,
        folder=wanted.out,
        workers=wanted.workers,
        wants_pictures=is_open,
        wording=wanted.ablation if wanted.ablation in ablations.OF_WORDING else "plain",
    )

    def tell(task: str, of_task: list[Episode]) -> None:
        counted = [episode for episode in of_task if not episode.interrupted]
        won = sum(episode.success for episode in counted)
        low, high = wilson(won, len(counted))
        print(f"{task:28} {won:4} of {len(counted)}  ({low:.2f} … {high:.2f})", file=sys.stderr, flush=True)

    outcome = asyncio.run(run_trial(trial, tell))
    bundles = [bundle] if bundle is not None else sorted(BUNDLES.glob("*.ihb"))
    report: dict[str, Any] = {
        "agent": wanted.agent,
        "split": ", ".join(sorted(set(wanted.splits.values()))),
        "seeds": wanted.seeds,
        "ablation": wanted.ablation,
        "commit": commit,
        "broken": {task: str(error) for task, error in outcome.broken.items()},
        "bundles": {path.name: unseen.sha256_of(path) for path in bundles},
        **summary(wanted.splits, outcome.episodes, human_medians_s()),
        "seconds": round(outcome.seconds, 1),
    }
    set_beside(report, [_read_report(path) for path in wanted.beside])
    if not is_open:
        unseen.write_down(report)
    write_page(report, outcome.shots if is_open else (), wanted.out / "report.html")
    (wanted.out / "report.json").write_text(_as_json(report))
    if outcome.broken:
        raise EvaluationFailed("; ".join(map(str, outcome.broken.values())))
    return report


@evaluate.command()
@click.option("--jobs", default="", help="Jobs by name, with commas between; default: all.")
@click.option("--over", default="x11,rfb", show_default=True, help="How the desktop is reached.")
@click.option("--agent", default="text_reader", show_default=True, help="Which agent acts.")
@click.option("--model", default="", help="Its model bundle, by name; default: the agent's own.")
@click.option("--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A bundle to install.")
@click.option("--out", default="out/eval-desktop", show_default=True, type=click.Path(path_type=Path))
@json_option
def desktop(jobs: str, over: str, agent: str, model: str, bundle: Path | None, out: Path, as_json: bool) -> None:
    """Do jobs on real applications, each proved by its effect: a file, the clipboard, what a form sent.

    The applications are Debian's (galculator, mousepad, xterm, gnumeric, zenity, Tk, Qt, Chromium at 1080p).
    """
    from runtime.agent.protocol import check_kind
    from runtime.demo.show import POLICY, TRACE
    from runtime.evaluation import unseen
    from runtime.evaluation.desktop_jobs import JOBS
    from runtime.evaluation.desktop_trial import WAYS, DesktopTrial, run_desktop_trial
    from runtime.evaluation.page_report import write_page
    from runtime.evaluation.player import Episode
    from runtime.evaluation.scores import summary
    from runtime.evaluation.trial import chosen_bundles

    check_kind(agent)
    names = [name.strip() for name in jobs.split(",") if name.strip()] or [job.name for job in JOBS]
    ways = [way.strip() for way in over.split(",")]
    for given, known in ((names, [job.name for job in JOBS]), (ways, list(WAYS))):
        for name in given:
            if name not in known:
                raise click.UsageError(f"{name!r} is none of {', '.join(known)}")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    trial = DesktopTrial(
        jobs=tuple(job for job in JOBS if job.name in names),
        ways=tuple(ways),
        agent=agent,
        model=model,
        bundles=chosen_bundles(BUNDLES, bundle, out),
        source=parked_source(TRACE, out),
        policy=POLICY,
        folder=out,
    )

    def tell(name: str, episode: Episode, said: str) -> None:
        verdict = "done" if episode.success else "FAILED"
        print(f"{name:26} {verdict:7} {episode.elapsed_s:5.1f} s  {said}", file=sys.stderr, flush=True)

    outcome = asyncio.run(run_desktop_trial(trial, tell))
    report = {
        "agent": agent,
        "split": "real applications",
        "seeds": "",
        "commit": unseen.head(),
        **summary(dict.fromkeys(outcome.episodes, "desktop"), outcome.episodes, {}),
        "seconds": round(outcome.seconds, 1),
    }
    for row in report["tasks"]:
        row["said"] = outcome.said[row["name"]]
    write_page(report, outcome.shots, out / "report.html")
    (out / "report.json").write_text(_as_json(report))
    if as_json:
        print_json(report)
    else:
        print_report(report)


def parked_source(trace: Path, out: Path) -> str:
    """Returns a source in which a car drives for some seconds, parks, is plugged in, and stays."""
    from runtime.demo.drive import write_trace

    out.mkdir(parents=True, exist_ok=True)
    write_trace(trace, out / "drive.jsonl", 1)
    return f"trace:{out / 'drive.jsonl'}?cues={{run}}/cues&end=hold"


def _as_json(report: dict[str, Any]) -> str:
    import json

    return json.dumps(report, indent=2) + "\n"


def _read_report(path: Path) -> dict[str, Any]:
    """Returns an earlier report; click.UsageError where the file holds none."""
    import json

    try:
        report: dict[str, Any] = json.loads(path.read_text())
        _ = [(row["name"], row["success_rate"]) for row in report["tasks"]], report["agent"]
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} is no report of 'idlehands eval' or 'make oracles': {error!r}") from error
    return report


def print_report(report: dict[str, Any]) -> None:
    others = report.get("beside", [])
    columns = ("task", "won", "95 %", "raw 1", "raw>0", "cut", "p50 s", "x person", "by", *others)
    rows = [
        (
            row["name"],
            f"{row['successes']}/{row['episodes']}",
            f"{row['wilson_low']:.2f}…{row['wilson_high']:.2f}",
            row["raw_1"],
            row["raw_above_0"],
            row["interrupted"],
            "" if row["episode_s_p50"] is None else row["episode_s_p50"],
            "" if row["human_multiple"] is None else row["human_multiple"],
            row["human_source"].split()[0] if row["human_source"] else "",
            *("" if row["beside"].get(name) is None else f"{row['beside'][name]:.2f}" for name in others),
        )
        for row in report["tasks"]
    ]
    print_table(f"idlehands eval, agent {report['agent']}, split {report['split']}", columns, rows)
    rate, multiple = report["success_rate"], report["human_multiple"]
    print(f"success         {'none' if rate is None else f'{100 * rate:.1f} %'} of {report['episodes']} episodes")
    print(f"tasks           {report['tasks_at_90']} of {len(report['tasks'])} at 90 % or more")
    print(f"speed           {'no human time for these' if multiple is None else f'{multiple:.1f} times a person'}")
