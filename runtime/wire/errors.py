"""What a peer can do wrong on the wire.

RuntimeFault
└── ProtocolError       carries the CloseReason that the session then ends with
"""

from __future__ import annotations

from typing import ClassVar

from runtime.errors import RuntimeFault
from runtime.wire.tables import CloseReason


class ProtocolError(RuntimeFault):
    """The peer sent what this protocol does not allow; the session ends and nothing of the message takes effect."""

    next_step: ClassVar[str] = "run the same version of idlehands on both sides, and nothing else on this port"

    def __init__(self, reason: CloseReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
