"""Plain TCP links: what TLS is laid over. Not in the table of URLs: nothing of a session goes in the clear."""

from __future__ import annotations

import asyncio
import socket

from runtime.transport.errors import AddressTaken, Unreachable
from runtime.transport.sockets import MAX_PEERS, SocketServer, SocketStream
from runtime.transport.stream import Handler


async def dial_tcp(host: str, port: int, timeout_s: float) -> SocketStream:
    """Connects to `host`:`port`. Raises Unreachable."""
    loop = asyncio.get_running_loop()
    try:
        _, stream = await asyncio.wait_for(loop.create_connection(SocketStream, host, port), timeout_s)
    except asyncio.TimeoutError as error:
        raise Unreachable(f"no answer from {host}:{port} within {timeout_s:g} s") from error
    except socket.gaierror as error:
        raise Unreachable(f"the name {host!r} is not known: {error.strerror}") from error
    except OSError as error:
        raise Unreachable(f"cannot connect to {host}:{port}: {error.strerror or error}") from error
    return stream


async def listen_tcp(
    host: str, port: int, scheme: str, handler: Handler, *, max_peers: int = MAX_PEERS, backlog: int = 16
) -> SocketServer:
    """Listens on `host`:`port` (port 0: any free one). Raises AddressTaken."""
    server = SocketServer("", handler, max_peers)
    try:
        listening = await asyncio.get_running_loop().create_server(server.protocol, host, port, backlog=backlog)
    except OSError as error:
        raise AddressTaken(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    server.listening = listening
    shown = f"[{host}]" if ":" in host else host
    server.address = f"{scheme}://{shown}:{listening.sockets[0].getsockname()[1]}"
    return server
