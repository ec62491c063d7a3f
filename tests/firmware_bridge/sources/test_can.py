"""The CAN source on python-can's own buses: filters, ages, faults; and that nothing in the bridge can send."""

from __future__ import annotations

import ast
import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import can
import pytest

import firmware_bridge
from firmware_bridge import signals as s
from firmware_bridge.clock import BootClock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Reading
from firmware_bridge.sources.can import CanSource, filters_of
from firmware_bridge.sources.can_map import load_map
from firmware_bridge.sources.table import open_source
from tests.firmware_bridge.parked import MS
from tests.firmware_bridge.sources.tesla_frames import frame

CAR = load_map("tesla_model3")


@pytest.fixture
def car_side() -> Iterator[can.BusABC]:
    with can.Bus(interface="virtual", channel="test-car") as bus:
        yield bus


def message(name: str, counter: int = 0, **values: float) -> can.Message:
    frame_id, data = frame(name, counter, **values)
    return can.Message(arbitration_id=frame_id, data=data, is_extended_id=False)


async def listen(source: CanSource, count: int, say: list[can.Message], car_side: can.BusABC) -> list[Reading]:
    found: list[Reading] = []

    async def collect() -> None:
        async for reading in source.readings(BootClock()):
            found.append(reading)
            if len(found) >= count:
                return

    task = asyncio.create_task(collect())
    await asyncio.sleep(0)  # the bus is open now
    for each in say:
        car_side.send(each)
    await asyncio.wait_for(task, 20)
    return found


def test_listens_with_exact_filters(car_side: can.BusABC) -> None:
    source = open_source("can:virtual/test-car?map=tesla_model3")
    assert isinstance(source, CanSource)
    foreign = can.Message(arbitration_id=0x119, data=bytes(8), is_extended_id=False)
    remote = can.Message(arbitration_id=0x118, is_remote_frame=True, is_extended_id=False)
    say = [foreign, remote, message("DI_systemStatus", 1), message("DI_speed", 1)]
    found = asyncio.run(listen(source, 2, say, car_side))
    assert [(each.name, each.value) for each in found] == [(s.GEAR, 126.0), (s.SPEED, pytest.approx(0.0, abs=1e-9))]
    now_ns = BootClock().now_ns()
    assert all(0 <= now_ns - each.source_time_ns < 20_000 * MS for each in found)
    assert source.counts.frames == 2
    assert {each["can_id"] for each in filters_of(CAR)} == {frame_id for frame_id, _ in CAR.messages}
    assert {each["can_mask"] for each in filters_of(CAR)} == {0x7FF}


@pytest.mark.parametrize("stepped_s", [-3600, 3600])
def test_what_waited_is_old_and_a_wall_clock_that_steps_is_not_fresh(car_side: can.BusABC, stepped_s: int) -> None:
    def wall_ns() -> int:
        return time.time_ns() + stepped_s * 10**9

    source = CanSource("can:", "virtual", "test-car", CAR, {}, wall_ns=wall_ns)
    found = asyncio.run(listen(source, 1, [message("DI_speed")], car_side))
    age_s = (BootClock().now_ns() - found[0].source_time_ns) / 1e9
    assert abs(age_s - stepped_s) < 60  # far in the past (stale), or in the future (invalid): never now


def test_a_flood_lets_the_loop_turn(car_side: can.BusABC) -> None:
    source = CanSource("can:", "virtual", "test-car", CAR, {})

    async def scene() -> int:
        turns = 0
        found = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(count_turns())
        generator = source.readings(BootClock())
        first = asyncio.create_task(anext(generator))
        await asyncio.sleep(0)
        for number in range(2000):
            car_side.send(message("DI_speed", number))
        await first
        before = turns
        while found < 1900:
            await anext(generator)
            found += 1
        task.cancel()
        await generator.aclose()
        return turns - before

    assert asyncio.run(scene()) >= 1900 // 64 - 2


def test_news_is_told_at_once_and_confirmations_now_and_then(
    car_side: can.BusABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand frames that only confirm wake the bridge a few times; the one that is new needs no other after it."""
    monkeypatch.setattr("firmware_bridge.sources.can._SPACING_NS", 3_600 * 10**9)

    async def scene() -> tuple[int, list[Reading]]:
        loop, wakes, found = asyncio.get_running_loop(), 0, list[Reading]()
        tell = loop.call_soon_threadsafe

        def counted(*args: Any) -> Any:
            nonlocal wakes
            wakes += 1
            return tell(*args)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        generator = CanSource("can:", "virtual", "test-car", CAR, {}).readings(BootClock())
        first = asyncio.create_task(anext(generator))
        await asyncio.sleep(0)
        for number in range(1000):
            car_side.send(message("DI_speed", number % 16))
        car_side.send(message("DI_speed", 1000 % 16, DI_vehicleSpeed=50.0))
        found.append(await first)
        while found[-1].value == found[0].value:
            found.append(await asyncio.wait_for(anext(generator), 20))
        seen = wakes
        await generator.aclose()
        return seen, found

    wakes, found = asyncio.run(scene())
    assert wakes == 2, "one for the first value, one for the other"
    assert len(found) == 1001
    assert found[-1].value == pytest.approx(50.0)


def test_a_bridge_that_does_not_keep_up_knows_it(car_side: can.BusABC, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridge.sources.can._MOST_WAITING", 20)

    async def scene() -> None:
        generator = CanSource("can:", "virtual", "test-car", CAR, {}).readings(BootClock())
        first = asyncio.create_task(anext(generator))
        await asyncio.sleep(0)
        for number in range(100):
            car_side.send(message("DI_speed", number % 16))
        deadline_s = time.monotonic() + 20
        while threading.active_count() > before and time.monotonic() < deadline_s:
            time.sleep(0.01)  # the loop stands still
        await first
        async for _ in generator:
            pass

    before = threading.active_count()
    with pytest.raises(SourceError, match="21 readings wait: the bridge does not keep up"):
        asyncio.run(scene())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("can:virtual?map=tesla_model3", "expected can:INTERFACE/CHANNEL"),
        ("can:virtual/x", r"needs \?map=CAR"),
        ("can:virtual/x?map=tesla_model3&bitrate=fast", "bitrate must be a whole number"),
        ("can:virtual/x?map=tesla_model3&send=1", "no option is called 'send'"),
    ],
)
def test_wrong_urls(url: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(url)


@pytest.mark.parametrize("interface", ["no_such_interface", "socketcan"])
def test_a_bus_that_cannot_be_opened_or_breaks(interface: str) -> None:
    async def scene(source: CanSource) -> None:
        async for _ in source.readings(BootClock()):
            pass

    source = open_source(f"can:{interface}/none0?map=tesla_model3")
    assert isinstance(source, CanSource)
    with pytest.raises(SourceError, match=r"cannot be opened"):
        asyncio.run(scene(source))


def test_a_bus_that_breaks_is_a_source_error(car_side: can.BusABC, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, timeout: float | None = None) -> None:
        raise can.CanOperationError("the interface went down")

    monkeypatch.setattr("can.interfaces.virtual.VirtualBus.recv", broken)
    with pytest.raises(SourceError, match="broke: the interface went down"):
        asyncio.run(listen(CanSource("can:", "virtual", "test-car", CAR, {}), 1, [], car_side))


def test_an_error_that_nobody_foresaw_is_not_lost_in_the_thread(
    car_side: can.BusABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, timeout: float | None = None) -> None:
        raise LookupError("a fault of the reader's own")

    monkeypatch.setattr("can.interfaces.virtual.VirtualBus.recv", broken)
    with pytest.raises(LookupError, match="a fault of the reader's own"):
        asyncio.run(listen(CanSource("can:", "virtual", "test-car", CAR, {}), 1, [], car_side))


def test_nothing_in_the_bridge_can_send() -> None:
    """No call of a sending method anywhere in the bridge, but for the words to the service manager."""
    senders = {"send", "sendto", "sendall", "sendmsg", "send_periodic", "send_message", "flush_tx_buffer"}
    root = Path(firmware_bridge.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in senders
    }
    assert found == {"bridge.py", "notify.py"}
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse((root / "bridge.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in senders
    ]
    assert set(calls) == {"self._notifier.send"}
