"""`idlehands status`: the daemon at a glance."""

from __future__ import annotations

import asyncio

import click
import msgspec

from firmware_bridge.why import span
from runtime.cli.options import config_options, json_option, print_json, settings_of
from runtime.daemon.client import Client
from runtime.daemon.control import Status


@click.command()
@config_options
@json_option
def status(config_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Show the daemon's gate, worker, jobs and uptime."""
    config = settings_of(config_path, settings)

    async def ask() -> Status:
        async with await Client.connect(config.daemon.control_path) as client:
            return await client.status()

    found = asyncio.run(ask())
    if as_json:
        models = [msgspec.structs.asdict(model) for model in found.models]
        computing = msgspec.structs.asdict(found.computing) if found.computing else None
        print_json({**msgspec.structs.asdict(found), "models": models, "computing": computing})
        return
    reasons = f" ({', '.join(found.gate_reasons)})" if found.gate_reasons else ""
    print(f"gate      {found.gate_state}{reasons}, epoch {found.gate_epoch}")
    if found.forecast_s >= 0:
        held = f"; {found.held_back} waiting jobs may take longer and are held back" if found.held_back else ""
        print(f"forecast  a job may take {span(found.forecast_s)} (bounded by {found.forecast_by}){held}")
    print(f"worker    {'up' if found.workers else 'none'}; working on {', '.join(found.running) or 'nothing'}")
    for model in found.models:
        stops = (
            f"stops within {model.stop_bound_us / 1000:.1f} ms"
            if model.stop_bound_us
            else "its stop is not measured yet"
        )
        kept = ", kept" if model.is_pinned else ""
        where = f"{model.backend}, lane {model.lane}"
        print(f"model     {model.bundle} {model.role} on {where}, {model.resident_bytes >> 20} MiB, {stops}{kept}")
        if model.together:
            print(f"          {model.together}")
    if found.computing is not None:
        seen = found.computing
        print(
            f"decisions {seen.decisions}, {seen.misses} later than promised (by {seen.latest_ms:.1f} ms at most); "
            f"{seen.together} made with others; {seen.sessions} sessions on {seen.lanes} lanes, {seen.refused} refused"
        )
        print(
            f"memory    {seen.rss_bytes >> 20} MiB; models loaded {seen.loads} times, given up {seen.evictions} times"
        )
    print(f"jobs      {found.queued} waiting, {found.finished} finished since the start, {found.actions} actions")
    print(f"daemon    {found.version}, build {found.build_id}, up {found.uptime_s:.0f} s")
