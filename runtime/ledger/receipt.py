"""A receipt: one signed entry of a car's ledger that goes to the fleet, and comes back counter-signed. Pure.

    car     Receipt(entry).encode()                         a self-standing JSON document, at most 8 KiB
    fleet   receipt = decode_receipt(data)                  raises ReceiptError for anything else
            verify_receipt(receipt, car=known_key)          whole, and signed by the car that it should be from
            countersign(receipt, fleet_key, at_ns)          the fleet's word that it has it
    car     verify_receipt(receipt, fleet={fleet's key})    the fleet's word is what the car waited for
            Ledger.keep(receipt)                            (ledger.py) kept beside the entry

Keys are Ed25519; a receipt names them by their raw public key in 64 hexadecimal digits (`public_hex` of signing.py). A
receipt proves that the car's key signed these numbers, in this place of its chain; that the numbers are true, spot
checks must show. Receipts of one car must have consecutive `n`, each `previous` the hash of the one before
(`follows`), and no (job, owner_epoch) twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Annotated, ClassVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from runtime.errors import RuntimeFault
from runtime.ledger.entry import START, Entry
from runtime.ledger.signing import public_hex, sign, verifies

RECEIPT_CAP_BYTES = 8192
_CONTEXT = b"idlehands countersignature 1\n"


class ReceiptError(RuntimeFault):
    """A receipt is no receipt, was changed, or is not signed by whom it should be."""

    next_step: ClassVar[str] = "ask its sender for the entry of its ledger; count nothing of this one"


class Countersignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fleet's word that it took the receipt at `at_ns` (UTC). `fleet` is the raw public key in hexadecimal."""

    fleet: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    at_ns: int
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry, and the fleet's counter-signature once there is one."""

    entry: Entry
    countersignature: Countersignature | None = None

    def encode(self) -> bytes:
        """Returns the document that `decode_receipt` reads."""
        return msgspec.json.encode(self)


_decoder = msgspec.json.Decoder(Receipt)


def decode_receipt(data: bytes) -> Receipt:
    """Returns the receipt of a document; nothing is verified yet. Raises ReceiptError."""
    if len(data) > RECEIPT_CAP_BYTES:
        raise ReceiptError(f"a receipt has at most {RECEIPT_CAP_BYTES} bytes, this one {len(data)}")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReceiptError(f"this is no receipt: {error}") from error


def verify_receipt(receipt: Receipt, *, car: str | None = None, fleet: Collection[str] | None = None) -> None:
    """Returns if the receipt is whole and signed, raises ReceiptError with the reason if not.

    `car` is the public key that must have signed it; None takes any, and then only says that nobody changed it since.
    `fleet` are the public keys of which one must have counter-signed it; None asks for no counter-signature, but one
    that is there must still be right.
    """
    entry, counter = receipt.entry, receipt.countersignature
    where = f"receipt {entry.n} of car {entry.car[:16]} for job {entry.job!r}"
    if not entry.is_consistent():
        raise ReceiptError(f"{where}: its hash is {entry.hash[:16]}…, its content has {entry.digest()[:16]}…")
    if car is not None and entry.car != car:
        raise ReceiptError(f"{where}: expected a receipt of car {car[:16]}")
    if not entry.is_signed():
        raise ReceiptError(f"{where}: the signature is not that of the car's key")
    if counter is None:
        if fleet is not None:
            raise ReceiptError(f"{where}: no fleet has counter-signed it")
        return
    if fleet is not None and counter.fleet not in fleet:
        raise ReceiptError(f"{where}: counter-signed by {counter.fleet[:16]}, which is none of the fleet's keys")
    if not verifies(counter.fleet, counter.signature, _CONTEXT, _counter_digest(entry, counter.at_ns)):
        raise ReceiptError(f"{where}: the counter-signature is not that of the key {counter.fleet[:16]}")


def countersign(receipt: Receipt, key: Ed25519PrivateKey, at_ns: int, *, car: str | None = None) -> Receipt:
    """Returns the receipt with the fleet's word for it, given at `at_ns` (UTC).

    Verifies it first, as `verify_receipt(receipt, car=car)`: raises ReceiptError. A counter-signature that it has
    already is replaced; both are valid, so that a fleet which forgot its answer may give it again.
    """
    verify_receipt(msgspec.structs.replace(receipt, countersignature=None), car=car)
    signature = sign(key, _CONTEXT, _counter_digest(receipt.entry, at_ns))
    counter = Countersignature(fleet=public_hex(key), at_ns=at_ns, signature=signature)
    return msgspec.structs.replace(receipt, countersignature=counter)


def follows(entry: Entry, before: Entry | None) -> bool:
    """Returns whether `entry` is the next one after `before` in its car's chain; None is the chain's beginning."""
    if before is None:
        return entry.n == 1 and entry.previous == START
    return entry.n == before.n + 1 and entry.previous == before.hash


def _counter_digest(entry: Entry, at_ns: int) -> str:
    """The car's signature is among what is counter-signed, so that the two belong together for ever."""
    return hashlib.sha256(msgspec.json.encode([entry.hash, entry.signature, at_ns])).hexdigest()
