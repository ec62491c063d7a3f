"""Metrics for Prometheus: one table, a registry of its own, served by the daemon's loop on a Unix socket or loopback.

    metrics = Metrics()
    metrics.add("actions", outcome="applied")            # counters
    metrics.set("jobs", 3, state="queued")               # gauges
    metrics.observe("action_seconds", 0.004, stage="model")    # histograms
    server = await serve_metrics(metrics, "unix:/run/idlehands/metrics")

No label ever has an unbounded set of values: no job, no desktop, no instruction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from runtime.errors import RuntimeFault

REQUEST_CAP_BYTES = 8192
REQUEST_TIMEOUT_S = 5.0
_ACTION_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.331, 0.5, 1.0, 2.65, 10.0)


class MetricsError(RuntimeFault):
    """The address for metrics is not a Unix socket or a loopback port, or it is taken."""

    next_step: ClassVar[str] = "set daemon.metrics to 'unix:/path' or '127.0.0.1:port', or to '' for none"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric. `buckets` are the upper bounds of a histogram, s."""

    kind: type[Counter] | type[Gauge] | type[Histogram]
    doc: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


TABLE: dict[str, Row] = {
    "build": Row(Gauge, "Always 1; the labels say what runs.", ("version", "build_id")),
    "gate_open": Row(Gauge, "1 while the gate word says that work may run."),
    "gate_epoch": Row(Gauge, "The gate's epoch: grows at every closing."),
    "forecast_seconds": Row(Gauge, "How long a job may be that starts now; -1 while it is unknown or the gate closed."),
    "forecast_limited": Row(Gauge, "1 for what bounds the forecast, 0 for the others.", ("by",)),
    "jobs_held_back": Row(Gauge, "1 while jobs wait for a longer forecast."),
    "duty_permille": Row(Gauge, "Share of each 100 ms window that the governor grants."),
    "threads_granted": Row(Gauge, "Threads that may be kept busy."),
    "power_budget_watts": Row(Gauge, "Draw that the governor grants the computer; 0 is not limited."),
    "energy_debt_watt_hours": Row(Gauge, "What work took from the battery and charging has not put back; -1: unknown."),
    "energy_today_watt_hours": Row(Gauge, "What work used since midnight; -1: unknown."),
    "jobs": Row(Gauge, "Jobs in the store.", ("state",)),
    "jobs_submitted": Row(Counter, "Jobs accepted."),
    "jobs_ended": Row(Counter, "Jobs that ended.", ("state",)),
    "jobs_given_back": Row(
        Counter, "Claims that ended before their job: yield, fault, or refused a promise.", ("kind",)
    ),
    "sessions": Row(Gauge, "Desktops worked on now."),
    "actions": Row(Counter, "Actions sent, by their outcome.", ("outcome",)),
    "batch_results": Row(Counter, "Results of batches that were kept."),
    "action_seconds": Row(
        Histogram,
        "Where an action's time went: capture, transfer, model, inject, settle, total.",
        ("stage",),
        _ACTION_S,
    ),
    "workers": Row(Gauge, "Worker processes that are up."),
    "worker_starts": Row(Counter, "Worker processes started."),
    "models_resident": Row(Gauge, "Models in a worker's memory."),
    "models_resident_bytes": Row(Gauge, "Their bytes, as measured at load or as the manifest says."),
    "model_loads": Row(Gauge, "Models loaded since the worker began."),
    "model_evictions": Row(Gauge, "Models given up for others since the worker began."),
    "decisions": Row(Gauge, "Decisions made since the worker began."),
    "deadline_misses": Row(Gauge, "Of these, later than was promised."),
    "run_seconds": Row(Counter, "Seconds that jobs ran."),
    "compute_joules": Row(Counter, "Energy of jobs; measured, or estimated from a power table.", ("source",)),
    "awake_joules": Row(Counter, "Energy of cars that were awake only for jobs, by the assumed awake power."),
    "store_errors": Row(Counter, "Calls that the job store or the ledger refused for its disk."),
}


class Metrics:
    """The metrics of one process, all present from the start. Unknown names and labels are programming errors."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        for name, row in TABLE.items():
            self._metrics[name] = _make(name, row, self.registry)
        ProcessCollector(registry=self.registry)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Counts `amount` (never negative) on a counter."""
        metric = self._of(name, Counter, labels)
        assert isinstance(metric, Counter)
        metric.inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        metric = self._of(name, Gauge, labels)
        assert isinstance(metric, Gauge)
        metric.set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Puts a value into a histogram."""
        metric = self._of(name, Histogram, labels)
        assert isinstance(metric, Histogram)
        metric.observe(value)

    def exposition(self) -> bytes:
        """Returns all metrics in Prometheus' text form."""
        return generate_latest(self.registry)

    def _of(self, name: str, kind: type, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        row = TABLE.get(name)
        if row is None or row.kind is not kind or set(labels) != set(row.labels):
            raise ValueError(f"no {kind.__name__.lower()} is called {name!r} with labels {sorted(labels)}")
        metric = self._metrics[name]
        return metric.labels(**labels) if labels else metric


def _make(name: str, row: Row, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if row.kind is Histogram:
        return Histogram(
            name, row.doc, row.labels, namespace="idlehands", registry=registry, buckets=row.buckets or _ACTION_S
        )
    return row.kind(name, row.doc, row.labels, namespace="idlehands", registry=registry)


async def serve_metrics(metrics: Metrics, address: str) -> asyncio.Server:
    """Serves `GET /metrics` on "unix:/path" (mode 0660) or "host:port", where host must be a loopback address.

    Returns the server; closing it is the caller's. Raises MetricsError.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(await _response(reader, metrics))
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    try:
        if address.startswith("unix:"):
            return await asyncio.start_unix_server(
                answer, sock=_unix_socket(Path(address[5:])), limit=REQUEST_CAP_BYTES
            )
        host, port = _loopback(address)
        return await asyncio.start_server(answer, host, port, limit=REQUEST_CAP_BYTES)
    except OSError as error:
        raise MetricsError(f"metrics cannot be served on {address}: {error.strerror or error}") from error


def _unix_socket(path: Path) -> socket.socket:
    """Returns a bound socket at `path`. What a daemon that was killed left there is taken away; a live one is not."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise MetricsError(f"metrics cannot be served on unix:{path}: another daemon serves there")
            path.unlink()
        made.bind(str(path))
        os.chmod(path, 0o660)
    except BaseException:
        made.close()
        raise
    return made


def _loopback(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host not in ("127.0.0.1", "::1", "localhost") or not port.isdecimal() or int(port) > 65535:
        raise MetricsError(f"metrics are served on a Unix socket or a loopback port only, got '{address}'")
    return host, int(port)


async def _response(reader: asyncio.StreamReader, metrics: Metrics) -> bytes:
    """Answers one HTTP request and nothing after it; a client that is slow, long or wrong is told so."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT_S)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
        return _http("400 Bad Request", b"expected: GET /metrics\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or words[0] != b"GET":
        return _http("405 Method Not Allowed", b"expected: GET /metrics\n")
    if words[1].split(b"?", 1)[0] != b"/metrics":
        return _http("404 Not Found", b"there is only /metrics\n")
    return _http("200 OK", metrics.exposition(), CONTENT_TYPE_LATEST)


def _http(status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
