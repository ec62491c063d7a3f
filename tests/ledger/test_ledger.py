"""The ledger: nothing that was booked is lost, and nothing that was changed goes unseen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from runtime.ledger.audit import Damage, read_entries, receipts, verify, waiting
from runtime.ledger.chain import BUSY_CORE_W
from runtime.ledger.entry import START, Entry, read_line
from runtime.ledger.ledger import COUNTERSIGNED, Ledger, LedgerError, segments
from runtime.ledger.receipt import Receipt, ReceiptError, countersign
from runtime.ledger.signing import public_hex
from tests.faults.attack import Mode, run_module
from tests.ledger.car import FLEET_KEY, KEY, OTHER_KEY, a_run


class Clock:
    def __init__(self) -> None:
        self.ns = 1_000

    def __call__(self) -> int:
        self.ns += 1
        return self.ns


def book(ledger: Ledger, number: int, **changes: Any) -> Entry:
    return ledger.append(a_run(number, **changes))


def a_ledger(folder: Path, count: int, **options: Any) -> Ledger:
    ledger = Ledger(folder, KEY, clock=Clock(), **options)
    for number in range(1, count + 1):
        book(ledger, number)
    return ledger


def test_booked_read_and_summed(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, 3)
    measured = book(ledger, 4, model="other", joules=100.0)
    assert measured.joules == 100.0
    assert not measured.is_estimated
    found = list(read_entries(tmp_path))
    assert [entry.n for entry in found if isinstance(entry, Entry)] == [1, 2, 3, 4]
    assert verify(tmp_path).is_whole
    assert verify(tmp_path).last_hash == ledger.last_hash == measured.hash
    first = found[0]
    assert isinstance(first, Entry)
    assert (first.joules, first.is_estimated) == (1.5 * BUSY_CORE_W, True)
    assert len(list(receipts(tmp_path, first.at_ns + 1, first.at_ns + 3))) == 2
    ledger.close()
    ledger.close()


def test_it_goes_on_after_a_restart_and_over_segments(tmp_path: Path) -> None:
    for start in range(1, 40, 4):
        ledger = Ledger(tmp_path, KEY, clock=Clock(), segment_bytes=1000)
        for number in range(start, start + 4):
            book(ledger, number)
        assert ledger.set_aside == []
        ledger.close()
    assert len(segments(tmp_path)) > 5
    assert verify(tmp_path).entries == 40
    assert verify(tmp_path).is_whole


def test_an_empty_or_absent_ledger(tmp_path: Path) -> None:
    assert verify(tmp_path / "absent").last_hash == START
    Ledger(tmp_path / "new", KEY).close()
    verdict = verify(tmp_path / "new")
    assert (verdict.entries, verdict.is_whole, verdict.last_hash) == (0, True, START)
    assert list(receipts(tmp_path / "new")) == []


def test_one_daemon_at_a_time_and_readers_beside(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, 1)
    with pytest.raises(LedgerError, match="held by another process; stop the other daemon"):
        Ledger(tmp_path, KEY)
    assert verify(tmp_path).entries == 1
    ledger.close()
    Ledger(tmp_path, KEY).close()


def test_every_truncation_keeps_what_is_whole(tmp_path: Path) -> None:
    a_ledger(tmp_path / "whole", 3).close()
    data = (tmp_path / "whole" / "000001.jsonl").read_bytes()
    ends = [at + 1 for at in range(len(data)) if data[at : at + 1] == b"\n"]
    for size in range(len(data)):
        folder = tmp_path / "cut"
        folder.mkdir(exist_ok=True)
        (folder / "000001.jsonl").write_bytes(data[:size])
        ledger = Ledger(folder, KEY, clock=Clock())
        whole = sum(end <= size for end in ends)
        torn = size - ([0, *ends][whole])
        assert [path.read_bytes() for path in ledger.set_aside] == ([data[size - torn : size]] if torn else [])
        assert book(ledger, 9).n == whole + 1
        ledger.close()
        assert verify(folder).is_whole
        for path in ledger.set_aside:
            path.unlink()


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_is_seen(tmp_path_factory: pytest.TempPathFactory, at: float, change: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped-ledger"
    whole = folder / "000001.jsonl"
    if not folder.exists():
        a_ledger(folder, 4).close()
        (folder / "good").write_bytes(whole.read_bytes())
    data = bytearray((folder / "good").read_bytes())
    at_byte = int(at * len(data))
    data[at_byte] ^= change
    whole.write_bytes(data)
    verdict = verify(folder)
    last_line = at_byte > data.rfind(b"\n", 0, len(data) - 1)
    assert not verdict.is_whole or (last_line and verdict.entries < 4)


def test_damage_in_the_middle_loses_nothing_after_it(tmp_path: Path) -> None:
    a_ledger(tmp_path, 5).close()
    path = tmp_path / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"seconds":2.0', b'"seconds":9.0')
    path.write_bytes(b"".join(lines))
    ledger = Ledger(tmp_path, KEY, clock=Clock())
    assert ledger.set_aside == []
    assert book(ledger, 6).n == 6
    ledger.close()
    verdict = verify(tmp_path)
    assert [str(damage) for damage in verdict.damages] == ["000001.jsonl, line 3: the line does not match its own hash"]
    assert verdict.entries == 5
    assert len(list(receipts(tmp_path))) == 5


def test_a_line_replaced_removed_or_doubled_is_seen(tmp_path: Path) -> None:
    a_ledger(tmp_path, 5).close()
    path = tmp_path / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    tree = json.loads(lines[2])
    tree["gate_epochs"] = tuple(tree["gate_epochs"])
    forged = Entry(**{**tree, "actions": 1000}).sealed(KEY).line()
    for changed, said in [
        ([*lines[:2], forged, *lines[3:]], "that one was replaced"),
        ([*lines[:2], *lines[3:]], "1 are missing or doubled"),
        ([*lines[:3], *lines[2:]], "missing or doubled"),
        ([lines[1], lines[0], *lines[2:]], "missing or doubled"),
        (lines[1:], "follows entry 0"),
    ]:
        path.write_bytes(b"".join(changed))
        assert any(said in damage.what for damage in verify(tmp_path).damages), said


def test_a_run_booked_twice_is_seen(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, 2)
    book(ledger, 2)
    ledger.close()
    assert [damage.what for damage in verify(tmp_path).damages] == ["books job job-2 under owner 2 again"]


def test_a_whole_segment_that_is_missing_is_seen(tmp_path: Path) -> None:
    a_ledger(tmp_path, 20, segment_bytes=1000).close()
    segments(tmp_path)[2].unlink()
    assert len(verify(tmp_path).damages) == 1


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("name", ["seconds", "cpu_s", "joules"])
def test_amounts_that_cannot_be(tmp_path: Path, name: str, amount: float) -> None:
    ledger = a_ledger(tmp_path, 1)
    if name == "joules" and amount == float("inf"):
        amount = -1e-9
    with pytest.raises(ValueError, match=r"no run can use|does not fit"):
        book(ledger, 2, **{name: amount})
    assert book(ledger, 2).n == 2
    ledger.close()
    assert verify(tmp_path).is_whole


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, 1)
    for bad in ("x" * 129, "\ud800"):
        with pytest.raises((ValueError, UnicodeEncodeError)):
            book(ledger, 2, job=bad)
    book(ledger, 2, job="Zeile\nZwei \u2028")
    ledger.close()
    assert verify(tmp_path).entries == 2


def test_lines_of_another_key_are_seen(tmp_path: Path) -> None:
    a_ledger(tmp_path, 2).close()
    other = Ledger(tmp_path, OTHER_KEY)
    forged = other.append(a_run(3))
    other.close()
    assert verify(tmp_path).cars == (public_hex(KEY), public_hex(OTHER_KEY))
    assert verify(tmp_path).is_whole, "an identity made anew is no damage, it is told"
    (damage,) = verify(tmp_path, car=public_hex(KEY)).damages
    assert "expected a receipt of car" in damage.what
    path = tmp_path / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    unsigned = Entry(**{name: getattr(forged, name) for name in forged.__struct_fields__ if name != "signature"})
    path.write_bytes(b"".join([*lines[:2], unsigned.line()]))
    assert "not that of the car's key" in verify(tmp_path).damages[0].what


def test_answers_are_kept_and_what_waits_is_known(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, 3)
    first, second, third = waiting(tmp_path)
    with pytest.raises(ReceiptError, match="no fleet has counter-signed"):
        ledger.keep(first)
    with pytest.raises(ReceiptError, match="none of the fleet's keys"):
        ledger.keep(countersign(first, OTHER_KEY, 5), fleet={public_hex(FLEET_KEY)})
    ledger.keep(countersign(second, FLEET_KEY, 5), fleet={public_hex(FLEET_KEY)})
    assert list(waiting(tmp_path)) == [first, third]
    ledger.close()
    torn = (tmp_path / COUNTERSIGNED).read_bytes()
    (tmp_path / COUNTERSIGNED).write_bytes(torn + torn[:40])
    ledger = Ledger(tmp_path, KEY)
    ledger.keep(countersign(first, FLEET_KEY, 6))
    ledger.close()
    assert list(waiting(tmp_path)) == [third]
    assert [bool(receipt.countersignature) for receipt in receipts(tmp_path)] == [True, True, False]
    assert verify(tmp_path).countersigned == 2
    changed = (tmp_path / COUNTERSIGNED).read_bytes().replace(b'"at_ns":6', b'"at_ns":7')
    (tmp_path / COUNTERSIGNED).write_bytes(changed)
    assert "the counter-signature is not that of" in verify(tmp_path).damages[0].what


def test_a_receipt_of_another_car_is_not_kept(tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other", OTHER_KEY)
    receipt = countersign(Receipt(entry=other.append(a_run(1))), FLEET_KEY, 1)
    other.close()
    ledger = a_ledger(tmp_path / "mine", 1)
    with pytest.raises(ReceiptError, match="expected a receipt of car"):
        ledger.keep(receipt)
    ledger.close()


@given(data=st.binary(max_size=200))
def test_garbage_is_no_line(data: bytes) -> None:
    assert read_line(data) is None


def test_rights_that_are_missing_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerError, match="cannot be written"):
        Ledger(tmp_path / "file" / "ledger", KEY)


def test_the_folder_is_for_its_owner(tmp_path: Path) -> None:
    a_ledger(tmp_path / "ledger", 1).close()
    assert os.stat(tmp_path / "ledger").st_mode & 0o077 == 0
    assert not any(isinstance(found, Damage) for found in read_entries(tmp_path / "ledger"))


@pytest.mark.parametrize("mode", Mode)
def test_a_fault_at_any_write_loses_nothing_that_was_booked(mode: Mode) -> None:
    printed = run_module("tests.ledger.faulty_ledger", mode.name)
    assert int(printed.split()[-1]) > 5, printed
