"""Metrics: the table, and the small server that shows them."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from runtime.telemetry.metrics import TABLE, Metrics, MetricsError, serve_metrics

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"idlehands_{name}", labels)


def test_every_row_can_be_used_and_is_shown() -> None:
    metrics = Metrics()
    for name, row in TABLE.items():
        labels = dict.fromkeys(row.labels, "x")
        if row.kind is Counter:
            metrics.add(name, 2, **labels)
            assert value(metrics, f"{name}_total", **labels) == 2
        elif row.kind is Gauge:
            metrics.set(name, 3, **labels)
            assert value(metrics, name, **labels) == 3
        else:
            assert row.kind is Histogram
            metrics.observe(name, 0.01, **labels)
            assert value(metrics, f"{name}_count", **labels) == 1
    families = {family.name for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {f"idlehands_{name}" for name in TABLE} <= families
    assert "process_resident_memory_bytes" in families


def test_no_label_names_a_job_or_what_was_seen() -> None:
    labels = {label for row in TABLE.values() for label in row.labels}
    assert not labels & {"job", "desktop", "instruction", "session", "text", "peer"}


def test_mistakes_are_programming_errors() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="no counter is called 'actionz'"):
        metrics.add("actionz")
    with pytest.raises(ValueError, match="labels"):
        metrics.add("actions")
    with pytest.raises(ValueError, match="no gauge"):
        metrics.set("actions", 1, outcome="applied")
    with pytest.raises(ValueError, match="no histogram"):
        metrics.observe("workers", 1)


async def ask(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    if not request.endswith(b"\r\n\r\n"):
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_served_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "metrics"

    async def main() -> None:
        metrics = Metrics()
        metrics.set("workers", 2)
        server = await serve_metrics(metrics, f"unix:{path}")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        head, _, body = (await ask(path, GET)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"idlehands_workers 2.0" in body
        for request, status in [
            (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
            (b"GET /secrets HTTP/1.1\r\n\r\n", b"404"),
            (b"\x00\xff" * 50_000, b"400"),
            (b"hello", b"400"),
            (b"\r\n\r\n", b"405"),
        ]:
            assert (await ask(path, request))[9:12] == status
        with pytest.raises(MetricsError, match="another daemon serves there"):
            await serve_metrics(metrics, f"unix:{path}")
        assert (await ask(path, GET))[9:12] == b"200"
        server.close()
        await server.wait_closed()
        # What a killed daemon leaves is no hindrance.
        again = await serve_metrics(metrics, f"unix:{path}")
        assert (await ask(path, GET))[9:12] == b"200"
        again.close()
        await again.wait_closed()

    asyncio.run(main())


def test_served_on_loopback_only() -> None:
    async def main() -> None:
        server = await serve_metrics(Metrics(), "127.0.0.1:0")
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
        with pytest.raises(MetricsError, match="cannot be served"):
            await serve_metrics(Metrics(), f"127.0.0.1:{port}")
        server.close()
        await server.wait_closed()
        for address in ("0.0.0.0:9100", "10.0.0.1:1", "127.0.0.1", "127.0.0.1:x", "", ":1", "127.0.0.1:99999"):
            with pytest.raises(MetricsError, match="loopback"):
                await serve_metrics(Metrics(), address)

    asyncio.run(main())


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    path.write_text("mine")
    with pytest.raises(MetricsError, match="cannot be served"):
        asyncio.run(serve_metrics(Metrics(), f"unix:{path}"))
    assert path.read_text() == "mine"


def test_every_metric_of_the_table_is_fed_by_somebody() -> None:
    runtime = Path(__file__).resolve().parents[2] / "runtime"
    fed = "".join(path.read_text() for path in runtime.rglob("*.py") if path.parent.name != "telemetry")
    assert [name for name in TABLE if not re.search(rf'metrics\.(add|set|observe)\(\s*"{name}"', fed)] == []
