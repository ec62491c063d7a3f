"""One line of the ledger: a JSON object that can be checked by itself, and against the line before it.

    {"n":7,"at_ns":…,"job":"6f…",…,"joules":12.5,"is_estimated":true,"previous":"<hash of 6>","hash":"…"}

`hash` is the sha256 of the line's own JSON with `hash` empty, so of `previous` too. A line that was changed does not
match its own hash; one that was changed and hashed anew does not match the next line's `previous`. What no chain shows
by itself is its end being cut off: for that, a fleet keeps the last hash.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

START = "0" * 64  # `previous` of the very first line
LINE_CAP_BYTES = 4096
_HASH = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Amount = Annotated[float, Meta(ge=0, le=1e15)]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run used. `at_ns` (UTC) is when it was booked; `seconds` of wall time, `cpu_s` of all threads.

    `joules` are of computing; `is_estimated` says that they come from a power table, not from a rail.
    """

    n: Annotated[int, Meta(ge=1)]
    at_ns: int
    job: Annotated[str, Meta(max_length=128)]
    owner_epoch: int
    gate_epoch: int
    model: Annotated[str, Meta(max_length=256)]
    seconds: _Amount
    cpu_s: _Amount
    actions: Annotated[int, Meta(ge=0)]
    joules: _Amount
    is_estimated: bool
    previous: _HASH
    hash: str = ""

    def line(self) -> bytes:
        """Returns the line, with its end."""
        body = msgspec.json.encode(self)
        return body + b"\n"

    def hashed(self) -> Entry:
        """Returns this entry with its hash."""
        return msgspec.structs.replace(self, hash=self._digest())

    def is_consistent(self) -> bool:
        """Returns whether the line matches its own hash."""
        return self.hash == self._digest()

    def _digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, hash=""))).hexdigest()


_decoder = msgspec.json.Decoder(Entry)


def read_line(line: bytes) -> Entry | None:
    """Returns the entry of a line without its end, None if it is damaged in any way."""
    try:
        entry = _decoder.decode(line) if len(line) < LINE_CAP_BYTES else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if entry is None or not entry.is_consistent() or entry.line() != line + b"\n":
        return None
    return entry
