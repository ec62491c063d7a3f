"""The trace format: what is wrong says file and line; what is written is read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.errors import TraceError
from firmware_bridge.readings import Quality
from firmware_bridge.signals import SIGNALS
from firmware_bridge.sources.trace_file import Moment, header_line, moment_line, read_trace

HEADER = '{"idlehands_trace": 1}'


def write(folder: Path, *lines: str) -> Path:
    path = folder / "t.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty, expected a header"),
        (["{}"], "t.jsonl:1 is no header"),
        (["[]"], "t.jsonl:1 must be a JSON object"),
        (['{"idlehands_trace": 2}'], "trace version 2, this build reads 1"),
        (['{"idlehands_trace": 1, "repeat": 5}'], "unknown keys"),
        (['{"idlehands_trace": 1, "repeat_ms": -5}'], "repeat_ms must be from 1 to 10000, got -5"),
        (['{"idlehands_trace": 1, "repeat_ms": "x"}'], "repeat_ms must be a number, got 'x'"),
        ([HEADER, '{"t_ms": 5}', '{"t_ms": 4}'], "t.jsonl:3: times must not fall, got 4 ms after 5 ms"),
        ([HEADER, '{"t_ms": 5, '], "t.jsonl:2 is not JSON"),
        ([HEADER, '{"readings": {}}'], "t_ms is missing"),
        ([HEADER, '{"t_ms": true}'], "t_ms must be a number, got True"),
        ([HEADER, '{"t_ms": NaN}'], "t_ms must be a number, got nan"),
        ([HEADER, '{"t_ms": -1}'], "t_ms must be from 0"),
        ([HEADER, '{"t_ms": 0, "cues": "x"}'], r"unknown keys \['cues'\]"),
        ([HEADER, '{"t_ms": 0, "cue": 1}'], "cue a text"),
        ([HEADER, '{"t_ms": 0, "readings": {"Vehicle.Sped": 1}}'], "no signal of the table is called 'Vehicle.Sped'"),
        ([HEADER, '{"t_ms": 0, "silent": ["x"]}'], "no signal of the table is called 'x'"),
        ([HEADER, '{"t_ms": 0, "readings": {"Vehicle.Speed": [1]}}'], "must be a flag, a number, a text or null"),
        ([HEADER, '{"t_ms": 0, "quality": "bad"}'], "quality must be one of good, stale"),
        ([HEADER, '{"t_ms": 0, "readings": {"' + s.FILTERED_12V + '": 1}}'], "no signal of the table"),
    ],
)
def test_wrong_traces_say_where(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(TraceError, match=words):
        read_trace(write(tmp_path, *lines))


def test_absent_and_empty(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="there is no trace"):
        read_trace(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(TraceError, match="is empty, expected a header"):
        read_trace(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "binary.jsonl")


_names = st.sampled_from([name for name, row in SIGNALS.items() if not row.is_derived])
_values = st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5))
_moments = st.builds(
    Moment,
    st.integers(0, 10**9).map(lambda us: us * 1000),
    st.dictionaries(_names, _values, max_size=4),
    st.sampled_from(list(Quality)),
    st.lists(_names, max_size=2).map(tuple),
    st.text(max_size=8),
)


@given(st.lists(_moments, max_size=8).map(lambda found: sorted(found, key=lambda each: each.time_ns)))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, moments: list[Moment]) -> None:
    folder = tmp_path_factory.mktemp("trace")
    trace = read_trace(write(folder, header_line("note", 20), *map(moment_line, moments)))
    assert trace.moments == tuple(moments)
    assert (trace.note, trace.repeat_ns) == ("note", 20_000_000)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_a_trace_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.jsonl"
    path.write_bytes(HEADER.encode() + b"\n" + data)
    try:
        read_trace(path)
    except TraceError:
        return
