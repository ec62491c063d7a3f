"""What a test reads from a machine's bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.wire.framing import Splitter, decode
from runtime.wire.messages import FromCar, FromDesktop

_ANY: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(FromCar | FromDesktop)


def messages_in(data: bytes | bytearray) -> list[Any]:
    """Returns the messages that `data` wholly holds."""
    return [decode(payload, _ANY) for payload in Splitter().feed(bytes(data))]
