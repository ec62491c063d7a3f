"""`idlehands model publish|share|fetch`: bundles on their way from a folder, a web server or another car."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click

from runtime.cli.options import json_option, print_json
from runtime.store.bundle import SUFFIX
from runtime.store.download import Fetched, FolderSource, HttpSource, Pace, Source, discard
from runtime.store.download import fetch as download
from runtime.store.errors import StoreError
from runtime.store.keys import TrustedKeys
from runtime.store.models import ModelStore
from runtime.store.publish import publish as put
from runtime.transport.dial import SCHEMES
from runtime.transport.identity import Identity


def _identity(root: Path) -> Identity:
    return Identity.load(root.parent / "identity")


@click.command()
@click.argument("bundle")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@json_option
@click.pass_obj
def publish(root: Path, bundle: str, folder: Path, as_json: bool) -> None:
    """Put BUNDLE (a file, a folder, or the NAME or NAME@VERSION of an installed model) into FOLDER for `fetch`.

    FOLDER may lie behind any web server that knows ranges, or be shared: `idlehands model share`.
    """
    store = ModelStore(root)
    path = Path(bundle) if Path(bundle).exists() else store.get(bundle).folder
    made = put(path, folder, TrustedKeys.load(store.trusted_folder))
    if as_json:
        print_json(dataclasses.asdict(made))
    else:
        print(f"published {made.path}, {made.total_bytes} bytes, and its index of {made.chunks_bytes}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--listen", "url", required=True, help="tls://host:port, relay://host:port/TOKEN or unix:/path")
@click.pass_obj
def share(root: Path, folder: Path, url: str) -> None:
    """Share the published bundles of FOLDER with the peers that this car trusts, until stopped.

    Over relay:// neither car opens a port: both dial the relay.
    """
    from runtime.transport.share import share as serve

    async def run() -> None:
        server = await serve(folder, url, None if url.startswith("unix:") else _identity(root))
        print(f"sharing {folder} at {server.address}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    asyncio.run(run())


@click.command()
@click.argument("source")
@click.argument("name")
@click.option("--limit-kB-s", "limit_kB_s", default=0, type=click.IntRange(0), help="At most so fast. 0: as it comes.")
@click.option("--limit-MB", "limit_MB", default=4096, show_default=True, type=click.IntRange(1), help="Refuse more.")
@click.option("--no-activate", is_flag=True, help="Keep the version that is active now.")
@json_option
@click.pass_obj
def fetch(root: Path, source: str, name: str, limit_kB_s: int, limit_MB: int, no_activate: bool, as_json: bool) -> None:
    """Fetch NAME (as published: nav-1.2.0.ihb) from SOURCE, check it, and install it.

    \b
    idlehands model fetch https://models.example/eu nav-1.2.0.ihb
    idlehands model fetch /media/usb nav-1.2.0.ihb
    idlehands model fetch relay://relay.example:7462/TOKEN nav-1.2.0.ihb       another car's `model share`

    Only what is nowhere here is fetched: a new version costs the difference. Stopped or cut off, the next call goes
    on where this one stood. What is fetched counts for nothing until its signature and every byte were checked.
    """
    store = ModelStore(root)
    full = name if name.endswith(SUFFIX) else name + SUFFIX
    with _open(source, root) as opened, _progress() as went_on:
        fetched = download(
            _Told(opened, went_on), full, store, pace=Pace(limit_kB_s * 1000), limit_bytes=limit_MB * 1_000_000
        )
    try:
        manifest = store.install(fetched.path, activate=not no_activate).manifest
    finally:
        discard(fetched)
    _tell(fetched, f"{manifest.name}@{manifest.version}", as_json)


def _tell(fetched: Fetched, reference: str, as_json: bool) -> None:
    if as_json:
        print_json({"installed": reference, **dataclasses.asdict(fetched)})
    else:
        print(
            f"installed {reference}: {fetched.fetched_bytes} of {fetched.total_bytes} bytes fetched, the rest was here"
        )


@contextlib.contextmanager
def _open(source: str, root: Path) -> Iterator[Source]:
    if source.startswith(("https://", "http://")):
        yield HttpSource(source.rstrip("/"))
    elif source.partition(":")[0] in SCHEMES:
        from runtime.transport.share import PeerSource

        peer = PeerSource(source, None if source.startswith("unix:") else _identity(root))
        try:
            yield peer
        finally:
            peer.close()
    elif Path(source).is_dir():
        yield FolderSource(Path(source))
    else:
        shapes = ", ".join(scheme.shape for scheme in SCHEMES.values())
        raise StoreError(
            f"'{source}' is no source of bundles", next_step=f"name a folder, an http(s) address, or a car: {shapes}"
        )


class _Told:
    """A source that says how many bytes came through it."""

    def __init__(self, source: Source, went_on: _Bar) -> None:
        self._source, self._went_on = source, went_on

    def read(self, name: str, offset: int, size: int) -> bytes:
        data = self._source.read(name, offset, size)
        self._went_on.add(len(data))
        return data


class _Bar:
    """How much came so far, on a terminal's stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self.progress = Progress(
            TextColumn("fetching"), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True)
        )
        self._task = self.progress.add_task("", total=None)

    def add(self, count: int) -> None:
        self.progress.advance(self._task, count)


@contextlib.contextmanager
def _progress() -> Iterator[_Bar]:
    bar = _Bar()
    with bar.progress:
        yield bar
