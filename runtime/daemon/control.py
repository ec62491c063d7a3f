"""Messages of the control socket: how the command line speaks with the daemon. Framing as on the session's wire.

    submit ─► Submitted      list ─► Jobs        status ─► Status
    results ─► Results (a page)
    follow ─► Event* , the last with a job that is over     cancel ─► Job
    anything ─► Refused (what and the next step), and the connection stays

One request at a time on a connection; numbers are append-only.
"""

from __future__ import annotations

import msgspec


class Submit(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """`spec` is the encoded JobSpec."""

    spec: bytes


class ListJobs(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """Newest first; an empty `states` means all."""

    states: tuple[str, ...] = ()
    limit: int = 50


class CancelJob(msgspec.Struct, array_like=True, frozen=True, tag=3):
    job: str
    reason: str


class GetStatus(msgspec.Struct, array_like=True, frozen=True, tag=4):
    pass


class Follow(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """Stream a job's events until it is over, or all jobs' (empty) without end, first of all how the gate stands; then
    the connection is closed."""

    job: str


class GetResults(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """A batch's results from number `since` on, as many as an answer takes."""

    job: str
    since: int = 0


class Submitted(msgspec.Struct, array_like=True, frozen=True, tag=32):
    """`new` is False when the idempotency key was known already."""

    job: str
    new: bool


class JobView(msgspec.Struct, array_like=True, frozen=True, tag=33):
    job: str
    state: str
    instruction: str
    desktop: str
    agent: str
    priority: int
    owner_epoch: int
    attempts: int
    actions: int
    submitted_ns: int
    updated_ns: int
    reason: str
    answer: str
    joules: float = 0.0
    price: float = 0.0


class Jobs(msgspec.Struct, array_like=True, frozen=True, tag=34):
    jobs: tuple[JobView, ...]


class LoadedModel(msgspec.Struct, array_like=True, frozen=True):
    """A model in the worker. `stop_bound_us` is the longest that it was seen to work on after the gate had closed,
    `together` what several of its runs at once cost, in words ("" is not known)."""

    bundle: str
    role: str
    backend: str
    resident_bytes: int
    stop_bound_us: int
    lane: int = 0
    threads: int = 1
    uses: int = 0
    load_ms: float = 0.0
    is_pinned: bool = False
    together: str = ""


class Computing(msgspec.Struct, array_like=True, frozen=True):
    """How the worker's models and deadlines went since it began. `misses` of `decisions` came after their deadline,
    the worst of late `latest_ms`; `refused` sessions would have broken promises. `is_calibrated`: the device's memory
    bandwidth is known (`idlehands doctor --calibrate`). `together` decisions were made with those of other sessions."""

    lanes: int
    sessions: int
    refused: int
    decisions: int
    misses: int
    latest_ms: float
    loads: int
    hits: int
    evictions: int
    rss_bytes: int
    is_calibrated: bool
    together: int = 0


class Status(msgspec.Struct, array_like=True, frozen=True, tag=35):
    """The daemon at a glance. `gate_state` is "absent" when there is no gate word.

    `forecast_s` is how long a job may be that starts now (-1: unknown, nothing is held back for it), `forecast_by` what
    bounds it, and `held_back` the waiting jobs that may take longer."""

    version: str
    build_id: str
    gate_state: str
    gate_reasons: tuple[str, ...]
    gate_epoch: int
    workers: int
    running: tuple[str, ...]
    queued: int
    finished: int
    actions: int
    uptime_s: float
    models: tuple[LoadedModel, ...] = ()
    forecast_s: float = -1.0
    forecast_by: str = ""
    held_back: int = 0
    computing: Computing | None = None


class Event(msgspec.Struct, array_like=True, frozen=True, tag=36):
    """One thing that happened to a job, or to the daemon (`job` empty). `detail` is a JSON object."""

    at_ns: int
    job: str
    kind: str
    detail: bytes
    over: bool = False


class Refused(msgspec.Struct, array_like=True, frozen=True, tag=37):
    what: str
    next_step: str


class Results(msgspec.Struct, array_like=True, frozen=True, tag=38):
    """Results with their numbers, in order; `more` says that there are others after them. `is_over`: of a job that
    makes no more."""

    results: tuple[tuple[int, bytes], ...]
    more: bool
    is_over: bool


Request = Submit | GetResults | ListJobs | CancelJob | GetStatus | Follow
Answer = Submitted | JobView | Jobs | Status | Event | Refused | Results
