"""URLs, listeners and Unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from runtime.transport.dial import check_url, dial, host_port, listen
from runtime.transport.errors import AddressTaken, BadAddress, NoIdentity, Unreachable
from runtime.transport.identity import Identity
from runtime.transport.stream import Stream


async def drop(stream: Stream) -> None:
    """A handler that hangs up."""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "desktop",
        "/tmp/socket",
        "http://host:1",
        "tls://host",
        "tls://:9000",
        "tls://host:port",
        "tls://host:70000",
        "tls://host:9000/path",
        "tls://user@host:9000",
        "TLS:",
    ],
)
def test_a_bad_address_is_told_with_the_right_form(url: str) -> None:
    with pytest.raises(BadAddress, match="host:port"):
        check_url(url)
    with pytest.raises(BadAddress, match="host:port"):
        asyncio.run(dial(url, Identity(Path("/nowhere"), None)))  # type: ignore[arg-type]


def test_good_addresses() -> None:
    check_url("unix:/run/x")
    assert host_port("tls://[::1]:9000") == ("::1", 9000)
    assert host_port("tls://desk.example:9000") == ("desk.example", 9000)


def test_tls_without_an_identity() -> None:
    with pytest.raises(NoIdentity, match="idlehands desktop"):
        asyncio.run(dial("tls://127.0.0.1:9000"))


def test_a_unix_socket_is_its_owners_alone_and_goes_with_its_server(tmp_path: Path) -> None:
    async def main() -> None:
        server = await listen(f"unix:{tmp_path}/s", None, drop)
        mode = (tmp_path / "s").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) & 0o077 == 0
        stream = await dial(server.address)
        assert stream.peer == f"uid:{os.getuid()}"
        stream.close()
        await server.close()
        assert not (tmp_path / "s").exists()

    asyncio.run(main())


def test_a_socket_in_use_is_not_taken_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        server = await listen(f"unix:{tmp_path}/s", None, drop)
        with pytest.raises(AddressTaken, match="somebody answers"):
            await listen(f"unix:{tmp_path}/s", None, drop)
        await server.close()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{tmp_path}/s")
        again = await listen(f"unix:{tmp_path}/s", None, drop)
        await again.close()

    asyncio.run(main())


def test_something_else_at_the_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(AddressTaken, match="not a socket"):
        asyncio.run(listen(f"unix:{tmp_path}/s", None, drop))
    assert (tmp_path / "s").read_text() == "precious"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AddressTaken, match="cannot listen"):
        asyncio.run(listen(f"unix:{tmp_path}/none/s", None, drop))
    with pytest.raises(Unreachable, match="cannot connect"):
        asyncio.run(dial(f"unix:{tmp_path}/none/s"))


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="107"):
        asyncio.run(dial(f"unix:/{'x' * 120}"))


def test_a_port_in_use(tmp_path: Path) -> None:
    identity = Identity.create(tmp_path / "i", "desktop")

    async def main() -> None:
        server = await listen("tls://127.0.0.1:0", identity, drop)
        with pytest.raises(AddressTaken, match="cannot listen on 127"):
            await listen(server.address, identity, drop)
        await server.close()

    asyncio.run(main())


def test_a_handler_that_fails_is_logged_and_ends_nobody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def fail(stream: Stream) -> None:
            raise RuntimeError("a fault of ours")

        server = await listen(f"unix:{tmp_path}/s", None, fail)
        for _ in range(2):
            stream = await dial(server.address)
            assert await stream.receive() == b""
            stream.close()
        await server.close()

    asyncio.run(main())
    assert caplog.text.count("RuntimeError: a fault of ours") == 2


def test_closing_a_server_ends_its_handlers(tmp_path: Path) -> None:
    ended = []

    async def main() -> None:
        async def wait(stream: Stream) -> None:
            try:
                await stream.receive()
            finally:
                ended.append(True)

        server = await listen(f"unix:{tmp_path}/s", None, wait)
        stream = await dial(server.address)
        await stream.send(b"")
        while not getattr(server, "_tasks", None):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await server.close()
        assert await stream.receive() == b""
        stream.close()

    asyncio.run(main())
    assert ended == [True]
