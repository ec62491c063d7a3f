"""The KUKSA source against a broker of our own on the generated stub: this tests our reading of the interface."""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge import signals as s
from firmware_bridge.clock import BootClock
from firmware_bridge.errors import SourceError
from firmware_bridge.fusion import Fusion
from firmware_bridge.readings import Quality, Reading
from firmware_bridge.sources.table import open_source

grpc = pytest.importorskip("grpc")
pytest.importorskip("kuksa.val.v2")
from kuksa.val.v2 import types_pb2, val_pb2, val_pb2_grpc  # noqa: E402

from firmware_bridge.sources import kuksa  # noqa: E402


def datapoint(age_s: float | None = 0.0, **value: Any) -> Any:
    point = types_pb2.Datapoint(value=types_pb2.Value(**value) if value else None)
    if age_s is not None:
        point.timestamp.FromNanoseconds(time.time_ns() - int(age_s * 1e9))
    return point


class Broker(val_pb2_grpc.VALServicer):
    """Has a few signals, one of them in another unit, and says `script` once."""

    def __init__(self, script: list[dict[str, Any]]) -> None:
        self.script = script
        self.asked: list[str] = []
        self.token = ""

    async def ListMetadata(self, request: Any, context: Any) -> Any:
        self.token = dict(context.invocation_metadata()).get("authorization", "")
        units = {s.SPEED: "km/h", s.GEAR: "", s.CHARGE: "percent", s.PACK_HOTTEST: "fahrenheit", s.CONSENT: ""}
        found = [types_pb2.Metadata(path=path, unit=unit) for path, unit in {**units, "Vehicle.Width": "mm"}.items()]
        return val_pb2.ListMetadataResponse(metadata=found)

    async def Subscribe(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked = list(request.signal_paths)
        for entries in self.script:
            yield val_pb2.SubscribeResponse(entries=entries)


async def talk(broker: Broker, path: Path, options: str = "") -> tuple[list[Reading], str]:
    server = grpc.aio.server()
    val_pb2_grpc.add_VALServicer_to_server(broker, server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    found: list[Reading] = []
    try:
        async for reading in open_source(f"kuksa:unix:{path}{options}").readings(BootClock()):
            found.append(reading)
    except SourceError as error:
        return found, str(error)
    finally:
        await server.stop(None)
    return found, ""


def test_values_units_and_times(tmp_path: Path) -> None:
    script = [
        {s.SPEED: datapoint(float=0.25), s.GEAR: datapoint(int32=126), s.CHARGE: datapoint(age_s=90, float=80.0)},
        {s.PACK_HOTTEST: datapoint(float=77.0), s.SPEED: datapoint()},
        {s.SPEED: datapoint(age_s=None, float=0.0), s.GEAR: datapoint(string_array=types_pb2.StringArray())},
    ]
    broker = Broker(script)
    found, error = asyncio.run(talk(broker, tmp_path / "broker"))
    assert "the broker ended the subscription" in error
    assert sorted(broker.asked) == sorted([s.SPEED, s.GEAR, s.CHARGE, s.PACK_HOTTEST])  # never the consent
    values = [(each.name, each.value) for each in found]
    assert (s.SPEED, 0.25) in values
    assert (s.GEAR, 126.0) in values
    assert values.count((s.SPEED, None)) == 1
    assert (s.GEAR, None) in values  # an array is no gear
    fusion, now_ns = Fusion(), BootClock().now_ns()
    first = {each.name: each for each in reversed(found)}
    for each in first.values():
        fusion.accept("kuksa", each, now_ns)
    facts = fusion.facts(now_ns)
    assert facts[s.GEAR].quality is Quality.GOOD
    assert facts[s.CHARGE].quality is Quality.STALE  # the provider's time counts, not the delivery
    assert facts[s.PACK_HOTTEST].quality is Quality.INVALID  # 77 °F is not 77 °C
    timeless = next(each for each in found if each.name == s.SPEED and each.value == 0.0)
    assert timeless.source_time_ns == 0


def test_the_token_is_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    broker = Broker([])
    asyncio.run(talk(broker, tmp_path / "broker", f"?token={tmp_path}/token"))
    assert broker.token == "Bearer abc"


def test_a_broker_without_our_signals(tmp_path: Path) -> None:
    class Foreign(Broker):
        async def ListMetadata(self, request: Any, context: Any) -> Any:
            return val_pb2.ListMetadataResponse(metadata=[types_pb2.Metadata(path="Vehicle.Width")])

    assert "no signal that the gate knows" in asyncio.run(talk(Foreign([]), tmp_path / "broker"))[1]


def test_a_broker_that_refuses(tmp_path: Path) -> None:
    class Refusing(Broker):
        async def ListMetadata(self, request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

    assert "broke: unauthenticated: no token" in asyncio.run(talk(Refusing([]), tmp_path / "broker"))[1]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kuksa:", "expected kuksa:HOST:PORT"),
        ("kuksa:broker.car:55555", "in plain text from another machine"),
        ("kuksa:127.0.0.1:55555?token=/none", "token cannot be read"),
        ("kuksa:127.0.0.1:55555?tokn=x", "did you mean token"),
    ],
)
def test_wrong_urls(url: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(url)


def test_it_only_lists_and_subscribes() -> None:
    tree = ast.parse(Path(kuksa.__file__).read_text())
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "stub"
    }
    assert called == {"ListMetadata", "Subscribe"}
