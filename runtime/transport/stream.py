"""The one shape of a link: bytes in order, both ways, until one side closes. Sessions know nothing else of the network.

    dial(url) ──► Stream ◄── listen(url) calls its handler with one for every peer

Errors are in errors.py; the ones that a caller handles by name are also found here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from runtime.transport.errors import StreamBroken, TransportError, Unreachable

__all__ = ["Handler", "Server", "Stream", "StreamBroken", "TransportError", "Unreachable"]

RECEIVE_BYTES = 1 << 18  # the most that one `receive` returns
WRITE_HIGH_BYTES = 1 << 18  # `send` waits while more than this is not yet with the kernel


@runtime_checkable
class Stream(Protocol):
    """An ordered, reliable, two-way link. One task may send while another receives; no two may do the same."""

    peer: str
    """Who is at the other end, for logs: the fingerprint of its certificate on TLS, `uid:N` on a Unix socket."""

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hands `data` on; waits while the link is full. Raises StreamBroken if the link is gone."""

    async def receive(self) -> bytes:
        """Returns at least one byte and at most 256 KiB, b"" once the peer has closed. Raises StreamBroken if cut."""

    def close(self) -> None:
        """Ends the link: what was sent still goes out, a waiting `receive` here ends. May be called twice."""

    async def wait_closed(self) -> None:
        """Returns when the link is gone for good, at most a second after `close`. Never raises for a cut link."""


class Server(Protocol):
    """A listener. Handlers that are still running are cancelled by `close`."""

    address: str
    """The URL under which it can be dialled; a port 0 has become the real one."""

    async def close(self) -> None:
        """Stops listening, ends every handler, and removes what was left on disk."""


Handler = Callable[[Stream], Awaitable[None]]
