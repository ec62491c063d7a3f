"""The reader of the gate word: the rule of *open* over every field, and files that are no gate word."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from kernels.gate import _gate
from kernels.gate.word import (
    LEASE_MAX_NS,
    REASONS,
    GateReader,
    GateToken,
    GateWordError,
    State,
    boottime_ns,
    reason_bits,
    reason_names,
)

# The byte table of kernels/common/gate_word.h, written down a second time on purpose: the layout is a contract.
LAYOUT = struct.Struct("<I H H I B B H Q Q q Q I 12x")
EPOCH = 7


def word_bytes(**changes: int) -> bytes:
    """Returns a word that is open in EPOCH for another 150 ms, with `changes` by field name."""
    fields = {
        "magic": 0x57474849,
        "version": 1,
        "max_threads": 2,
        "seq": 4,
        "state": 2,
        "reserved": 0,
        "duty_permille": 900,
        "reasons": 0,
        "gate_epoch": EPOCH,
        "lease_until_ns": boottime_ns() + 150_000_000,
        "boot_id_hash": _gate.boot_id_hash(),
        "power_budget_mW": 15_000,
    }
    assert changes.keys() <= fields.keys()
    return LAYOUT.pack(*(fields | changes).values())


@pytest.fixture
def gate_file(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def reader_of(path: Path, **changes: int) -> GateReader:
    path.write_bytes(word_bytes(**changes))
    return GateReader(path)


def seen_open(is_open: Callable[[], bool], file: BinaryIO) -> bool:
    """Whether it is ever open right after the lease was renewed: a busy machine can sleep through a lease of 150 ms."""
    for _ in range(100):
        file.seek(0)
        file.write(word_bytes())
        file.flush()
        if is_open():
            return True
    return False


def test_the_fields_are_read_by_the_byte_table(gate_file: Path) -> None:
    bits = reason_bits(["moving", "dwell"])
    reading = reader_of(gate_file, state=1, reasons=bits, lease_until_ns=12345).read()
    assert (reading.state, reading.reasons, reading.gate_epoch) == (State.WARMING, ("moving", "dwell"), EPOCH)
    assert (reading.lease_until_ns, reading.duty_permille, reading.max_threads) == (12345, 900, 2)
    assert reading.power_budget_mW == 15_000
    assert reading.boot_matches


def test_open_is_open_for_its_own_epoch_only(gate_file: Path) -> None:
    reader = reader_of(gate_file)
    with gate_file.open("r+b") as file:
        assert seen_open(lambda: reader.is_open(EPOCH), file)
        assert seen_open(reader.token(EPOCH).is_open, file)
        assert seen_open(lambda: reader.read().is_open(boottime_ns()), file)
        file.seek(0)
        file.write(word_bytes())
    assert not reader.is_open(EPOCH - 1)
    assert not reader.is_open(EPOCH + 1)


CLOSED_BY = {
    **{f"state {state}": {"state": state} for state in (0, 1, 3, 4, 5, 255)},
    "another boot": {"boot_id_hash": 1},
    "no boot id": {"boot_id_hash": 0},
    "no lease": {"lease_until_ns": 0},
    "lease of the far past": {"lease_until_ns": -(2**63)},
    "lease of the far future": {"lease_until_ns": 2**63 - 1},
}


@pytest.mark.parametrize("changes", CLOSED_BY.values(), ids=CLOSED_BY.keys())
def test_anything_else_is_closed(gate_file: Path, changes: dict[str, int]) -> None:
    reader = reader_of(gate_file, **changes)
    assert not reader.is_open(EPOCH)
    assert not reader.token(EPOCH).is_open()
    assert not reader.read().is_open(boottime_ns())


def test_the_lease_counts_to_the_nanosecond(gate_file: Path) -> None:
    reading = reader_of(gate_file, lease_until_ns=LEASE_MAX_NS + 1000).read()
    assert not reading.is_open(999)  # longer than a lease may be
    assert reading.is_open(1000)
    assert reading.is_open(LEASE_MAX_NS + 999)
    assert not reading.is_open(LEASE_MAX_NS + 1000)


def test_a_token_may_end_sooner_than_the_gate(gate_file: Path) -> None:
    token = reader_of(gate_file).token(EPOCH)
    assert token.until(boottime_ns() + 10_000_000_000).is_open()
    assert not token.until(boottime_ns()).is_open()
    assert not token.until(1).is_open()
    assert token.is_open(), "the token that it was made from goes on"
    assert not reader_of(gate_file, state=0).token(EPOCH).until(boottime_ns() + 10_000_000_000).is_open()


def test_a_lease_too_far_in_the_future_is_closed_for_kernels_too(gate_file: Path) -> None:
    reader = reader_of(gate_file, lease_until_ns=boottime_ns() + 60_000_000_000)
    assert not reader.is_open(EPOCH)


def test_a_mapping_sees_what_is_written_later(gate_file: Path) -> None:
    reader = reader_of(gate_file)
    token = reader.token(EPOCH)
    with gate_file.open("r+b") as file:
        file.write(word_bytes(state=3, reasons=reason_bits(["occupied"])))
    assert not token.is_open()
    assert reader.read().reasons == ("occupied",)


def test_a_writer_killed_inside_reads_as_faulted(gate_file: Path) -> None:
    reader = reader_of(gate_file, seq=5)
    assert reader.read().state is State.FAULTED
    assert reader.read().reasons == ("fault",)
    assert not reader.is_open(EPOCH)


def test_an_unknown_state_or_reason_is_a_value(gate_file: Path) -> None:
    assert reader_of(gate_file, state=77).read().state is State.FAULTED
    assert reader_of(gate_file, state=0, reasons=1 << 63 | 1).read().reasons == ("starting", "unknown_63")


def test_a_token_keeps_its_mapping(gate_file: Path) -> None:
    token = GateToken(reader_of(gate_file)._word, EPOCH)
    with gate_file.open("r+b") as file:
        gate_file.unlink()
        gc.collect()
        assert seen_open(token.is_open, file)
    assert token.address % 8 == 0
    assert token.gate_epoch == EPOCH


BAD_FILES = {
    "63 bytes": (word_bytes()[:-1], "has 63 bytes"),
    "65 bytes": (word_bytes() + b"\0", "has 65 bytes"),
    "empty": (b"", "has 0 bytes"),
    "zeros": (bytes(64), "is not a gate word"),
    "other version": (word_bytes(version=2), "version 2"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_what_is_no_gate_word_is_refused_with_a_next_step(gate_file: Path, content: bytes, message: str) -> None:
    gate_file.write_bytes(content)
    with pytest.raises(GateWordError, match=message) as caught:
        GateReader(gate_file)
    assert str(gate_file) in str(caught.value)
    assert caught.value.advice


def test_an_absent_file_a_link_and_a_folder_are_refused(tmp_path: Path, gate_file: Path) -> None:
    with pytest.raises(GateWordError, match=r"no gate word at .*idlehands bridge"):
        GateReader(gate_file)
    (tmp_path / "real").write_bytes(word_bytes())
    gate_file.symlink_to(tmp_path / "real")
    with pytest.raises(GateWordError, match="cannot be opened"):
        GateReader(gate_file)
    with pytest.raises(GateWordError):
        GateReader(tmp_path)


def test_the_reasons_are_one_table() -> None:
    assert len({reason.bit for reason in REASONS.values()}) == len(REASONS)
    assert REASONS["moving"].urgent
    assert not REASONS["dwell"].urgent
    assert reason_names(reason_bits(REASONS)) == tuple(REASONS)
    with pytest.raises(ValueError, match="no gate reason is called 'movin'"):
        reason_bits(["movin"])


def test_a_read_only_word_cannot_be_written(gate_file: Path) -> None:
    word = reader_of(gate_file)._word
    with pytest.raises(TypeError, match="read-only"):
        word.write(
            max_threads=1,
            state=2,
            duty_permille=0,
            reasons=0,
            gate_epoch=1,
            lease_until_ns=1,
            boot_id_hash=1,
            power_budget_mW=0,
        )
