"""A folder of bundles over a link: what is asked for comes, nothing else does, and a cut link says so."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.store.download import Unreachable, discard, fetch
from runtime.store.keys import SigningKey, TrustedKeys
from runtime.store.publish import publish
from runtime.transport.identity import Identity
from runtime.transport.relay import serve_relay
from runtime.transport.rendezvous import RelayListener, new_token
from runtime.transport.share import PART_BYTES, PeerSource, share
from tests.store.made import a_bundle, a_store
from tests.transport.links import identities

BIG = np.random.default_rng(3).bytes(3 * PART_BYTES + 17)


@contextlib.contextmanager
def shared(folder: Path, url: str, identity: Identity | None) -> Iterator[str]:
    """Shares `folder` from a thread; gives the address."""
    loop, address, stop = asyncio.new_event_loop(), [""], asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        relay = None
        where = url
        if url == "relay":
            relay, _ = await serve_relay("127.0.0.1", 0)
            where = f"relay://127.0.0.1:{relay.address.rpartition(':')[2]}/{new_token()}"
        server = await share(folder, where, identity)
        if isinstance(server, RelayListener):  # it waits at the relay in its own time
            await asyncio.wait_for(server.is_waiting.wait(), 20)
        address[0] = server.address
        ready.set()
        await stop.wait()
        await server.close()
        if relay is not None:
            await relay.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize("url", ["unix:{folder}/s", "tls://127.0.0.1:0", "relay"])
def test_a_bundle_comes_from_another_car(tmp_path: Path, url: str) -> None:
    key = SigningKey.create(tmp_path / "key")
    bundle = a_bundle(tmp_path, key, files={"net/model.onnx": BIG})
    there = a_store(tmp_path / "there", key)
    publish(bundle, tmp_path / "out", TrustedKeys.load(there.trusted_folder))
    car, other = identities(tmp_path)
    is_local = url.startswith("unix")
    with shared(tmp_path / "out", url.format(folder=tmp_path), None if is_local else other) as address:
        source = PeerSource(address, None if is_local else car)
        fetched = fetch(source, "nav-1.0.ihb", there)
        assert fetched.fetched_bytes == fetched.total_bytes > len(BIG)
        assert there.install(fetched.path).manifest.version == "1.0"
        discard(fetched)
        with pytest.raises(Unreachable, match="is not here"):
            source.read("other.ihb", 0, 10)
        assert source.read("nav-1.0.ihb", 0, 8) == b"manifest", "and the link goes on"
        source.close()


@pytest.mark.parametrize("name", ["../key", "/etc/passwd", "key", ".hidden.ihb", "sub/nav.ihb", "nav.ihb.chunks.key"])
def test_nothing_else_is_shared(tmp_path: Path, name: str) -> None:
    for path in ("out/key", "key", "out/.hidden.ihb", "out/sub/nav.ihb", "out/nav.ihb.chunks.key"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"secret")
    with shared(tmp_path / "out", f"unix:{tmp_path}/s", None) as address:
        source = PeerSource(address, None)
        with pytest.raises(Unreachable, match="is not shared"):
            source.read(name, 0, 10)
        source.close()


def test_who_is_not_trusted_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "nav.ihb").write_bytes(b"x")
    _car, other = identities(tmp_path)
    stranger = Identity.create(tmp_path / "stranger", "stranger")
    stranger.trust(other.certificate_pem)
    with shared(tmp_path / "out", "tls://127.0.0.1:0", other) as address:
        source = PeerSource(address, stranger)
        with pytest.raises(Unreachable, match="cannot be fetched"):
            source.read("nav.ihb", 0, 1)
        source.close()


def test_nobody_there(tmp_path: Path) -> None:
    source = PeerSource(f"unix:{tmp_path}/absent", None)
    with pytest.raises(Unreachable):
        source.read("nav.ihb", 0, 1)
    source.close()
