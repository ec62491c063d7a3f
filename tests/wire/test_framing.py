"""Cutting a stream into messages, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.wire.errors import ProtocolError
from runtime.wire.framing import Splitter
from runtime.wire.tables import CloseReason

CAP = 300


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(len(payload).to_bytes(4, "little") + payload for payload in payloads)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=CAP), max_size=8), st.lists(st.integers(1, 400), max_size=40))
def test_messages_are_the_same_however_the_stream_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream, splitter, got, at = framed(payloads), Splitter(CAP), [], 0
    for size in [*cuts, len(stream)]:
        for view in splitter.feed(stream[at : at + size]):
            assert memoryview(view).readonly
            got.append(bytes(view))
        at += size
        assert splitter.pending_bytes <= CAP + 4
    assert got == payloads
    assert splitter.pending_bytes == 0


def test_one_byte_at_a_time() -> None:
    splitter = Splitter(CAP)
    got = [bytes(view) for byte in framed([b"abc", b"d" * CAP]) for view in splitter.feed(bytes([byte]))]
    assert got == [b"abc", b"d" * CAP]


def test_a_whole_message_in_one_chunk_is_a_view_of_it() -> None:
    chunk = bytearray(framed([b"abc"]))
    (view,) = Splitter(CAP).feed(chunk)
    chunk[-1:] = b"X"
    assert bytes(view) == b"abX"


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("length", "reason"),
    [(0, CloseReason.garbage), (CAP + 1, CloseReason.too_long), (2**32 - 1, CloseReason.too_long)],
)
def test_an_impossible_length_is_refused_before_anything_is_gathered(
    length: int, reason: CloseReason, split: bool
) -> None:
    splitter = Splitter(CAP)
    prefix = length.to_bytes(4, "little")
    if split:
        assert list(splitter.feed(prefix[:2])) == []
    with pytest.raises(ProtocolError) as raised:
        list(splitter.feed(prefix[2:] + b"x" if split else prefix + b"x"))
    assert raised.value.reason is reason
    assert splitter.pending_bytes <= 4


def test_what_came_before_a_bad_length_is_still_given_out() -> None:
    feeding = iter(Splitter(CAP).feed(framed([b"good"]) + bytes(4)))
    assert bytes(next(feeding)) == b"good"
    with pytest.raises(ProtocolError):
        next(feeding)


def test_a_claimed_length_costs_no_memory() -> None:
    splitter = Splitter(1 << 20)
    assert list(splitter.feed((1 << 20).to_bytes(4, "little") + b"x")) == []
    assert splitter.pending_bytes == 5
