"""One line of the ledger: a JSON object that can be checked by itself, and against the line before it.

    {"n":7,"at_ns":…,"job":"6f…",…,"joules":12.5,…,"car":"<key>","previous":"<hash of 6>","hash":"…","signature":"…"}

`hash` is the sha256 of the line's own JSON with `hash` and `signature` empty, so of `previous` too; `signature` is the
car's (Ed25519) of that hash. A line that was changed does not match its own hash; one that was changed and hashed anew
has no signature of the car's key and does not match the next line's `previous`. What no chain shows by itself is its
end being cut off: for that, a fleet keeps the last hash. A line is a receipt by itself (receipt.py).
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from runtime.ledger.signing import public_hex, sign, verifies

START = "0" * 64  # `previous` of the very first line
LINE_CAP_BYTES = 4096
VERSION = 1
# What the car's key signs here can be taken for nothing else that it signs, a TLS handshake least of all.
_CONTEXT = b"idlehands ledger entry 1\n"
_HASH = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_SIGNATURE = Annotated[str, Meta(pattern=r"^([0-9a-f]{128})?\Z")]
_Amount = Annotated[float, Meta(ge=0, le=1e15)]
_Count = Annotated[int, Meta(ge=0)]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of a job used, as the daemon or a fleet client measured it.

    `gate_epochs` are the gate's epochs at its beginning and its end: they differ where it was held over a closing.
    `seconds` of wall time, `cpu_s` of all threads. `joules` are of computing, from a rail; None where none measured
    them: they are then estimated from `cpu_s`. `awake_joules` are what else the car drew because it was awake only for
    this run. `battery_share` is the part of both that the battery supplied; not known is all of it.
    """

    job: str
    owner_epoch: int
    gate_epochs: tuple[int, int]
    model: str
    seconds: float
    cpu_s: float
    actions: int
    joules: float | None = None
    awake_joules: float = 0.0
    battery_share: float = 1.0


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run as it was booked: the fields of Run, and where it stands in the chain. `at_ns` (UTC) is when.

    `is_estimated` says that `joules` come from a power table, not from a rail; `awake_joules` are always the car's
    assumed awake power times the time. `battery_joules` of both went through the battery. `car` is the raw public key
    of the car that signed, in hexadecimal.
    """

    version: Annotated[int, Meta(ge=1, le=VERSION)] = VERSION
    n: Annotated[int, Meta(ge=1)]
    at_ns: int
    job: Annotated[str, Meta(max_length=128)]
    owner_epoch: int
    gate_epochs: tuple[int, int]
    model: Annotated[str, Meta(max_length=256)]
    seconds: _Amount
    cpu_s: _Amount
    actions: _Count
    joules: _Amount
    is_estimated: bool
    awake_joules: _Amount
    battery_joules: _Amount
    car: _HASH
    previous: _HASH
    hash: str = ""
    signature: _SIGNATURE = ""

    def line(self) -> bytes:
        """Returns the line, with its end."""
        return msgspec.json.encode(self) + b"\n"

    def sealed(self, key: Ed25519PrivateKey) -> Entry:
        """Returns this entry with `key` as its car, its hash and its signature."""
        entry = msgspec.structs.replace(self, car=public_hex(key), hash="", signature="")
        digest = entry.digest()
        return msgspec.structs.replace(entry, hash=digest, signature=sign(key, _CONTEXT, digest))

    def is_consistent(self) -> bool:
        """Returns whether the line matches its own hash."""
        return self.hash == self.digest()

    def is_signed(self) -> bool:
        """Returns whether the signature is that of the key in `car`. Whose key that is, another must know."""
        return verifies(self.car, self.signature, _CONTEXT, self.hash)

    def digest(self) -> str:
        """Returns what `hash` must be."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, hash="", signature=""))).hexdigest()


_decoder = msgspec.json.Decoder(Entry)


def read_line(line: bytes) -> Entry | None:
    """Returns the entry of a line without its end, None if it is damaged in any way. Signatures are `verify`'s."""
    try:
        entry = _decoder.decode(line) if len(line) < LINE_CAP_BYTES else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if entry is None or not entry.is_consistent() or entry.line() != line + b"\n":
        return None
    return entry
