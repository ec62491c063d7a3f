"""What an agent remembers as bytes: MessagePack of its own Struct, whose first field is a version, and back."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from runtime.agent.errors import StateUnreadable


class Versioned(Protocol):
    """A msgspec Struct with a version; called without arguments it remembers nothing yet."""

    version: int


Kept = TypeVar("Kept", bound=Versioned)


def pack_state(memory: Versioned) -> bytes:
    """Returns `memory` as the state of a decision."""
    return msgspec.msgpack.encode(memory)


def unpack_state(state: bytes, kind: type[Kept], agent: str, version: int) -> Kept:
    """Returns a copy of what `agent` remembered; an empty one for b"". Raises StateUnreadable."""
    if not state:
        return kind()
    try:
        memory = msgspec.msgpack.decode(state, type=kind)
    except msgspec.MsgspecError as error:
        raise StateUnreadable(f"the state of {agent!r} ({len(state)} bytes) does not decode: {error}") from error
    if memory.version != version:
        raise StateUnreadable(f"the state of {agent!r} has version {memory.version}, this build has {version}")
    return memory
