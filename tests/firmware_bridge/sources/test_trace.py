"""Replay on a virtual clock: repeats, silence, cues, ends; and a recording replays as what was recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from firmware_bridge import signals as s
from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import SourceError
from firmware_bridge.readings import Quality, Reading
from firmware_bridge.sources.cues import Cues, give_cue
from firmware_bridge.sources.table import open_source
from firmware_bridge.sources.trace import Player, Recorder, TraceSource
from firmware_bridge.sources.trace_file import Moment, Trace, read_trace
from tests.firmware_bridge.parked import MS, START

DEMO = Path(__file__).parents[3] / "runtime/demo/drive.jsonl"


def trace(*moments: Moment, repeat_ms: int = 50) -> Trace:
    return Trace("t", "", repeat_ms * MS, moments)


def told(readings: list[Reading]) -> list[tuple[float, str, object]]:
    return [((r.source_time_ns - START) / MS, r.name.rpartition(".")[2], r.value) for r in readings]


def test_values_are_repeated_until_they_change_or_fall_silent() -> None:
    player = Player(
        trace(
            Moment(0, {s.SPEED: 1.0}),
            Moment(75 * MS, {s.SPEED: 2.0}),
            Moment(120 * MS, silent=(s.SPEED,)),
            Moment(200 * MS),
        ),
        START,
        None,
        holds_end=False,
    )
    assert told(list(player.due(START + 300 * MS))) == [
        (0, "Speed", 1.0),
        (50, "Speed", 1.0),
        (75, "Speed", 2.0),
        (100, "Speed", 2.0),
    ]
    assert player.is_over


def test_a_recording_is_not_repeated_but_held_at_its_end() -> None:
    moments = (Moment(0, {s.SPEED: 1.0}), Moment(120 * MS, {s.SPEED: 2.0}))
    player = Player(trace(*moments, repeat_ms=0), START, None, holds_end=True)
    assert told(list(player.due(START + 240 * MS))) == [
        (0, "Speed", 1.0),
        (120, "Speed", 2.0),
        (170, "Speed", 2.0),
        (220, "Speed", 2.0),
    ]
    assert not player.is_over


@pytest.mark.parametrize("repeat_ms", [50, 0])
def test_time_stands_still_at_a_cue(repeat_ms: int) -> None:
    given: set[str] = set()
    player = Player(
        trace(
            Moment(0, {s.SPEED: 0.0}), Moment(10 * MS, cue="go"), Moment(30 * MS, {s.SPEED: 9.0}), repeat_ms=repeat_ms
        ),
        START,
        lambda cue: cue in given,
        holds_end=False,
    )
    readings = list(player.due(START + 500 * MS))
    assert {r.value for r in readings} == {0.0}
    assert readings[-1].source_time_ns > START + 400 * MS  # fresh source times
    given.add("go")
    assert not list(player.due(START + 505 * MS))  # here the cue is noticed, at 10 ms of the trace
    assert {r.value for r in player.due(START + 524 * MS)} <= {0.0}
    assert told(list(player.due(START + 525 * MS)))[-1] == (525, "Speed", 9.0)
    assert player.is_over


def test_a_cue_given_before_is_kept_and_without_cues_it_is_passed_over() -> None:
    moments = (Moment(0, cue="go"), Moment(30 * MS, {s.SPEED: 9.0}))
    for take in (lambda cue: True, None):
        player = Player(trace(*moments), START, take, holds_end=False)
        assert told(list(player.due(START + 30 * MS)))[-1] == (30, "Speed", 9.0)


def test_qualities_and_unknown_values_are_passed_on() -> None:
    moments = (Moment(0, {s.SPEED: None}), Moment(MS, {s.SPEED: 3.0}, Quality.INVALID))
    player = Player(trace(*moments, repeat_ms=0), START, None, holds_end=False)
    assert [(r.value, r.quality, r.unit) for r in player.due(START + MS)] == [
        (None, Quality.GOOD, "km/h"),
        (3.0, Quality.INVALID, "km/h"),
    ]


async def collect(source: TraceSource | Recorder, for_ms: int) -> list[Reading]:
    clock = VirtualClock(START)
    found: list[Reading] = []

    async def listen() -> None:
        async for reading in source.readings(clock):
            found.append(reading)

    task = asyncio.create_task(listen())
    await clock.advance_to(START + for_ms * MS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


def test_a_recording_replays_as_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "recorded.jsonl"
    first = asyncio.run(collect(Recorder(TraceSource(read_trace(DEMO)), path), 5000))
    again = asyncio.run(collect(TraceSource(read_trace(path)), 5000))
    assert len(first) > 1000
    assert again == first


def test_recording_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be written"):
        asyncio.run(_drain(Recorder(TraceSource(trace(Moment(0))), tmp_path / "none" / "x")))


async def _drain(source: Recorder) -> None:
    async for _ in source.readings(VirtualClock(START)):
        pass


def test_urls(tmp_path: Path) -> None:
    source = open_source(f"trace:{DEMO}?end=hold&cues={tmp_path}/cues")
    assert isinstance(source, TraceSource)
    assert (tmp_path / "cues").exists()
    for url, words in [
        ("trase:x", "no scheme is called 'trase'"),
        ("nothing", "no scheme is called 'nothing'"),
        (f"trace:{DEMO}?ends=hold", "did you mean end"),
        (f"trace:{DEMO}?end=loop", "end must be hold or stop"),
        (f"trace:{DEMO}?end", "options must look like"),
        (f"trace:{DEMO}?cues={tmp_path}", "is no FIFO"),
        (f"trace:{DEMO}?cues={tmp_path}/none/cues", "cannot be made"),
    ]:
        with pytest.raises(SourceError, match=words):
            open_source(url)


def test_cues_go_through_the_fifo(tmp_path: Path) -> None:
    cues = Cues(tmp_path / "cues")
    give_cue(cues.path, "one")
    give_cue(cues.path, "two")
    assert not cues.take("three")
    assert cues.take("two")
    assert not cues.take("two")
    assert cues.take("one")
    with open(cues.path, "w", encoding="ascii") as shell:
        shell.write("thr")
        shell.flush()
        assert not cues.take("three")
        shell.write("ee\n\n")
    assert cues.take("three")
    cues.close()
    cues.close()
    assert not cues.path.exists()
