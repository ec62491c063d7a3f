"""A bundle: files, their manifest, and a signature over it. Here it is described, packed, signed, and checked.

    bundle.toml + files ──pack──► folder or .ihb, manifest.json ──sign──► + manifest.sig ──verify──► Manifest
                                                                          ModelStore.install (models.py) ──► Bundle

The signature is Ed25519 over a fixed prefix and the manifest's bytes; the manifest holds every file's hash.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from runtime.store.archive import MemberReader, write_end, write_member
from runtime.store.device_key import DeviceKey
from runtime.store.envelope import unseal
from runtime.store.errors import BundleError, UntrustedBundle, WrongDevice
from runtime.store.files import COPY_BYTES, disk_errors, write_atomically
from runtime.store.keys import SigningKey, TrustedKeys
from runtime.store.manifest import MANIFEST_CAP_BYTES, MANIFEST_FORMAT, FileEntry, Manifest, decode_manifest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIX = ".ihb"
DESCRIPTION = "bundle.toml"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
SIGNATURE_CAP_BYTES = 1024
_PREFIX = b"idlehands bundle 1\0"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What manifest.sig holds, as JSON; hexadecimal."""

    key_id: str
    signature: str


@dataclass(frozen=True)
class Bundle:
    """An installed bundle, its signature checked. `sha256` is that of the manifest: the bundle's identity.

    `device_key` is where this device's key lies, if it has one: encrypted files are opened with it.
    """

    folder: Path
    manifest: Manifest
    sha256: str
    device_key: Path

    @property
    def reference(self) -> str:
        """name@version"""
        return f"{self.manifest.name}@{self.manifest.version}"

    def path(self, file: str) -> Path:
        """Returns where a file of the manifest lies. Raises BundleError if it is not the manifest's, absent, or of
        another size; its bytes were checked at the installation."""
        for entry in self.manifest.files:
            if entry.path == file:
                found = self.folder / file
                size = found.stat().st_size if found.is_file() else -1
                if size != entry.bytes:
                    said = f"has {size} bytes, its manifest says {entry.bytes}" if size >= 0 else "is absent"
                    raise BundleError(f"bundle '{self.reference}': {file} {said}", next_step="install it again")
                return found
        raise BundleError(f"bundle '{self.reference}' has no file {file}", next_step="")

    def is_encrypted(self, file: str) -> bool:
        """Returns whether what lies at `path(file)` is ciphertext: it is then had by `read` alone, and never kept."""
        return self.manifest.encryption is not None and file in self.manifest.encryption.files

    def check_device(self, file: str) -> DeviceKey | None:
        """Returns the key that opens a file, None for a plain one. Raises WrongDevice, KeyFileError; opens nothing."""
        if self.manifest.encryption is None or not self.is_encrypted(file):
            return None
        devices = self.manifest.encryption.devices
        said = f"bundle '{self.reference}': {file} is encrypted for {len(devices)} device{'s' * (len(devices) > 1)}"
        if not self.device_key.exists():
            raise WrongDevice(f"{said}, and this one has no key yet")
        key = DeviceKey.load(self.device_key)
        if key.public.key_id not in devices:
            raise WrongDevice(f"{said}, and not for this one, whose key is {key.public.key_id[:16]}")
        return key

    def read(self, file: str) -> bytes:
        """Returns the content of a file of the manifest, decrypted in memory if need be; what is opened was checked.

        Raises WrongDevice before a byte is decrypted, KeyFileError, BundleError.
        """
        path = self.path(file)
        key = self.check_device(file)
        if key is None:
            return path.read_bytes()
        where = f"bundle '{self.reference}': {file}"
        with _open_plain(path, where) as stream:
            opened = unseal(stream, file, key, where)
        if all((entry.path, entry.sha256) != (file, opened.sha256) for entry in self.manifest.files):
            # Anybody can encrypt for a device: what opens is not yet what its maker signed.
            raise BundleError(f"{where} is not the file that its manifest names", next_step="install it again")
        return opened.plain


def pack(source: Path, destination: Path, *, description: Mapping[str, Any] | None = None) -> Manifest:
    """Packs the files of the folder `source` into `destination`: one file if it ends in .ihb, a folder otherwise.

    `description` is the manifest without `format` and `files` (its fields: runtime/store/manifest.py); without it,
    `source`/bundle.toml is read. All plain files below `source` are packed, but for bundle.toml and those whose names
    begin with a dot. Raises BundleError: `destination` exists, a description that is wrong, a file that is none.
    """
    if destination.exists():
        raise BundleError(f"{destination} exists already", next_step="name another destination, or remove it")
    manifest = _describe(source, _read_description(source) if description is None else description)
    _write(destination, manifest.encode(), None, manifest, _FolderSource(source))
    return manifest


def sign(path: Path, key: SigningKey) -> Manifest:
    """Signs a bundle in place (an .ihb is written anew and swapped). Returns its manifest. Raises BundleError.

    What is signed is checked first: every file must be what the manifest says.
    """
    with open_source(path) as source:
        data, _ = source.head()
        manifest = decode_manifest(data)
        check_files(manifest, source)
        envelope = Signature(key.public.key_id, key.sign(_PREFIX + data).hex())
        signature = msgspec.json.encode(envelope)
        if path.is_dir():
            write_atomically(path / SIGNATURE, signature)
        else:
            _write(path, data, signature, manifest, source)
    return manifest


def verify(path: Path, trusted: TrustedKeys) -> Manifest:
    """Returns the manifest of a bundle (folder or .ihb) after everything was checked: signature, canonical form, and
    every byte of every file. Raises BundleError, UntrustedBundle."""
    with open_source(path) as source:
        data, signature = source.head()
        manifest = check_head(data, signature, trusted, str(path))
        check_files(manifest, source)
    return manifest


def copy_archive(path: Path, destination: Path) -> None:
    """Writes a bundle (folder or .ihb) anew as one file at `destination`, every byte checked against its manifest."""
    with open_source(path) as source:
        data, signature = source.head()
        manifest = decode_manifest(data)
        destination.unlink(missing_ok=True)
        _write_archive(destination, data, signature, manifest, source)


def check_head(data: bytes, signature: bytes | None, trusted: TrustedKeys, where: str) -> Manifest:
    """Checks the signature before the manifest is parsed. Raises UntrustedBundle, BundleError."""
    if signature is None:
        raise UntrustedBundle(f"{where} is not signed")
    try:
        envelope = msgspec.json.decode(signature[:SIGNATURE_CAP_BYTES], type=Signature)
        raw = bytes.fromhex(envelope.signature)
    except (msgspec.DecodeError, ValueError) as error:
        raise UntrustedBundle(f"{where} has a damaged signature") from error
    key = trusted.by_id.get(envelope.key_id)
    if key is None:
        raise UntrustedBundle(f"{where} is signed by the key {envelope.key_id[:16]!r}, which is not trusted here")
    if not key.verifies(raw, _PREFIX + data):
        raise UntrustedBundle(f"{where} has a signature of the key {key.key_id[:16]} that is not of this manifest")
    return decode_manifest(data)


class Source(Protocol):
    """A bundle to read, in its order: head, then every file."""

    def head(self) -> tuple[bytes, bytes | None]:
        """Returns (manifest.json, manifest.sig or None), not checked yet."""

    def files(self, manifest: Manifest) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
        """Yields every file with its bytes in parts, at most its size in the manifest; each to be read to its end."""


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Opens a bundle, folder or .ihb. Raises BundleError if it is absent or neither."""
    if path.is_dir():
        yield _FolderSource(path)
        return
    with _open_plain(path, str(path)) as stream:
        yield _ArchiveSource(stream, str(path))


def check_files(manifest: Manifest, source: Source) -> None:
    """Reads every file against its hash. Raises BundleError."""
    for entry, parts in source.files(manifest):
        for _ in checked_parts(manifest, entry, parts):
            pass


def checked_parts(manifest: Manifest, entry: FileEntry, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yields `parts` on, and raises BundleError at their end if they are not the bytes that the manifest names."""
    digest, size = hashlib.sha256(), 0
    for part in parts:
        size += len(part)
        digest.update(part)
        yield part
    where = f"bundle '{manifest.name}@{manifest.version}': {entry.path}"
    if size != entry.bytes:
        raise BundleError(f"{where} has {size} bytes, its manifest says {entry.bytes}")
    if digest.hexdigest() != entry.sha256:
        raise BundleError(f"{where} has sha256 {digest.hexdigest()[:16]}…, its manifest says {entry.sha256[:16]}…")


class _FolderSource:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def head(self) -> tuple[bytes, bytes | None]:
        with _open_plain(self._folder / MANIFEST, f"{self._folder} is no bundle: {MANIFEST}") as stream:
            data = stream.read(MANIFEST_CAP_BYTES + 1)
        if len(data) > MANIFEST_CAP_BYTES:
            raise BundleError(
                f"{self._folder}: its manifest has more than the {MANIFEST_CAP_BYTES} bytes that are taken"
            )
        if not (self._folder / SIGNATURE).exists():
            return data, None
        with _open_plain(self._folder / SIGNATURE, str(self._folder / SIGNATURE)) as stream:
            return data, stream.read(SIGNATURE_CAP_BYTES)

    def files(self, manifest: Manifest) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
        for entry in manifest.files:
            with _open_plain(self._folder / entry.path, f"bundle '{manifest.name}': {entry.path}") as stream:
                yield entry, _parts(stream, entry.bytes + 1)


class _ArchiveSource:
    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._reader = MemberReader(stream, where)
        self._stream = stream

    def head(self) -> tuple[bytes, bytes | None]:
        self._reader.at_start()
        data = self._reader.expect_small(MANIFEST, MANIFEST_CAP_BYTES)
        after = self._stream.tell()
        try:
            return data, self._reader.expect_small(SIGNATURE, SIGNATURE_CAP_BYTES)
        except BundleError:
            self._stream.seek(after)
            return data, None

    def files(self, manifest: Manifest) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
        self.head()
        for entry in manifest.files:
            self._reader.expect(entry.path, entry.bytes)
            yield entry, self._reader.parts(entry.bytes)
        self._reader.expect_end()


def _describe(source: Path, description: Mapping[str, Any]) -> Manifest:
    for name in ("format", "files"):
        if name in description:
            raise BundleError(f"{source}: a description has no `{name}`, it is worked out", next_step="remove it")
    entries = []
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source).as_posix()
        if path.is_dir() or any(part.startswith(".") for part in inside.split("/")):
            continue
        if inside in (DESCRIPTION, MANIFEST, SIGNATURE):
            continue
        with _open_plain(path, inside) as stream:
            digest, size = hashlib.sha256(), 0
            for part in _parts(stream, None):
                digest.update(part)
                size += len(part)
        entries.append({"path": inside, "sha256": digest.hexdigest(), "bytes": size})
    try:
        return msgspec.convert({**description, "format": MANIFEST_FORMAT, "files": entries}, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{source}: the bundle's description: {error}", next_step="correct it") from error


def _read_description(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((source / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"there is no {DESCRIPTION} in {source}", next_step="describe the bundle there") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(f"{source / DESCRIPTION}: {error}", next_step="correct it") from error


def _write(destination: Path, data: bytes, signature: bytes | None, manifest: Manifest, source: Source) -> None:
    """Writes a bundle beside `destination` and moves it there whole."""
    aside = destination.with_name(f".{destination.name}.{secrets.token_hex(6)}")
    with disk_errors(destination):
        try:
            if destination.suffix == SUFFIX:
                _write_archive(aside, data, signature, manifest, source)
            else:
                _write_folder(aside, data, manifest, source)
            os.replace(aside, destination)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            aside.unlink(missing_ok=True)
            raise


def _write_archive(path: Path, data: bytes, signature: bytes | None, manifest: Manifest, source: Source) -> None:
    with open(path, "xb") as out:
        write_member(out, MANIFEST, len(data), iter([data]))
        if signature is not None:
            write_member(out, SIGNATURE, len(signature), iter([signature]))
        for entry, parts in source.files(manifest):
            write_member(out, entry.path, entry.bytes, checked_parts(manifest, entry, parts))
        write_end(out)
        out.flush()
        os.fsync(out.fileno())


def _write_folder(folder: Path, data: bytes, manifest: Manifest, source: Source) -> None:
    folder.mkdir()
    for entry, parts in source.files(manifest):
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as out:
            for part in checked_parts(manifest, entry, parts):
                out.write(part)
    (folder / MANIFEST).write_bytes(data)


@contextmanager
def _open_plain(path: Path, where: str) -> Iterator[BinaryIO]:
    """Opens a plain file for reading: never a link, a device, or a pipe that would wait. Raises BundleError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BundleError(f"{where} is absent") from error
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise BundleError(f"{where} cannot be read: {why}") from error
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"{where} is not a plain file")
        yield stream


def _parts(stream: BinaryIO, at_most: int | None) -> Iterator[bytes]:
    """Yields what is in `stream`, at most `at_most` bytes (one more than expected is enough to notice)."""
    left = at_most if at_most is not None else sys.maxsize
    while left and (part := stream.read(min(left, COPY_BYTES))):
        left -= len(part)
        yield part
