"""Cuts a byte stream into messages and back: every message is `u32 little-endian length | payload`.

      00 01 02 03 │ 04 …
      length      │ payload, 1 to `cap` bytes

A message that lies wholly in one received chunk is handed out as a view of that chunk, not copied. At most one
message of `cap` bytes is ever gathered, and its memory is taken as bytes arrive: a claimed length costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from runtime.wire.errors import ProtocolError
from runtime.wire.messages import MESSAGE_CAP, FramePart
from runtime.wire.tables import CloseReason

PREFIX = 4  # bytes of a length
SMALL_BYTES = 1024
_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()


class Splitter:
    """Incremental: `feed` bytes as they come, take payloads as they complete. Raises ProtocolError and is then spent.

    `pending_bytes` tells how much of an unfinished message is held, at most 4 + `cap`.
    """

    def __init__(self, cap: int = MESSAGE_CAP) -> None:
        self.cap = cap
        self._held = bytearray()

    @property
    def pending_bytes(self) -> int:
        return len(self._held)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterable[bytes | memoryview]:
        """Gives the payload of every message that `data` completes, as read-only views (small ones as bytes).

        Raises ProtocolError (garbage, too_long) at a length of 0 or above the cap, after what came before it was
        given. Take all that is given before feeding again.
        """
        # Most chunks are one small message; without views and a generator it is taken in a third of the time.
        if PREFIX < len(data) < SMALL_BYTES and not self._held and type(data) is bytes:
            length = _LENGTH.unpack_from(data)[0]
            if PREFIX + length == len(data) and length <= self.cap:
                return (data[PREFIX:],)
        return self._cut(data)

    def _cut(self, data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
        view = memoryview(data).toreadonly()
        at = 0
        while at < len(view):
            if not self._held and len(view) - at >= PREFIX:
                length = self._check(int.from_bytes(view[at : at + PREFIX], "little"))
                if len(view) - at - PREFIX >= length:
                    at += PREFIX + length
                    yield view[at - length : at]
                    continue
            taken = self._gather(view[at:])
            at += taken
            if (whole := self._take()) is not None:
                yield whole

    def _gather(self, view: memoryview) -> int:
        """Adds to the unfinished message what `view` has of it; returns how many bytes that were."""
        before = len(self._held)
        if before < PREFIX:
            self._held += view[: PREFIX - before]
            if len(self._held) < PREFIX:
                return len(self._held) - before
            self._check(int.from_bytes(self._held, "little"))
        had = len(self._held) - before
        missing = PREFIX + int.from_bytes(self._held[:PREFIX], "little") - len(self._held)
        self._held += view[had : had + missing]
        return len(self._held) - before

    def _take(self) -> memoryview | None:
        held = self._held
        if len(held) < PREFIX or len(held) < PREFIX + int.from_bytes(held[:PREFIX], "little"):
            return None
        self._held = bytearray()
        return memoryview(held).toreadonly()[PREFIX:]

    def _check(self, length: int) -> int:
        if length == 0:
            raise ProtocolError(CloseReason.garbage, "a message of 0 bytes")
        if length > self.cap:
            raise ProtocolError(CloseReason.too_long, f"a message of {length} bytes, at most {self.cap} are taken")
        return length


def frame(message: msgspec.Struct) -> bytes | bytearray:
    """Returns `message` encoded behind its length, in one buffer. Raises ValueError above the cap of 1 MiB."""
    if type(message) is not FramePart or len(message.data) < SMALL_BYTES:
        payload = _ENCODER.encode(message)
        if len(payload) <= MESSAGE_CAP:
            return _LENGTH.pack(len(payload)) + payload
    out = bytearray(PREFIX)  # in place: the pixels of a frame part are copied once
    _ENCODER.encode_into(message, out, PREFIX)
    length = len(out) - PREFIX
    if length > MESSAGE_CAP:
        raise ValueError(f"a {type(message).__name__} of {length} bytes: no message may be above {MESSAGE_CAP}")
    out[:PREFIX] = length.to_bytes(PREFIX, "little")
    return out


def decode(payload: bytes | memoryview, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    """Returns the message in `payload`. Raises ProtocolError (garbage) with msgspec's account of what is wrong."""
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(CloseReason.garbage, f"not a message of this protocol: {error}") from error
