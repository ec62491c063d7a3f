"""Prints a job's events as they come, a line each: for `submit --follow` and `jobs --follow`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from runtime.daemon.client import Client
from runtime.daemon.control import Event


async def follow_jobs(control: Path, job: str, as_json: bool) -> Event | None:
    """Streams until the job is over; returns its last event (None when all jobs were followed and the daemon ended)."""
    last = None
    async with await Client.connect(control) as client:
        async for event in client.follow(job):
            print(_as_json(event) if as_json else _as_line(event))
            sys.stdout.flush()
            last = event
    return last


def _as_json(event: Event) -> str:
    return json.dumps({"at_ns": event.at_ns, "job": event.job, "kind": event.kind, **json.loads(event.detail)})


def _as_line(event: Event) -> str:
    detail = json.loads(event.detail)
    if event.kind == "action":
        text = f"{detail['action']}  {detail['total_us'] / 1000:.1f} ms"
    else:
        text = "  ".join(f"{key}={value}" for key, value in detail.items() if value not in ("", None))
    return f"{event.at_ns / 1e9:12.3f}  {event.job[:12] or '-':<14} {event.kind:<12} {text}"
