"""What a job takes with it to another car: MessagePack [version, agent_kind, bundle_sha256, state, rng, tokens].

| # | field         | type           | limit        |                                                          |
|---|---------------|----------------|--------------|----------------------------------------------------------|
| 0 | version       | int            | 1            | of this form; others are refused                         |
| 1 | agent_kind    | str            | 64 bytes     | who may read `state`                                     |
| 2 | bundle_sha256 | bin            | 0 or 32      | the manifest that `state` was made with; empty: no model |
| 3 | state         | bin            |              | a Memory: the agent's own state, the action under way    |
| 4 | rng           | bin            | 256 bytes    | state of its random generator                            |
| 5 | tokens        | array of int   | 16384, u32   | to prefill again elsewhere: a KV cache does not travel   |

At most 64 KiB together. It comes from another machine: everything is checked before anything is used.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from runtime.errors import RuntimeFault

CHECKPOINT_VERSION = 1
CHECKPOINT_CAP_BYTES = 64 * 1024


class Memory(msgspec.Struct, array_like=True):
    """What `state` holds: the agent's state, the same on every instruction set, how many actions of the whole job were
    applied, and the action whose outcome was not heard yet (it is not among them). Of two memories of a job the one
    with more `decisions` is the newer.
    """

    state: bytes = b""
    actions: int = 0
    pending_seq: int = 0
    pending_state: bytes = b""
    pending_presses: tuple[str, ...] = ()
    decisions: int = 0


class CheckpointError(RuntimeFault):
    """A checkpoint is too large, damaged, or of a version that this build does not know."""

    next_step: ClassVar[str] = "the job begins again from its start"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One job's state between two actions. Values are checked by `encode` and `decode`, not by the constructor."""

    agent_kind: str
    bundle_sha256: bytes = b""
    state: bytes = b""
    rng: bytes = b""
    tokens: tuple[int, ...] = ()

    def actions(self) -> int:
        """Returns how many actions of the job it knows to be applied; 0 if its state is nothing that a runner made."""
        try:
            return max(0, msgspec.msgpack.decode(self.state, type=Memory).actions)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 0

    def encode(self) -> bytes:
        """Returns the bytes to store. Raises CheckpointError above 64 KiB, or for a field out of its limit."""
        form = (CHECKPOINT_VERSION, self.agent_kind, self.bundle_sha256, self.state, self.rng, self.tokens)
        data = msgspec.msgpack.encode(form)
        if len(data) > CHECKPOINT_CAP_BYTES:
            raise CheckpointError(
                f"a checkpoint of '{self.agent_kind}' has {len(data)} bytes, at most {CHECKPOINT_CAP_BYTES} are kept",
                next_step="the agent must keep less state",
            )
        _decode(data)  # so that what is written can be read: limits are in one place
        return data

    @staticmethod
    def decode(data: bytes) -> Checkpoint:
        """Reads what `encode` made. Raises CheckpointError for anything else; never more than 64 KiB is parsed."""
        if len(data) > CHECKPOINT_CAP_BYTES:
            raise CheckpointError(f"a checkpoint has {len(data)} bytes, at most {CHECKPOINT_CAP_BYTES} are taken")
        return _decode(data)


class _Version(msgspec.Struct, array_like=True):
    """The first element alone; what follows may be of a later version."""

    version: int


_FORM = tuple[
    int,
    Annotated[str, Meta(min_length=1, max_length=64)],
    Annotated[bytes, Meta(max_length=32)],
    bytes,
    Annotated[bytes, Meta(max_length=256)],
    Annotated[tuple[Annotated[int, Meta(ge=0, le=2**32 - 1)], ...], Meta(max_length=16384)],
]
_version: msgspec.msgpack.Decoder[_Version] = msgspec.msgpack.Decoder(_Version)
_form: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(_FORM)


def _decode(data: bytes) -> Checkpoint:
    try:
        version = _version.decode(data).version
        if version != CHECKPOINT_VERSION:
            raise CheckpointError(f"a checkpoint has version {version}, this build reads {CHECKPOINT_VERSION}")
        _, kind, bundle, state, rng, tokens = _form.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"a checkpoint is damaged: {error}") from error
    if len(bundle) not in (0, 32):
        raise CheckpointError(f"a checkpoint names its bundle by {len(bundle)} bytes, expected 32 or none")
    return Checkpoint(agent_kind=kind, bundle_sha256=bundle, state=state, rng=rng, tokens=tokens)
