"""Which bundles are released now, by TUF: what signatures alone cannot say, since an old bundle is signed for ever.

    maker (release_maker.py)                           car
    root ─► targets  name/version ─► hash, release n    enrol(root.json) once, then at every installation:
         ─► snapshot, timestamp (short-lived)            is this very manifest a target, and n not below before?

    the attack            what stops it
    rollback              versions of all metadata only grow; a bundle's release number, too, once one was installed
    freeze                the timestamp expires
    mix and match         the snapshot names the one version of the targets that belongs to it
    endless data          every metadata file has a size limit
    a stolen key          the others' roles; the root replaces the key, and old metadata no longer verifies

It is asked at installation only: what is installed runs on without a network. Source: The Update Framework, version 1.0
of its specification; the library is PyPI's `tuf`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import unquote, urlsplit

import msgspec
from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from runtime.store.errors import StoreError, UntrustedBundle
from runtime.store.files import disk_errors, write_atomically
from runtime.store.manifest import Manifest

PART_BYTES = 64 * 1024
_LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=1,
    root_max_length=256 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=256 * 1024,
    targets_max_length=8 * 1024 * 1024,
)


class NotReleased(UntrustedBundle):
    """The fleet's release metadata does not name this bundle, or cannot be trusted itself."""

    next_step: ClassVar[str] = "install what is released now; the store is unchanged"


class ReleasesUnreachable(StoreError):
    """The release metadata cannot be fetched: a bundle cannot be checked without it."""

    next_step: ClassVar[str] = "try again when the server can be reached; what is installed runs on"


class Releases:
    """The car's side, in `folder`: root.json (the first trusted root), source, metadata/, highest.json."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def is_enrolled(self) -> bool:
        """Whether installations are checked against releases."""
        return (self._folder / "source").exists()

    def enrol(self, root: bytes, source: str) -> None:
        """Trusts `root` (the bytes of a root.json, got with the car or by another way that is trusted) from now on.

        `source` is where metadata is fetched: a folder, or an https URL. Raises NotReleased for bytes that are no root.
        """
        try:
            Metadata[Root].from_bytes(root).verify_delegate(Root.type, Metadata[Root].from_bytes(root))
        except (RepositoryError, ValueError) as error:
            raise NotReleased(
                f"this is no trusted root: {error}", next_step="get root.json again from the fleet"
            ) from error
        if not source.startswith("https://") and not Path(source).is_absolute():
            raise NotReleased(
                f"'{source}' is no source of releases: expected an absolute folder or an https:// address"
            )
        with disk_errors(self._folder):
            (self._folder / "metadata").mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / "root.json", root)
        write_atomically(self._folder / "source", source.encode())

    def check(self, manifest: Manifest, data: bytes) -> None:
        """Returns if the manifest (its bytes `data`) is released now. Raises NotReleased, ReleasesUnreachable."""
        where = f"bundle '{manifest.name}@{manifest.version}'"
        target = self._target(target_path(manifest), where)
        if target.length != len(data) or target.hashes.get("sha256") != hashlib.sha256(data).hexdigest():
            raise NotReleased(f"{where}: another manifest is released under this name and version")
        release = target.unrecognized_fields.get("custom", {}).get("release")
        if not isinstance(release, int) or release < 1:
            raise NotReleased(f"{where} is released without a release number")
        highest = self._highest()
        if release < highest.get(manifest.name, 0):
            raise NotReleased(f"{where} is release {release}, release {highest[manifest.name]} was installed before")
        write_atomically(self._folder / "highest.json", msgspec.json.encode({**highest, manifest.name: release}))

    def _target(self, path: str, where: str) -> TargetFile:
        source = (self._folder / "source").read_text(encoding="utf-8")
        is_remote = source.startswith("https://")
        try:
            updater = Updater(
                str(self._folder / "metadata"),
                source if is_remote else Path(source).as_uri(),
                fetcher=Urllib3Fetcher() if is_remote else FolderFetcher(),
                config=_LIMITS,
                bootstrap=(self._folder / "root.json").read_bytes(),
            )
            updater.refresh()
            target = updater.get_targetinfo(path)
        except ExpiredMetadataError as error:
            raise NotReleased(f"{where}: the release metadata of {source} has expired: {error}") from error
        except DownloadHTTPError as error:
            raise ReleasesUnreachable(f"release metadata is not at {source}: {error}") from error
        except DownloadError as error:
            raise ReleasesUnreachable(f"release metadata cannot be fetched from {source}: {error}") from error
        except (RepositoryError, ValueError) as error:
            raise NotReleased(f"{where}: the release metadata of {source} is not to be trusted: {error}") from error
        if target is None:
            raise NotReleased(f"{where} is not among what {source} releases")
        return target

    def _highest(self) -> dict[str, int]:
        path = self._folder / "highest.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise StoreError(
                f"{path} is damaged: {error}", next_step="remove it after a look at what is installed"
            ) from error


class FolderFetcher(FetcherInterface):
    """Fetches from a folder: a mounted disk, another car's share, a test."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return _parts(open(unquote(urlsplit(url).path), "rb"))
        except FileNotFoundError as error:
            raise DownloadHTTPError("there is no such file", 404) from error


def _parts(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while part := stream.read(PART_BYTES):
            yield part


def target_path(manifest: Manifest) -> str:
    """Returns a manifest's name among the targets."""
    return f"{manifest.name}/{manifest.version}"
