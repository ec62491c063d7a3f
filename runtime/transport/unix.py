"""Links on one machine: Unix sockets that only their owner may open (mode 0600). `unix:/run/idlehands/desktop`"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

from runtime.transport.errors import AddressTaken, BadAddress, Unreachable
from runtime.transport.sockets import SocketServer, SocketStream
from runtime.transport.stream import Handler

MAX_PATH_BYTES = 107  # of sockaddr_un.sun_path, without its closing zero


async def dial_unix(path: str, timeout_s: float) -> SocketStream:
    """Connects to the socket at `path`. Raises Unreachable, BadAddress."""
    _check(path)
    loop = asyncio.get_running_loop()
    try:
        _, stream = await asyncio.wait_for(loop.create_unix_connection(SocketStream, path), timeout_s)
    except asyncio.TimeoutError as error:
        raise Unreachable(f"no answer on unix:{path} within {timeout_s:g} s") from error
    except OSError as error:
        raise Unreachable(f"cannot connect to unix:{path}: {error.strerror or error}") from error
    return stream


async def listen_unix(path: str, handler: Handler) -> UnixServer:
    """Listens at `path`; replaces a socket that nobody answers on. Raises AddressTaken, BadAddress."""
    _check(path)
    _clear(Path(path))
    server = UnixServer(f"unix:{path}", handler)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # the socket is never, not even for a moment, open to others
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise AddressTaken(f"cannot listen on unix:{path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    server.inode = os.stat(path).st_ino
    server.listening = await asyncio.get_running_loop().create_unix_server(server.protocol, sock=sock, backlog=16)
    return server


class UnixServer(SocketServer):
    """A `Server` that removes its socket when it closes, unless another one has taken the path."""

    inode = 0

    async def close(self) -> None:
        await super().close()
        _remove(Path(self.address.removeprefix("unix:")), self.inode)


def _remove(path: Path, inode: int) -> None:
    try:
        if path.stat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return


def _check(path: str) -> None:
    if not path:
        raise BadAddress("unix: has no path")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise BadAddress(
            f"unix:{path} has {len(os.fsencode(path))} bytes, a socket's path may have {MAX_PATH_BYTES}",
            next_step="use a shorter folder, such as one under /run",
        )


def _clear(path: Path) -> None:
    """Removes a socket that its process left behind. Raises AddressTaken for one in use and for anything else."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise AddressTaken(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise AddressTaken(f"cannot look at {path}: {error.strerror}") from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise AddressTaken(f"cannot use {path}: {error.strerror or error}") from error
    raise AddressTaken(f"somebody answers on unix:{path} already")
