"""The file `countersigned`: which receipts the fleet has answered, one a line: {"hash": …, "countersignature": …}.

A line that is damaged counts as no answer: the receipt is sent again, and the fleet answers again.
"""

from __future__ import annotations

import msgspec

from runtime.ledger.receipt import Countersignature, Receipt


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hash: str
    countersignature: Countersignature


_decoder = msgspec.json.Decoder(_Answer)


def answer_line(receipt: Receipt) -> bytes:
    """Returns the line of a counter-signed receipt, with its end."""
    assert receipt.countersignature is not None, "only what was counter-signed is kept"
    return msgspec.json.encode(_Answer(receipt.entry.hash, receipt.countersignature)) + b"\n"


def read_answers(data: bytes) -> dict[str, Countersignature]:
    """Returns the counter-signatures in the file's bytes, by the hash of their entry; the last one of each counts."""
    found = {}
    for line in data.split(b"\n"):
        try:
            answer = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        found[answer.hash] = answer.countersignature
    return found
