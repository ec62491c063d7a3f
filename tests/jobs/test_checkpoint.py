"""The checkpoint's form: golden bytes, limits, hostile input."""

from __future__ import annotations

import contextlib
from typing import Any

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given

from runtime.jobs.checkpoint import CHECKPOINT_CAP_BYTES, Checkpoint, CheckpointError


def test_golden_bytes() -> None:
    checkpoint = Checkpoint(agent_kind="click", bundle_sha256=b"\x07" * 32, state=b"ab", rng=b"", tokens=(1, 300))
    data = checkpoint.encode()
    assert (
        data
        == b"\x96\x01\xa5click" + b"\xc4\x20" + b"\x07" * 32 + b"\xc4\x02ab" + b"\xc4\x00" + b"\x92\x01\xcd\x01\x2c"
    )
    assert msgpack.unpackb(data) == [1, "click", b"\x07" * 32, b"ab", b"", [1, 300]]
    assert Checkpoint.decode(data) == checkpoint


@given(
    kind=st.text(min_size=1, max_size=64),
    bundle=st.just(b"") | st.binary(min_size=32, max_size=32),
    state=st.binary(max_size=4000),
    rng=st.binary(max_size=256),
    tokens=st.lists(st.integers(0, 2**32 - 1), max_size=500),
)
def test_what_goes_in_comes_out(kind: str, bundle: bytes, state: bytes, rng: bytes, tokens: list[int]) -> None:
    checkpoint = Checkpoint(agent_kind=kind, bundle_sha256=bundle, state=state, rng=rng, tokens=tuple(tokens))
    assert Checkpoint.decode(checkpoint.encode()) == checkpoint


def test_the_cap_is_exact() -> None:
    room = CHECKPOINT_CAP_BYTES - len(Checkpoint(agent_kind="a", state=b"x" * 60_000).encode()) + 60_000
    full = Checkpoint(agent_kind="a", state=b"x" * room)
    assert len(full.encode()) == CHECKPOINT_CAP_BYTES
    with pytest.raises(CheckpointError, match=f"has {CHECKPOINT_CAP_BYTES + 1} bytes, at most {CHECKPOINT_CAP_BYTES}"):
        Checkpoint(agent_kind="a", state=b"x" * (room + 1)).encode()
    with pytest.raises(CheckpointError, match="at most"):
        Checkpoint.decode(b"\x96" * (CHECKPOINT_CAP_BYTES + 1))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([2, "a", b"", b"", b"", []], "version 2, this build reads 1"),
        ([2, {"anything": "else"}], "version 2"),
        ([1, "a", b"", b"", b""], "damaged"),
        ([1, "a", b"", b"", b"", [], 7], "damaged"),
        ([1, "", b"", b"", b"", []], "damaged"),
        ([1, "a" * 65, b"", b"", b"", []], "damaged"),
        ([1, "a", b"short", b"", b"", []], "5 bytes, expected 32"),
        ([1, "a", b"", "text", b"", []], "damaged"),
        ([1, "a", b"", b"", b"r" * 257, []], "damaged"),
        ([1, "a", b"", b"", b"", [-1]], "damaged"),
        ([1, "a", b"", b"", b"", [2**32]], "damaged"),
        ([1, "a", b"", b"", b"", [1] * 16385], "damaged"),
        ({"version": 1}, "damaged"),
        (1, "damaged"),
        ([], "damaged"),
    ],
)
def test_hostile_forms(form: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Checkpoint.decode(msgpack.packb(form))


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint(agent_kind=""),
        Checkpoint(agent_kind="a", bundle_sha256=b"short"),
        Checkpoint(agent_kind="a", tokens=(-1,)),
        Checkpoint(agent_kind="a", rng=b"r" * 300),
    ],
)
def test_nothing_is_written_that_cannot_be_read(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError):
        checkpoint.encode()


@given(data=st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.decode(data)


@given(cut=st.integers(0, 60), flip=st.integers(0, 60), bit=st.integers(0, 7))
def test_damage_is_told_or_harmless(cut: int, flip: int, bit: int) -> None:
    good = Checkpoint(agent_kind="click", bundle_sha256=b"\x07" * 32, state=b"abcdef", tokens=(1, 300, 70_000)).encode()
    with pytest.raises(CheckpointError):
        Checkpoint.decode(good[: min(cut, len(good) - 1)])
    damaged = bytearray(good)
    damaged[flip % len(good)] ^= 1 << bit
    with contextlib.suppress(CheckpointError):  # any other error would get through
        Checkpoint.decode(bytes(damaged))


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.decode(b"\x91" * 60_000)
