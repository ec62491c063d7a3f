"""Receipts: whole and rightly signed, or refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from runtime.ledger.chain import Chain
from runtime.ledger.entry import Entry
from runtime.ledger.receipt import (
    RECEIPT_CAP_BYTES,
    Receipt,
    ReceiptError,
    countersign,
    decode_receipt,
    follows,
    verify_receipt,
)
from runtime.ledger.signing import public_hex
from tests.ledger.car import FLEET_KEY, KEY, OTHER_KEY, a_run

CAR, FLEET = public_hex(KEY), public_hex(FLEET_KEY)


def a_receipt(**changes: Any) -> Receipt:
    return Receipt(entry=Chain(KEY).entry(a_run(1, **changes), at_ns=7))


def test_the_way_of_a_receipt() -> None:
    sent = a_receipt(joules=12.5, awake_joules=300.0, battery_share=0.5).encode()
    assert len(sent) < 1000
    taken = decode_receipt(sent)
    verify_receipt(taken, car=CAR)
    assert (taken.entry.joules, taken.entry.is_estimated, taken.entry.awake_joules) == (12.5, False, 300.0)
    assert taken.entry.battery_joules == 156.25
    back = decode_receipt(countersign(taken, FLEET_KEY, 9, car=CAR).encode())
    verify_receipt(back, car=CAR, fleet={"0" * 64, FLEET})
    again = countersign(back, FLEET_KEY, 10)
    verify_receipt(again, fleet={FLEET})
    assert again.entry == back.entry


def test_what_is_not_as_it_should_be_is_refused() -> None:
    receipt = a_receipt()
    signed = countersign(receipt, FLEET_KEY, 9)
    richer = msgspec.structs.replace(receipt.entry, actions=10**6)
    assert signed.countersignature is not None
    later = msgspec.structs.replace(signed.countersignature, at_ns=10)
    for wrong, keys, said in [
        (Receipt(entry=richer), {}, "its hash is"),
        (Receipt(entry=msgspec.structs.replace(richer, hash=richer.digest())), {}, "not that of the car's key"),
        (Receipt(entry=richer.sealed(OTHER_KEY)), {"car": CAR}, "expected a receipt of car"),
        (receipt, {"fleet": {FLEET}}, "no fleet has counter-signed"),
        (countersign(receipt, OTHER_KEY, 9), {"fleet": {FLEET}}, "none of the fleet's keys"),
        (Receipt(entry=receipt.entry, countersignature=later), {}, "the counter-signature is not that of"),
        (Receipt(entry=a_receipt(actions=2).entry, countersignature=signed.countersignature), {}, "counter-signature"),
    ]:
        with pytest.raises(ReceiptError, match=said):
            verify_receipt(wrong, **keys)
    with pytest.raises(ReceiptError, match="not that of the car's key"):
        countersign(Receipt(entry=msgspec.structs.replace(richer, hash=richer.digest())), FLEET_KEY, 1)
    with pytest.raises(ReceiptError, match="expected a receipt of car"):
        countersign(receipt, FLEET_KEY, 1, car=public_hex(OTHER_KEY))


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_is_refused(at: float, change: int) -> None:
    data = bytearray(countersign(a_receipt(), FLEET_KEY, 9).encode())
    data[int(at * len(data))] ^= change
    with pytest.raises(ReceiptError):
        verify_receipt(decode_receipt(bytes(data)), car=CAR, fleet={FLEET})


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"[" * 5000, b" " * RECEIPT_CAP_BYTES + b"{}"])
def test_garbage_is_no_receipt(data: bytes) -> None:
    with pytest.raises(ReceiptError, match="receipt"):
        decode_receipt(data)


def test_a_field_more_is_no_receipt() -> None:
    tree = json.loads(a_receipt().encode())
    tree["entry"]["bonus"] = 1
    with pytest.raises(ReceiptError, match="bonus"):
        decode_receipt(json.dumps(tree).encode())


def test_the_chain_of_a_client_without_a_file() -> None:
    chain, before = Chain(KEY), None
    made: list[Entry] = []
    for number in range(1, 5):
        entry = chain.entry(a_run(number), at_ns=number)
        assert chain.entry(a_run(number), at_ns=number) == entry, "what was not taken is made anew"
        chain.take(entry)
        assert follows(entry, before)
        made.append(entry)
        before = entry
    assert not follows(made[2], made[0])
    assert not follows(made[1], None)
    assert not follows(made[3].sealed(OTHER_KEY), made[3])


@pytest.mark.parametrize("field", ["seconds", "cpu_s", "joules", "awake_joules", "battery_share"])
@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf"), 1e16])
def test_amounts_that_no_run_can_use(field: str, amount: float) -> None:
    with pytest.raises(ValueError, match=r"no run can use|does not fit"):
        Chain(KEY).entry(a_run(1, **{field: amount}), at_ns=1)
