"""Every kind of link as one fixture: a connected pair of ends, and a way to cut it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from runtime.transport.dial import dial, listen
from runtime.transport.identity import Identity
from runtime.transport.memory import pair
from runtime.transport.relay import serve_relay
from runtime.transport.rendezvous import new_token
from runtime.transport.stream import Stream
from runtime.transport.tls import secure

Pair = tuple[Stream, Stream]


def identities(folder: Path) -> tuple[Identity, Identity]:
    """Returns a car and a desktop that trust each other."""
    car = Identity.create(folder / "car", "car")
    desktop = Identity.create(folder / "desktop", "desktop")
    car.trust(desktop.certificate_pem)
    desktop.trust(car.certificate_pem)
    return car, desktop


@asynccontextmanager
async def listened(
    url: str, car: Identity | None, desktop: Identity | None, ready: Callable[[], bool] = lambda: True
) -> AsyncIterator[Pair]:
    """A pair through `listen` and `dial` at `url`."""
    accepted: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handler(stream: Stream) -> None:
        accepted.set_result(stream)
        await over.wait()

    server = await listen(url, desktop, handler)
    try:
        while not ready():
            await asyncio.sleep(0)
        near = await dial(server.address, car)
        yield near, await accepted
        near.close()
        await near.wait_closed()
    finally:
        over.set()
        await server.close()


@asynccontextmanager
async def memory() -> AsyncIterator[Pair]:
    near, far = pair()
    yield near, far
    near.close()
    far.close()


@asynccontextmanager
async def unix() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        async with listened(f"unix:{folder}/s", None, None) as ends:
            yield ends


@asynccontextmanager
async def tls() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        async with listened("tls://127.0.0.1:0", *identities(Path(folder))) as ends:
            yield ends


@asynccontextmanager
async def relayed() -> AsyncIterator[Pair]:
    relay_server, relay = await serve_relay("127.0.0.1", 0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            url = f"{relay_server.address}/{new_token()}"
            async with listened(url, *identities(Path(folder)), ready=lambda: relay.waiting > 0) as ends:
                yield ends
    finally:
        await relay_server.close()


@asynccontextmanager
async def tls_in_memory() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as folder:
        car, desktop = identities(Path(folder))
        inner_near, inner_far = pair()
        near, far = await asyncio.gather(
            secure(inner_near, car, is_server=False), secure(inner_far, desktop, is_server=True)
        )
        yield near, far
        near.close()
        far.close()
        await asyncio.gather(near.wait_closed(), far.wait_closed())


LINKS: dict[str, Callable[[], AbstractAsyncContextManager[Pair]]] = {
    "memory": memory,
    "unix": unix,
    "tls": tls,
    "tls in memory": tls_in_memory,
    "relay": relayed,
}
