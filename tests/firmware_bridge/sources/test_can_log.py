"""CAN logs: a day's log opens the gate, a damaged one is an error with its line, fuzzed ones are one or the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.clock import VirtualClock
from firmware_bridge.engine import Engine
from firmware_bridge.errors import SourceError
from firmware_bridge.policy_settings import Car, Owner, Policy, Timing
from firmware_bridge.readings import Reading
from firmware_bridge.sources.can_log import read_log
from firmware_bridge.sources.table import open_source
from kernels.gate.word import State
from tests.firmware_bridge.parked import MS, START, tell
from tests.firmware_bridge.sources.tesla_frames import second

NOT_ON_THE_BUS = (s.PARK_LOCK, s.PARKING_BRAKE, s.IS_MOVING, s.CABIN_TEMPERATURE, s.CRASH, s.OTA, s.LOW_POWER, s.PAUSE)
POLICY = Policy(timing=Timing(dwell_s=0.5, drain_s=0.2), car=Car(not_fitted=NOT_ON_THE_BUS), owner=Owner(metered=True))


def candump(frames: list[tuple[int, int, bytes]]) -> str:
    """Returns `frames` of (ms, id, data) as `candump -l` writes them."""
    begin_us = 1_700_000_000_000_000
    times = [divmod(begin_us + ms * 1000, 1_000_000) for ms, _, _ in frames]
    return "".join(
        f"({whole}.{us:06d}) can0 {frame_id:03X}#{data.hex().upper()}\n"
        for (whole, us), (_, frame_id, data) in zip(times, frames, strict=True)
    )


def states(url: str, for_ms: int) -> list[State]:
    """Runs the engine over a source on a virtual clock; the computer and the owner's consent come from elsewhere."""

    async def scene() -> list[State]:
        clock = VirtualClock(START)
        engine = Engine(POLICY, START)
        found: list[State] = []

        async def listen() -> None:
            async for reading in open_source(url).readings(clock):
                engine.accept("can", reading, clock.now_ns())

        task = asyncio.create_task(listen())
        for _ in range(for_ms // 20):
            await clock.advance_to(clock.now_ns() + 20 * MS)
            tell(engine, {s.CONSENT: True, s.COMPUTE_TEMPERATURE: 50.0}, clock.now_ns(), source="own")
            state = engine.evaluate(clock.now_ns()).state
            if not found or found[-1] is not state:
                found.append(state)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    return asyncio.run(scene())


def test_a_parked_second_opens_the_gate_and_its_end_closes_it(tmp_path: Path) -> None:
    (tmp_path / "bus.log").write_text(candump(second(0)))
    url = f"canlog:{tmp_path}/bus.log?map=tesla_model3"
    assert states(url, 1500) == [State.WARMING, State.OPEN, State.DRAINING, State.CLOSED]
    assert states(url + "&end=hold", 3000) == [State.WARMING, State.OPEN]


def test_a_bad_checksum_closes(tmp_path: Path) -> None:
    lines = candump(second(0)).splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("(1700000000.800") and " 118#" in line)
    lines[at] = lines[at][:-3] + ("00\n" if lines[at][-3:-1] != "00" else "01\n")
    (tmp_path / "bus.log").write_text("".join(lines))
    assert State.DRAINING in states(f"canlog:{tmp_path}/bus.log?map=tesla_model3", 900)


@pytest.mark.parametrize("suffix", [".blf", ".asc"])
def test_other_formats_say_the_same(tmp_path: Path, suffix: str) -> None:
    frames = second(0)
    (tmp_path / "bus.log").write_text(candump(frames))
    options = {"relative_timestamp": False} if suffix == ".asc" else {}
    with can.Logger(tmp_path / f"bus{suffix}", **options) as writer:
        for ms, frame_id, data in frames:
            writer.on_message_received(
                can.Message(timestamp=1.7e9 + ms / 1000, arbitration_id=frame_id, is_extended_id=False, data=data)
            )
    ours, theirs = read_log(tmp_path / "bus.log"), read_log(tmp_path / f"bus{suffix}")
    assert [(each.frame_id, each.data) for each in theirs] == [(each.frame_id, each.data) for each in ours]
    assert all(abs(a.time_ns - b.time_ns) < 1_500_000 for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no frames"),
        ("nonsense\n", ":1 is no line of candump"),
        ("(1.0) can0 118#00\n(0.9) can0 118#00\n", "frame 2 is 0.100000 s before"),
        ("(1.0) can0 118#0\n", ":1 is no line"),
        ("(1.0) can0 18#00\n", ":1 is no line"),
    ],
)
def test_damaged_logs_say_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bus.log").write_text(text)
    with pytest.raises(SourceError, match=words):
        read_log(tmp_path / "bus.log")


def test_what_is_no_data_frame_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bus.log").write_text(
        "(1.000000) can0 118#R\n(1.1) can0 20000004#0000\n(1.2) can0 00000118#AABB R\n(1.3) can0 118##1AABB\n"
    )
    assert [(each.frame_id, each.is_extended, each.data) for each in read_log(tmp_path / "bus.log")] == [
        (0x118, True, b"\xaa\xbb"),
        (0x118, False, b"\xaa\xbb"),
    ]


def test_wrong_urls_and_absent_files(tmp_path: Path) -> None:
    for url, words in [
        (f"canlog:{tmp_path}/none.log?map=tesla_model3", "there is no CAN log"),
        (f"canlog:{tmp_path}/none.blf?map=tesla_model3", "there is no CAN log"),
        ("canlog:x.log", r"needs \?map=CAR"),
        ("canlog:x.log?map=tesla_model3&end=loop", "end must be hold or stop"),
        ("canlog:x.log?map=none", "no car is called"),
    ]:
        with pytest.raises(SourceError, match=words):
            open_source(url)
    (tmp_path / "bad.blf").write_bytes(b"LOGGxxxxxxxxxxxxxxxxxxxx")
    with pytest.raises(SourceError, match="is damaged"):
        read_log(tmp_path / "bad.blf")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_fuzzed_log_is_an_error_or_a_closed_or_true_gate(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = bytearray(candump(second(0))[:4000].encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("log") / "bus.log"
    path.write_bytes(bytes(text))
    try:
        frames = read_log(path)
    except SourceError:
        return
    assert all(len(each.data) <= 64 for each in frames)


def test_readings_have_the_log_s_rhythm(tmp_path: Path) -> None:
    (tmp_path / "bus.log").write_text(candump(second(0)))

    async def scene() -> list[Reading]:
        clock = VirtualClock(START)
        found: list[Reading] = []

        async def listen() -> None:
            async for reading in open_source(f"canlog:{tmp_path}/bus.log?map=tesla_model3").readings(clock):
                found.append(reading)

        task = asyncio.create_task(listen())
        await clock.advance_to(START + 2000 * MS)
        await task
        return found

    times = [(each.source_time_ns - START) // MS for each in asyncio.run(scene()) if each.name == s.GEAR]
    assert times == list(range(0, 1000, 20))
