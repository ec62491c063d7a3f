"""`idlehands fleet submit|status|watch|cancel|top|variants`: jobs of a fleet from a terminal."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click
import msgspec

from runtime.cli.options import config_options, json_option, print_json, print_table, settings_of
from runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from runtime.fleet.client import Submitter, Told
    from runtime.jobs.life import Job

T = TypeVar("T")


class NoFleet(RuntimeFault):
    """No fleet's server is set."""

    next_step: ClassVar[str] = (
        "--set fleet.server=tls://host:4222 --set fleet.credentials=FOLDER/NAME, or in the settings"
    )


def with_fleet(config_path: str | None, settings: tuple[str, ...], ask: Callable[[Submitter], Awaitable[T]]) -> T:
    """Connects as the settings' [fleet] says, sends what the outbox still has, and asks."""
    config = settings_of(config_path, settings)
    if not config.fleet.server:
        raise NoFleet("fleet.server is not set")
    from runtime.fleet.client import Submitter
    from runtime.fleet.connection import FleetAddress

    folder = Path(config.fleet.credentials) if config.fleet.credentials else None
    address = FleetAddress(config.fleet.server, folder, config.fleet.car_name, config.fleet.ping_s)

    async def go() -> T:
        async with Submitter(address, config.daemon.state / "outbox") as fleet:
            if fleet.connection.is_up:
                await fleet.settle()
            return await ask(fleet)

    return asyncio.run(go())


@click.command()
@click.argument("job_file", type=click.Path())
@click.option("--watch", "is_watched", is_flag=True, help="Stream what happens; exit code 1 if one does not end done.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A field that goes before the file.")
@config_options
@json_option
def submit(
    job_file: str,
    is_watched: bool,
    fields: tuple[str, ...],
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Submit the jobs of JOB_FILE (docs/JOBS.md). While the fleet is away they wait in the outbox."""
    from runtime.cli.options import overrides_of
    from runtime.jobs.job_file import load_jobs

    specs = load_jobs(job_file, overrides_of(fields))

    async def send(fleet: Submitter) -> bool:
        sent = [await fleet.submit(spec) for spec in specs]
        if not is_watched:
            if as_json:
                print_json([{"job": one.job, "new": one.is_new, "known": one.is_known} for one in sent])
            for one in () if as_json else sent:
                note = "" if one.is_known else " (in the outbox: the fleet is away)"
                print(one.job + ("" if one.is_new else " (submitted before under this key)") + note)
            return True
        ended = [await _watch(fleet, one.job, as_json) for one in sent]
        return all(last is not None and last.kind == "done" for last in ended)

    if not with_fleet(config_path, settings, send):
        sys.exit(1)


@click.command()
@click.argument("job", required=False)
@click.option("--state", "states", multiple=True, help="Only these states.")
@click.option("--limit", default=20, show_default=True, help="At most so many, newest first.")
@config_options
@json_option
def status(
    job: str | None,
    states: tuple[str, ...],
    limit: int,
    config_path: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show JOB with its history, or the newest jobs and how many are in which state."""
    from runtime.jobs.life import JobState

    async def ask(fleet: Submitter) -> None:
        if job is not None:
            known, history = await fleet.store.get(job), await fleet.store.history(job)
            if as_json:
                print_json({**_row(known), "history": [msgspec.structs.asdict(event) for event in history]})
                return
            print_table("job", ("job", "state", "car", "actions", "reason", "answer"), [_cells(known)])
            rows = [(f"{e.at_ns / 1e9:.3f}", e.kind, e.owner, e.owner_epoch, e.detail[:60]) for e in history]
            print_table("history", ("at s", "what", "car", "owner_epoch", "detail"), rows)
            return
        wanted = [state for state in JobState if state.value in states]
        found = await fleet.store.list_jobs(wanted, limit)
        counts = await fleet.store.counts()
        if as_json:
            by_state = {state.value: count for state, count in counts.items()}
            print_json({"counts": by_state, "jobs": [_row(one) for one in found]})
            return
        print_table("jobs", ("job", "state", "car", "actions", "reason", "answer"), [_cells(one) for one in found])
        print("  ".join(f"{state.value} {count}" for state, count in counts.items()))

    with_fleet(config_path, settings, ask)


@click.command()
@click.argument("job")
@config_options
@json_option
def watch(job: str, config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Stream what happens to JOB until it is over; exit code 1 if it does not end done."""

    async def ask(fleet: Submitter) -> bool:
        last = await _watch(fleet, job, as_json)
        return last is not None and last.kind == "done"

    if not with_fleet(config_path, settings, ask):
        sys.exit(1)


@click.command()
@click.argument("job")
@click.option("--reason", default="cancelled by its submitter", show_default=True, help="What its car is told.")
@config_options
@json_option
def cancel(job: str, reason: str, config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Cancel JOB, also while a car works on it."""

    async def ask(fleet: Submitter) -> None:
        ended = await fleet.store.cancel(job, reason)
        fleet.outbox.drop(job)
        print_json(_row(ended)) if as_json else print(f"{ended.job} is {ended.state.value}")

    with_fleet(config_path, settings, ask)


@click.command()
@click.option("--every", default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--count", default=0, help="So many looks; 0: until Ctrl-C.")
@config_options
@json_option
def top(every: float, count: int, config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """The fleet at a glance: jobs by state, cars at work, jobs ended a second."""

    async def ask(fleet: Submitter) -> None:
        looks, before, before_s = 0, -1, 0.0
        while True:
            records = [record.job async for record in fleet.store.records()]
            states = Counter(job.state.value for job in records)
            over, now_s = sum(job.state.is_over for job in records), time.monotonic()
            rate = 0.0 if before < 0 else (over - before) / (now_s - before_s)
            before, before_s = over, now_s
            cars = {job.owner for job in records if job.state.value == "claimed"}
            look = {"states": dict(states), "cars_at_work": len(cars), "ended_per_s": round(rate, 2)}
            if as_json:
                print(json.dumps(look), flush=True)
            else:
                shown = "  ".join(f"{state} {number}" for state, number in sorted(states.items()))
                print(f"{shown}   cars at work {len(cars)}   {rate:.1f} ended/s", flush=True)
            looks += 1
            if count and looks >= count:
                return
            await asyncio.sleep(every)

    with_fleet(config_path, settings, ask)


@click.command()
@click.option("--label", default="experiment", show_default=True, help="The label that names the experiment.")
@click.option("--experiment", default="", help="Only jobs of which that label has this value.")
@config_options
@json_option
def variants(label: str, experiment: str, config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """How each model variant does: jobs, ends, actions, time from submission."""

    async def ask(fleet: Submitter) -> None:
        found: dict[str, list[Job]] = {}
        async for record in fleet.store.records():
            spec = record.job.spec
            if not experiment or spec.labels.get(label) == experiment:
                found.setdefault(spec.model or spec.agent, []).append(record.job)
        rows = [_variant(name, jobs) for name, jobs in sorted(found.items())]
        if as_json:
            print_json(rows)
        else:
            print_table("variants", tuple(rows[0]) if rows else ("model",), [tuple(row.values()) for row in rows])

    with_fleet(config_path, settings, ask)


def _variant(name: str, jobs: list[Job]) -> dict[str, Any]:
    over = [job for job in jobs if job.state.is_over]
    done = [job for job in over if job.state.value == "done"]
    seconds = sorted((job.updated_ns - job.submitted_ns) / 1e9 for job in done)
    return {
        "model": name,
        "jobs": len(jobs),
        "over": len(over),
        "done": len(done),
        "done %": round(100 * len(done) / len(over), 1) if over else None,
        "actions a job": round(sum(job.actions for job in done) / len(done), 2) if done else None,
        "p50 s": round(seconds[len(seconds) // 2], 2) if seconds else None,
        "faults": sum(job.attempts for job in jobs),
    }


async def _watch(fleet: Submitter, job: str, as_json: bool) -> Told | None:
    last = None
    async for told in fleet.watch(job):
        if as_json:
            print(json.dumps(msgspec.structs.asdict(told)), flush=True)
        else:
            print(f"{told.at_ns / 1e9:17.3f}  {told.kind:<10} {told.owner:<12} {told.detail[:100]}", flush=True)
        last = told
    return last


def _row(job: Job) -> dict[str, Any]:
    return {
        "job": job.job,
        "state": job.state.value,
        "car": job.owner,
        "owner_epoch": job.owner_epoch,
        "actions": job.actions,
        "attempts": job.attempts,
        "claims": job.claims,
        "reason": job.reason,
        "answer": job.answer,
        "joules": job.joules,
        "price": job.price,
        "submitted_ns": job.submitted_ns,
        "updated_ns": job.updated_ns,
    }


def _cells(job: Job) -> tuple[object, ...]:
    return job.job, job.state.value, job.owner, job.actions, job.reason[:50], job.answer[:50]
