"""A short run of the fuzzer at random, its finds of the past, and that it really reaches what it attacks."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.wire.tables import CloseReason
from tests.fuzz.wire import invent, run


def test_no_input_breaks_a_machine_and_most_reasons_are_reached() -> None:
    rng = random.Random(20240607)
    ends = Counter(run(invent(rng)) for _ in range(4_000))
    reached = {CloseReason.garbage, CloseReason.too_long, CloseReason.wrong_order, CloseReason.bad_frame}
    assert reached | {CloseReason.silence, None} <= set(ends)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes(script: bytes) -> None:
    run(script)


@pytest.mark.parametrize("side", [b"\x00", b"\xff"])
@pytest.mark.parametrize("opened", [b"\x00", b"\xff"])
def test_endless_lengths_and_dribbles_end(side: bytes, opened: bytes) -> None:
    dribble = b"".join(bytes([200, 1, 0]) for _ in range(190))
    assert run(side + opened + dribble) is not None
    assert run(side + opened + bytes([0, 4]) + b"\xff\xff\xff\xff") is CloseReason.too_long
