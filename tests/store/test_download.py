"""Downloads: the difference only, resumed where they stopped, and nothing believed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from runtime.store.chunks import LARGEST, SMALLEST, cut, read_index, write_index
from runtime.store.download import (
    RUN_BYTES,
    FolderSource,
    HttpSource,
    Pace,
    Source,
    Stopped,
    Unreachable,
    discard,
    fetch,
)
from runtime.store.errors import BundleError, StoreUnusable
from runtime.store.keys import SigningKey
from runtime.store.models import ModelStore
from tests.store.made import a_bundle

WEIGHTS = np.random.default_rng(5).bytes(6 << 20)


def published(folder: Path, key: SigningKey, version: str, weights: bytes = WEIGHTS) -> str:
    path = a_bundle(folder, key, form=f"nav-{version}.ihb", version=version, files={"net/model.onnx": weights})
    path.with_name(path.name + ".chunks").write_bytes(write_index(path))
    return path.name


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = tmp_path / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            data = path.read_bytes()[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}"
        made.shutdown()
        thread.join()


def test_fetched_installed_and_the_next_version_costs_the_difference(
    tmp_path: Path, key: SigningKey, store: ModelStore, server: str
) -> None:
    for source in (FolderSource(tmp_path), HttpSource(server)):
        one, two = f"1-{type(source).__name__}", f"2-{type(source).__name__}"
        first = fetch(source, published(tmp_path, key, one), store)
        if isinstance(source, FolderSource):
            assert first.fetched_bytes == first.total_bytes
        store.install(first.path)
        discard(first)
        changed = bytearray(WEIGHTS)
        changed[3_000_000:3_000_000] = b"inserted"  # everything behind it moves
        changed[100:110] = b"0123456789"
        second = fetch(source, published(tmp_path, key, two, bytes(changed)), store)
        assert second.fetched_bytes < 4 * LARGEST
        assert second.fetched_bytes + second.reused_bytes == second.total_bytes
        store.install(second.path)
        assert store.verify(f"nav@{two}").path("net/model.onnx").read_bytes() == bytes(changed)
        store.remove("nav", two)
        discard(second)
    assert list((store.root / "downloads").iterdir()) == []


class Broken:
    """A source that ends after so many reads of the archive, or gives other bytes."""

    def __init__(self, source: Source, reads: int, *, lies: bool = False) -> None:
        self._source, self.reads, self._lies = source, reads, lies
        self.fetched = 0

    def read(self, name: str, offset: int, size: int) -> bytes:
        data = self._source.read(name, offset, size)
        if name.endswith(".chunks"):
            return data
        if self.reads == 0:
            if self._lies:
                return bytes(len(data))
            raise Unreachable("the network is gone")
        self.reads -= 1
        self.fetched += len(data)
        return data


def test_it_goes_on_where_it_broke_off(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    name = published(tmp_path, key, "1")
    broken = Broken(FolderSource(tmp_path), 1)
    with pytest.raises(Unreachable, match="what was fetched is kept"):
        fetch(broken, name, store)
    assert 0 < broken.fetched <= RUN_BYTES
    rest = fetch(FolderSource(tmp_path), name, store)
    assert rest.fetched_bytes == rest.total_bytes - broken.fetched
    store.install(rest.path)


def test_a_chunk_that_is_wrong_is_not_kept(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    name = published(tmp_path, key, "1")
    with pytest.raises(BundleError, match="are not what its index says"):
        fetch(Broken(FolderSource(tmp_path), 1, lies=True), name, store)
    store.install(fetch(FolderSource(tmp_path), name, store).path)
    store.verify("nav")


def test_an_index_of_something_else_installs_nothing(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    name = published(tmp_path, key, "1")
    (tmp_path / name).write_bytes(b"evil" * 100_000)
    (tmp_path / f"{name}.chunks").write_bytes(write_index(tmp_path / name))
    with pytest.raises(BundleError, match="no bundle"):
        store.install(fetch(FolderSource(tmp_path), name, store).path)
    assert store.list_models() == []


def test_it_stops_when_the_car_is_wanted(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    name = published(tmp_path, key, "1")
    turns = iter([True, False])
    with pytest.raises(Stopped, match="start it again"):
        fetch(FolderSource(tmp_path), name, store, may_go_on=lambda: next(turns))
    rest = fetch(FolderSource(tmp_path), name, store)
    assert 0 < rest.fetched_bytes < rest.total_bytes


def test_the_pace_is_kept(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    name = published(tmp_path, key, "1")
    done = fetch(FolderSource(tmp_path), name, store, pace=Pace(1_000_000, clock=lambda: now, sleep=sleep))
    assert now == pytest.approx(done.fetched_bytes / 1e6)


def test_size_limits(tmp_path: Path, key: SigningKey, store: ModelStore) -> None:
    name = published(tmp_path, key, "1")
    with pytest.raises(BundleError, match="at most 1000000 are fetched"):
        fetch(FolderSource(tmp_path), name, store, limit_bytes=1_000_000)
    with open(tmp_path / f"{name}.chunks", "ab") as out:
        out.truncate(1 << 40)
    with pytest.raises(BundleError, match="more than the"):
        fetch(FolderSource(tmp_path), name, store)
    assert not (store.root / "downloads").exists()


@pytest.mark.parametrize("name", ["../nav.ihb", "/etc/passwd", "nav.zip", "", "a/b.ihb", ".."])
def test_names_that_are_none(tmp_path: Path, store: ModelStore, name: str) -> None:
    with pytest.raises(BundleError, match="expected a name that ends in"):
        fetch(FolderSource(tmp_path), name, store)


def test_servers_that_are_not_there(tmp_path: Path, store: ModelStore, server: str) -> None:
    with pytest.raises(Unreachable, match="the server says 404"):
        fetch(HttpSource(server), "absent.ihb", store)
    with pytest.raises(Unreachable, match="cannot be fetched"):
        fetch(HttpSource("http://127.0.0.1:9"), "absent.ihb", store)
    with pytest.raises(Unreachable, match="cannot be read"):
        fetch(FolderSource(tmp_path / "absent"), "absent.ihb", store)
    with pytest.raises(ValueError, match="expected an http"):
        HttpSource("ftp://x")
    assert issubclass(Unreachable, StoreUnusable)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(0, 1 << 20))
def test_chunks_cover_everything_within_their_sizes(seed: int, size: int) -> None:
    data = np.random.default_rng(seed).bytes(size)
    ends = cut(data)
    sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == size
    assert all(SMALLEST <= piece <= LARGEST for piece in sizes[:-1])
    assert all(0 < piece <= LARGEST for piece in sizes[-1:])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut(WEIGHTS)
    for block in (1000, 65_537, len(WEIGHTS)):
        monkeypatch.setattr("runtime.store.chunks.BLOCK_BYTES", block)
        assert cut(WEIGHTS) == whole


def test_the_cut_is_pinned() -> None:
    """Other boundaries would be a new version of the format: cars could share nothing with what is published."""
    assert cut(bytes(range(256)) * 4096) == [LARGEST * n for n in range(1, 5)]
    assert cut(WEIGHTS)[:4] == PINNED


PINNED = [26149, 42591, 86514, 118202]


@given(data=st.binary(max_size=100))
def test_garbage_is_no_index(data: bytes) -> None:
    with pytest.raises(BundleError):
        read_index(data, "x")
