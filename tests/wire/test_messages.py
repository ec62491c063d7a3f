"""The bytes of every message are golden: an independent decoder reads them, and they never change."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.wire.actions import ACTIONS, INPUTS, Action, Click, Fail, Type, describe, position
from runtime.wire.errors import ProtocolError
from runtime.wire.framing import PREFIX, decode, frame
from runtime.wire.messages import FROM_CAR, FROM_DESKTOP, MESSAGES, Act, FramePart, FromCar, FromDesktop, Hello
from runtime.wire.tables import CloseReason, Encoding, Outcome, Refusal, name_of
from tests.wire import samples
from tests.wire.strategies import messages_from_car, messages_from_desktop
from tests.wire.write_vectors import VECTORS, messages, plain

READER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(FromCar | FromDesktop)


def golden() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((VECTORS / "messages.json").read_text())
    return rows


def test_the_vectors_on_disk_are_what_the_code_writes() -> None:
    assert messages() == golden()


@pytest.mark.parametrize("row", golden(), ids=lambda row: row["name"])
def test_golden_bytes_decode_to_the_message_and_for_msgpack_too(row: dict[str, Any]) -> None:
    data = bytes.fromhex(row["bytes"])
    assert int.from_bytes(data[:PREFIX], "little") == len(data) - PREFIX
    assert decode(memoryview(data)[PREFIX:], READER) == samples.MESSAGES[row["name"]]
    assert plain(msgpack.unpackb(data[PREFIX:])) == row["payload"]


def test_every_message_and_every_action_has_a_golden_sample() -> None:
    assert {type(message) for message in samples.MESSAGES.values()} == set(MESSAGES.values())
    assert {type(action) for action in samples.ACTIONS.values()} == set(ACTIONS)


def test_the_tables_agree_with_the_structs() -> None:
    for number, message in MESSAGES.items():
        assert message.__struct_config__.tag == number
        assert message.__struct_config__.array_like
    assert set(FROM_CAR) == set(get_args(FromCar))
    assert set(FROM_DESKTOP) == set(get_args(FromDesktop))
    assert set(FROM_CAR) | set(FROM_DESKTOP) == set(MESSAGES.values())
    assert set(ACTIONS) == set(get_args(Action))
    assert set(INPUTS) < set(ACTIONS)
    assert [action.__struct_config__.tag for action in ACTIONS] == list(range(1, 13))


def test_the_tables_of_numbers_are_append_only() -> None:
    """A number that was given once keeps its name; add new ones at the end of these lines."""
    assert [member.name for member in Outcome] == ["none", "applied", "refused", "unknown"]
    assert [member.name for member in Encoding] == ["raw", "zstd_begin", "zstd"]
    assert " ".join(member.name for member in Refusal) == (
        "none old_owner wrong_job repeated_seq unknown_frame changed_pixels out_of_bounds taken_over not_an_input "
        "bad_key bad_text not_held not_holdable limits_region limits_window limits_key limits_text limits_rate "
        "limits_hours needs_ask busy failed"
    )
    assert " ".join(member.name for member in CloseReason) == (
        "unspecified job_over yielded cancelled shutting_down silence end_of_stream garbage too_long wrong_order "
        "bad_version old_owner bad_token busy superseded stopped hello_timeout flood bad_frame stalled limits "
        "desktop_lost internal_error"
    )
    for table in (Outcome, Encoding, Refusal, CloseReason):
        assert [int(member) for member in table] == list(range(len(table)))
        assert all(member.meaning for member in table)
    assert name_of(Refusal, 5) == "changed_pixels"
    assert name_of(Refusal, 900) == "number 900"


@settings(max_examples=150, deadline=None)
@given(st.one_of(messages_from_car(), messages_from_desktop()))
def test_any_message_round_trips_and_msgpack_agrees(message: Any) -> None:
    payload = bytes(frame(message))[PREFIX:]
    assert decode(memoryview(payload), READER) == message
    assert msgpack.packb(msgpack.unpackb(payload), use_bin_type=True) == payload


def test_a_reader_ignores_fields_of_a_newer_writer_and_fills_in_those_of_an_older_one() -> None:
    newer = msgpack.packb([1, 1, "job", 7, b"", "", "", [], 1, "new field", {"more": 1}])
    assert decode(memoryview(newer), READER) == Hello(1, "job", 7)
    older = msgpack.packb([3, "job", 7, 1, 2, [2, 10, 20]])
    assert decode(memoryview(older), READER) == Act("job", 7, 1, 2, Click(10, 20))


def test_the_pixels_of_a_frame_part_are_views_of_what_was_received() -> None:
    part = FramePart(1, 64, 64, 0, 0, memoryview(bytes(20)), Encoding.raw, memoryview(bytes(16384)), True)
    received = bytearray(frame(part))
    decoded = decode(memoryview(received)[PREFIX:], READER)
    received[-2] = 0x5A  # the last byte is the field `last`
    assert decoded.data[-1] == 0x5A


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        msgpack.packb([]),
        msgpack.packb({"type": 1}),
        msgpack.packb([99, 1]),
        msgpack.packb([True]),
        msgpack.packb([1]),
        msgpack.packb([1, -1, "job", 7]),
        msgpack.packb([1, 1, "j" * 129, 7]),
        msgpack.packb([1, 1, "job", 2**63]),
        msgpack.packb([1, 1, "job", 7, b"t" * 513]),
        msgpack.packb([2, 0]),
        msgpack.packb([2, 9]),
        msgpack.packb([3, "job", 7, 1, 2, [13, 1]]),
        msgpack.packb([3, "job", 7, 1, 2, [2, 1, 70_000]]),
        msgpack.packb([3, "job", 7, 1, 2, [2, 1, 2, 4]]),
        msgpack.packb([3, "job", 7, 1, 2, [2, 1, 2, 1, 5]]),
        msgpack.packb([3, "job", 7, 1, 2, [3, []]]),
        msgpack.packb([3, "job", 7, 1, 2, [3, [[1, 2]] * 1025]]),
        msgpack.packb([3, "job", 7, 1, 2, [5, "x" * 4097]]),
        msgpack.packb([3, "job", 7, 1, 2, [6, ""]]),
        msgpack.packb([3, "job", 7, 1, 2, [6, "a"], [0, 0, 1, 1, b"short"]]),
        msgpack.packb([3, "job", 7, 1, 2, [1, 2.5, 3]]),
        msgpack.packb([34, 1, 0, 1, 0, 0, b"", 0, b"", True]),
        msgpack.packb([34, 1, 1, 1, 0, 0, b"", 9, b"", True]),
        msgpack.packb([35, 1, 7]),
        b"\x93\x05\x01\xa2\xff\xfe",
        b"\x91" * 60_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
    ids=lambda payload: payload[:12].hex(),
)
def test_what_is_no_message_is_refused_with_a_reason(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message of this protocol") as raised:
        decode(memoryview(payload), READER)
    assert raised.value.reason is CloseReason.garbage


def test_a_message_above_the_cap_is_not_even_made() -> None:
    huge = FramePart(1, 64, 64, 0, 0, memoryview(b""), Encoding.raw, memoryview(bytes(1 << 20)), True)
    with pytest.raises(ValueError, match="1048576"):
        frame(huge)


def test_descriptions_name_the_place_and_never_the_typed_text() -> None:
    for action in ACTIONS:
        assert any(isinstance(sample, action) for sample in samples.ACTIONS.values())
    for sample in samples.ACTIONS.values():
        assert describe(sample)
        assert "\n" not in describe(sample)
    assert describe(Type("hunter2")) == "type 7 characters"
    assert describe(Click(3, 4, count=2, modifiers=("ctrl",))) == "ctrl+double-click at 3,4"
    assert position(Click(3, 4)) == (3, 4)
    assert position(samples.ACTIONS["drag"]) == (300, 4)
    assert position(Fail("x")) is None
