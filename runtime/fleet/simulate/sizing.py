"""What the servers of a fleet must carry: connections, messages, writes and bytes, from rates. Pure arithmetic.

    rates (jobs begun, ended, cut off a second; open cars; jobs under way) × Costs ──► Load ──► servers

The costs of a job's steps are counted in runtime/fleet/store.py; what one server can do was measured (docs/FLEET.md has
both, and a test holds them to this table).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step of a job: messages through the server (requests, answers, deliveries), and writes to its logs."""

    messages: int
    writes: int


# Of runtime/fleet/store.py. A write is a request and its acknowledgement, so two messages; an offer's delivery, a pull
# request and an answer to an offer are one each.
STEPS = {
    "submit": Step(messages=4, writes=2),  # record, offer
    "claim": Step(messages=8, writes=2),  # pull, offer; record read (2); hold, record
    "renew": Step(messages=3, writes=1),  # hold; the offer is said to be in progress
    "save": Step(messages=2, writes=1),  # record with the checkpoint
    "finish": Step(messages=5, writes=3),  # record, hold deleted, offer acknowledged
    "release": Step(messages=5, writes=3),  # the same, with the offer given back
}


SAVES_OF_EVERY_ACTION = 3.0  # a second, with `checkpoint.every_s = 0`: an action every 331 ms (8 times a person)


@dataclass(frozen=True)
class Server:
    """What one server process carries, and how much of that is planned with. Measured; see docs/FLEET.md."""

    connection_bytes: int = 46_000
    connections: int = 100_000
    writes_per_s: float = 10_000.0
    messages_per_s: float = 100_000.0
    headroom: float = 0.5  # the share that is planned with: the other half is for a lost server and a storm


@dataclass(frozen=True)
class Rates:
    """A fleet at its peak. `cars` are connected, `running` jobs under way; the rest is per second."""

    cars: float
    running: float
    submits: float
    claims: float
    finishes: float
    releases: float
    lease_s: float = 10.0
    saves_per_job_s: float = 0.1  # `checkpoint.every_s` of 10 s, its default
    record_bytes: int = 2_000
    jobs_kept: float = 0.0  # jobs whose records are kept at once


@dataclass(frozen=True)
class Load:
    """What comes of it. `servers` is the largest of what connections, messages and writes ask for; `limit` names it."""

    connection_bytes: float
    messages_per_s: float
    writes_per_s: float
    stored_bytes: float
    servers: int
    limit: str


def at_peak(cars: float, *, open_share: float = 0.35, busy_share: float = 0.6, job_s: float = 495.0) -> Rates:
    """Returns the rates of a fleet of `cars`, of which `open_share` have their gate open and `busy_share` of those
    work on jobs of `job_s`. One run in fifty is cut off (simulate.py's day)."""
    running = cars * open_share * busy_share
    per_s = running / job_s
    return Rates(
        cars=cars * open_share,
        running=running,
        submits=per_s,
        claims=per_s * 1.02,
        finishes=per_s,
        releases=per_s * 0.02,
        jobs_kept=per_s * 86_400,
    )


def table(fleets: tuple[float, ...] = (1e6, 4e6), server: Server | None = None) -> list[str]:
    """Returns the rows of docs/FLEET.md's sizing, as Markdown: what the formula of this file says of each fleet."""
    server = server or Server()
    usual = [at_peak(cars) for cars in fleets]
    all_saved = [dataclasses.replace(rates, saves_per_job_s=SAVES_OF_EVERY_ACTION) for rates in usual]
    long_leases = [dataclasses.replace(rates, lease_s=60.0) for rates in usual]
    rows = [
        ("open cars, connected", [f"{rates.cars:,.0f}" for rates in usual]),
        ("jobs under way", [f"{rates.running:,.0f}" for rates in usual]),
        ("jobs begun a second", [f"{rates.claims:,.0f}" for rates in usual]),
        ("connections' memory", [f"{load_of(rates, server).connection_bytes / 1e9:,.1f} GB" for rates in usual]),
        ("records of a day, three copies", [f"{load_of(r, server).stored_bytes / 1e12:,.2f} TB" for r in usual]),
    ]
    for name, fleet in (
        ("a checkpoint an action", all_saved),
        ("a checkpoint in 10 s", usual),
        ("a checkpoint in 10 s, a lease of 60 s", long_leases),
    ):
        loads = [load_of(rates, server) for rates in fleet]
        rows += [
            (f"messages a second, {name}", [f"{load.messages_per_s:,.0f}" for load in loads]),
            (f"writes a second, {name}", [f"{load.writes_per_s:,.0f}" for load in loads]),
            (f"servers, {name}", [f"{load.servers:,} (by {load.limit})" for load in loads]),
        ]
    return [f"| {name} | {' | '.join(values)} |" for name, values in rows]


def load_of(rates: Rates, server: Server, replicas: int = 3) -> Load:
    """Returns the load of a fleet. Each write is done by `replicas` servers, so it counts that often."""
    per_s = {
        "submit": rates.submits,
        "claim": rates.claims,
        "renew": rates.running * 3 / rates.lease_s,  # every third of the lease
        "save": rates.running * rates.saves_per_job_s,
        "finish": rates.finishes,
        "release": rates.releases,
    }
    messages = sum(STEPS[name].messages * rate for name, rate in per_s.items())
    writes = sum(STEPS[name].writes * rate for name, rate in per_s.items())
    needs = {
        "connections": rates.cars / (server.connections * server.headroom),
        "messages": messages / (server.messages_per_s * server.headroom),
        "writes": writes * replicas / (server.writes_per_s * server.headroom),
    }
    limit = max(needs, key=lambda name: needs[name])
    return Load(
        connection_bytes=rates.cars * server.connection_bytes,
        messages_per_s=messages,
        writes_per_s=writes,
        stored_bytes=rates.jobs_kept * rates.record_bytes * replicas,
        servers=max(replicas, math.ceil(needs[limit])),
        limit=limit,
    )
