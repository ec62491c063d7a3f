"""The store of installed bundles. One writer at a time; workers only read it, and need no right to write.

    root/
      trusted/*.pub               whose signatures count
      names/<name>.json           versions ─► bundle, which is active, which were before, which are pinned
      bundles/<manifest sha256>/  manifest.json, manifest.sig, the files (read-only; equal files are one, hard-linked)
      releases/                   who says what may be installed now (releases.py); absent: any trusted signature
      aside/                      what is being made or taken away; emptied by the next writer
      lock

Everything is made aside, synced, and moved in by one rename; the rename of names/<name>.json is what activates. Killed
at any point, the store is what it was before or what it was to be.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime.store.bundle import (
    MANIFEST,
    SIGNATURE,
    Bundle,
    Source,
    check_files,
    check_head,
    checked_parts,
    open_source,
)
from runtime.store.device_key import DEVICE_KEY
from runtime.store.errors import BundleError, ModelNotFound, QuotaExceeded, StoreError, StoreUnusable, VersionTaken
from runtime.store.files import disk_errors, sole_writer, sync_folder, write_all, write_atomically, write_new
from runtime.store.keys import KEY_FOLDER, PublicKey, TrustedKeys
from runtime.store.manifest import FileEntry, Manifest, manifest_sha256, parse_reference
from runtime.store.versions import fits, is_range, newest

NAMES_FORMAT = 1
HISTORY = 8  # versions that a rollback can go back through
_SPARE_BYTES = 16 << 20  # left free on the disk by an installation, for the job store and the ledger


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What names/<name>.json holds. `history` are the versions that were active before, the latest last."""

    format: int = NAMES_FORMAT
    versions: dict[str, str]
    active: str
    history: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installed:
    """One line of `list_models`. `problem` is empty, or why this version cannot be used."""

    name: str
    version: str
    sha256: str
    is_active: bool
    is_pinned: bool
    kind: str = ""
    total_bytes: int = 0
    problem: str = ""


class ModelStore:
    """The store at `root`, which need not exist yet. `quota_bytes` 0 is without a limit.

    Readers: get, list_models, verify, used_bytes. Writers: the others; each raises StoreUnusable while another process
    writes. Names of models are "name" or "name@version".
    """

    def __init__(self, root: str | os.PathLike[str], *, quota_bytes: int = 0) -> None:
        self.root = Path(root)
        self._quota_bytes = quota_bytes
        self._bundles = self.root / "bundles"
        self._names = self.root / "names"
        self._aside = self.root / "aside"

    @property
    def trusted_folder(self) -> Path:
        """Where the public keys lie whose signatures count."""
        return self.root / "trusted"

    @property
    def device_key(self) -> Path:
        """Where this device's key lies, if it has one: beside the store, never in what is shared."""
        return self.root.parent / KEY_FOLDER / DEVICE_KEY

    def trust(self, key: PublicKey, name: str = "") -> None:
        """Lets `key`'s signatures count from now on. Raises StoreUnusable."""
        with self._writing():
            TrustedKeys.add(self.trusted_folder, key, name)

    def enrol(self, root: bytes, source: str) -> None:
        """From now on only what the fleet releases is installed (releases.py). Raises NotReleased, StoreUnusable."""
        from runtime.store.releases import Releases

        with self._writing():
            Releases(self.root / "releases").enrol(root, source)

    def get(self, name: str, version: str = "") -> Bundle:
        """Returns an installed bundle: the active version, or `version` (also as "name@version", and "name@>=1.2,<2").

        Its manifest's signature is checked against the keys that are trusted now. Raises ModelNotFound, BundleError.
        """
        bare, _, wanted = name.partition("@")
        if is_range(wanted):
            return self._newest(parse_reference(bare)[0], wanted)
        bare, inside = parse_reference(name)
        names = self._read(bare)
        wanted = version or inside or names.active
        if wanted not in names.versions:
            raise ModelNotFound(
                f"model '{bare}' has no version {wanted}; there are: {', '.join(sorted(names.versions))}"
            )
        return self._open(bare, wanted, names.versions[wanted])

    def _newest(self, name: str, wanted: str) -> Bundle:
        """Returns the active version if it is in the range `wanted`, else the newest that is. Raises as `get`."""
        names = self._read(name)
        found = names.active if fits(names.active, wanted) else newest(names.versions, wanted)
        if not found:
            there = ", ".join(sorted(names.versions))
            raise ModelNotFound(f"model '{name}' has no version {wanted}; there are: {there}")
        return self._open(name, found, names.versions[found])

    def versions(self) -> dict[str, tuple[str, ...]]:
        """Returns the installed versions of every model, as their names say; no bundle is looked into."""
        return {name: tuple(self._read(name).versions) for name in self._all_names()}

    def list_models(self) -> list[Installed]:
        """Returns every installed version by name, in the order of installation; one that is damaged says so."""
        found = []
        for name in self._all_names():
            names = self._read(name)
            for version, sha256 in names.versions.items():
                flags = version == names.active, version in names.pinned
                try:
                    manifest = self._open(name, version, sha256).manifest
                    found.append(Installed(name, version, sha256, *flags, manifest.kind, manifest.total_bytes))
                except StoreError as error:
                    found.append(Installed(name, version, sha256, *flags, problem=error.message))
        return found

    def verify(self, name: str, version: str = "") -> Bundle:
        """Like `get`, and reads every byte of every file against its hash."""
        bundle = self.get(name, version)
        with open_source(bundle.folder) as source:
            check_files(bundle.manifest, source)
        return bundle

    def used_bytes(self) -> int:
        """Returns the bytes of all installed files; those that bundles share count once."""
        sizes = {}
        for path in self._bundles.rglob("*") if self._bundles.is_dir() else ():
            status = path.lstat()
            if not path.is_dir():
                sizes[status.st_ino] = status.st_size
        return sum(sizes.values())

    def install(self, path: str | os.PathLike[str], *, activate: bool = True) -> Bundle:
        """Checks every byte of a bundle (folder or .ihb), keeps it, and makes its version the active one.

        Installing what is installed mends it if it is damaged. Raises UntrustedBundle, BundleError, VersionTaken,
        QuotaExceeded, StoreUnusable; then the store is unchanged.
        """
        with self._writing(), open_source(Path(path)) as source:
            data, signature = source.head()
            manifest = check_head(data, signature, TrustedKeys.load(self.trusted_folder), str(path))
            assert signature is not None
            self._check_released(manifest, data)
            sha256 = manifest_sha256(data)
            names = self._read_or_new(manifest.name)
            taken = names.versions.get(manifest.version, sha256)
            if taken != sha256:
                raise VersionTaken(f"model '{manifest.name}' has another bundle installed as {manifest.version}")
            if not self._is_whole(sha256):
                self._sweep()
                self._check_room(manifest)
                self._move_in(self._unpack(source, manifest, data, signature), sha256)
            versions = {**names.versions, manifest.version: sha256}
            names = msgspec.structs.replace(names, versions=versions)
            self._write(manifest.name, _activated(names, manifest.version) if activate or not names.active else names)
            return self._open(manifest.name, manifest.version, sha256)

    def activate(self, name: str, version: str) -> None:
        """Makes an installed version the one that `get` gives without a version. Raises ModelNotFound."""
        with self._writing():
            self.get(name, version)
            self._write(name, _activated(self._read(name), version))

    def rollback(self, name: str) -> str:
        """Makes the version active that was before; returns it. Raises ModelNotFound if there is none."""
        with self._writing():
            names = self._read(name)
            if not names.history:
                raise ModelNotFound(f"model '{name}' has no version that was active before {names.active}")
            before = names.history[-1]
            self._open(name, before, names.versions[before])
            self._write(name, msgspec.structs.replace(names, active=before, history=names.history[:-1]))
            return before

    def pin(self, name: str, version: str, *, is_pinned: bool = True) -> None:
        """Keeps a version from `remove` and `gc`, or lets it go again. Raises ModelNotFound."""
        with self._writing():
            names = self._read(name)
            if version not in names.versions:
                raise ModelNotFound(f"model '{name}' has no version {version}")
            others = tuple(pinned for pinned in names.pinned if pinned != version)
            self._write(name, msgspec.structs.replace(names, pinned=(*others, version) if is_pinned else others))

    def remove(self, name: str, version: str) -> None:
        """Takes a version away; the active falls back to that before. Raises ModelNotFound, StoreError if pinned."""
        with self._writing():
            names = self._read(name)
            if version not in names.versions:
                raise ModelNotFound(f"model '{name}' has no version {version}")
            if version in names.pinned:
                raise StoreError(f"version {version} of model '{name}' is pinned", next_step="unpin it first")
            self._write(name, _without(names, version))
            self._sweep()

    def gc(self) -> list[str]:
        """Removes versions that are neither active, pinned, nor the next rollback's; returns them (name@version)."""
        with self._writing():
            gone = []
            for name in self._all_names():
                names = self._read(name)
                kept = {names.active, *names.pinned, *names.history[-1:]}
                for version in [version for version in names.versions if version not in kept]:
                    names = _without(names, version)
                    gone.append(f"{name}@{version}")
                self._write(name, names)
            self._sweep()
            return gone

    def _open(self, name: str, version: str, sha256: str) -> Bundle:
        folder = self._bundles / sha256
        where = f"bundle '{name}@{version}'"
        try:
            data, signature = (folder / MANIFEST).read_bytes(), (folder / SIGNATURE).read_bytes()
        except OSError as error:
            raise BundleError(f"{where} cannot be read: {error.strerror}", next_step="install it again") from error
        if manifest_sha256(data) != sha256:
            raise BundleError(f"{where}: its manifest is damaged", next_step="install it again")
        manifest = check_head(data, signature, TrustedKeys.load(self.trusted_folder), where)
        return Bundle(folder, manifest, sha256, self.device_key)

    def _check_released(self, manifest: Manifest, data: bytes) -> None:
        if (self.root / "releases").is_dir():
            from runtime.store.releases import Releases  # its library is large, and only installations need it

            Releases(self.root / "releases").check(manifest, data)

    def _all_names(self) -> list[str]:
        return sorted(path.stem for path in self._names.glob("*.json") if not path.name.startswith("."))

    def _read(self, name: str) -> Names:
        path = self._names / f"{name}.json"
        try:
            names = msgspec.json.decode(path.read_bytes(), type=Names)
        except FileNotFoundError as error:
            there = ", ".join(self._all_names()) or "none"
            raise ModelNotFound(f"no model '{name}' is installed in {self.root}; there are: {there}") from error
        except OSError as error:
            raise StoreUnusable(f"{path} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise StoreUnusable(
                f"{path} is damaged: {error}", next_step="remove it, then install the model again"
            ) from error
        if names.format != NAMES_FORMAT:
            raise StoreUnusable(f"{path} has format {names.format}, this build reads {NAMES_FORMAT}")
        return names

    def _read_or_new(self, name: str) -> Names:
        return self._read(name) if (self._names / f"{name}.json").exists() else Names(versions={}, active="")

    def _write(self, name: str, names: Names) -> None:
        path = self._names / f"{name}.json"
        if names.versions:
            write_atomically(path, msgspec.json.format(msgspec.json.encode(names)) + b"\n")
            return
        with disk_errors(path):
            path.unlink(missing_ok=True)
            sync_folder(self._names)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Holds the store alone, its folders made, and nothing left of a writer that was killed."""
        with disk_errors(self.root):
            for folder in (self.root, self._bundles, self._names, self._aside, self.trusted_folder):
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with sole_writer(self.root / "lock"), disk_errors(self.root):
            self._empty_aside()
            try:
                yield
            finally:
                self._empty_aside()

    def _empty_aside(self) -> None:
        """Best effort: what cannot be removed now is in nobody's way, and the next writer tries again."""
        for path in self._aside.iterdir():
            shutil.rmtree(path, ignore_errors=True)

    def _is_whole(self, sha256: str) -> bool:
        if not (self._bundles / sha256).is_dir():
            return False
        try:
            with open_source(self._bundles / sha256) as source:
                data, _ = source.head()
                if manifest_sha256(data) != sha256:
                    return False
                check_files(check_head(*source.head(), TrustedKeys.load(self.trusted_folder), sha256), source)
        except BundleError:
            return False
        return True

    def _check_room(self, manifest: Manifest) -> None:
        used, size = self.used_bytes(), manifest.total_bytes
        where = f"bundle '{manifest.name}@{manifest.version}' has {size} bytes"
        if self._quota_bytes and used + size > self._quota_bytes:
            raise QuotaExceeded(f"{where}, {used} of the store's {self._quota_bytes} are in use")
        status = os.statvfs(self.root)
        free = status.f_bavail * status.f_frsize
        if size + _SPARE_BYTES > free:
            raise StoreUnusable(f"{where}, the disk of {self.root} has {free} free and {_SPARE_BYTES} must stay so")

    def _unpack(self, source: Source, manifest: Manifest, data: bytes, signature: bytes) -> Path:
        """Writes the bundle aside, every byte checked and synced; returns where."""
        folder = self._aside / secrets.token_hex(8)
        folder.mkdir()
        known = self._known_files()
        folders = {folder}
        for entry, parts in source.files(manifest):
            path = folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.update(parent for parent in path.parents if folder in parent.parents)
            checked = checked_parts(manifest, entry, parts)
            if (twin := known.get((entry.sha256, entry.bytes))) is not None and _has_hash(twin, entry):
                for _ in checked:
                    pass
                os.link(twin, path)
            else:
                _write_file(path, checked)
        write_new(folder / MANIFEST, data, 0o444)
        write_new(folder / SIGNATURE, signature, 0o444)
        for inner in folders:
            sync_folder(inner)
        return folder

    def _known_files(self) -> dict[tuple[str, int], Path]:
        """Returns the files of all installed bundles by (sha256, size), as their manifests have them."""
        known = {}
        for installed in self.list_models():
            if not installed.problem:
                bundle = self._open(installed.name, installed.version, installed.sha256)
                for entry in bundle.manifest.files:
                    known[entry.sha256, entry.bytes] = bundle.folder / entry.path
        return known

    def _move_in(self, unpacked: Path, sha256: str) -> None:
        place = self._bundles / sha256
        if place.exists():  # damaged, or it would have been taken as it is
            os.rename(place, self._aside / secrets.token_hex(8))
        os.rename(unpacked, place)
        sync_folder(self._bundles)

    def _sweep(self) -> None:
        """Takes away bundles that no name refers to. Best effort, as with what was aside: a name is what counts."""
        kept = {sha256 for name in self._all_names() for sha256 in self._read(name).versions.values()}
        with suppress(OSError):
            for folder in self._bundles.iterdir():
                if folder.name not in kept:
                    os.rename(folder, self._aside / secrets.token_hex(8))


def _activated(names: Names, version: str) -> Names:
    if names.active == version:
        return names
    history = (*(old for old in names.history if old != version), *([names.active] if names.active else []))
    return msgspec.structs.replace(names, active=version, history=history[-HISTORY:])


def _without(names: Names, version: str) -> Names:
    versions = {kept: sha256 for kept, sha256 in names.versions.items() if kept != version}
    history = tuple(old for old in names.history if old != version)
    active = names.active
    if active == version:
        active = history[-1] if history else next(reversed(versions), "")
        history = history[:-1]
    return msgspec.structs.replace(names, versions=versions, active=active, history=history)


def _write_file(path: Path, parts: Iterator[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444)
    try:
        for part in parts:
            write_all(descriptor, part)
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_hash(path: Path, entry: FileEntry) -> bool:
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while part := stream.read(1 << 20):
                digest.update(part)
    except OSError:
        return False
    return digest.hexdigest() == entry.sha256
