"""Encrypts a packed bundle for some devices: the maker's side. What comes of it must be signed (again).

    bundle ──files checked, sealed──► folder aside, of ciphertext ──pack──► bundle with `encryption` in its manifest

Nothing but ciphertext is written. Hashes, signature, chunks and quota are all of the ciphertext, so whoever shares,
mirrors or installs such a bundle needs no key.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from runtime.store.bundle import checked_parts, open_source, pack
from runtime.store.device_key import DevicePublicKey
from runtime.store.envelope import seal
from runtime.store.errors import BundleError
from runtime.store.files import disk_errors
from runtime.store.manifest import Encryption, Manifest, decode_manifest


def encrypt(
    path: Path, destination: Path, devices: Sequence[DevicePublicKey], *, files: Sequence[str] = ()
) -> Manifest:
    """Writes the bundle `path` to `destination` (which must not exist) with `files` encrypted for `devices`; none
    named are all. Returns its manifest; it is not signed.

    Raises BundleError (already encrypted, no such file), KeyFileError, StoreUnusable.
    """
    aside = destination.with_name(f".{destination.name}.{secrets.token_hex(6)}")
    with open_source(path) as source:
        manifest = decode_manifest(source.head()[0])
        where = f"bundle '{manifest.name}@{manifest.version}'"
        there = [entry.path for entry in manifest.files]
        if manifest.encryption is not None:
            raise BundleError(f"{where} is encrypted already", next_step="encrypt the bundle that it was made of")
        if missing := sorted(set(files) - set(there)):
            raise BundleError(f"{where} has no file {missing[0]}; there are: {', '.join(there)}", next_step="")
        if not devices:
            raise BundleError(f"{where}: there is no device to encrypt it for", next_step="name its key with --for")
        wanted = set(files) or set(there)
        with disk_errors(destination):
            try:
                aside.mkdir()
                for entry, parts in source.files(manifest):
                    plain = checked_parts(manifest, entry, parts)
                    inside = aside / entry.path
                    inside.parent.mkdir(parents=True, exist_ok=True)
                    with open(inside, "xb") as out:
                        out.writelines(seal(plain, entry.path, devices) if entry.path in wanted else plain)
                return pack(aside, destination, description=_described(manifest, sorted(wanted), devices))
            finally:
                shutil.rmtree(aside, ignore_errors=True)


def _described(manifest: Manifest, files: Sequence[str], devices: Sequence[DevicePublicKey]) -> dict[str, Any]:
    ids = sorted({device.key_id for device in devices})
    changed = msgspec.structs.replace(manifest, encryption=Encryption(tuple(files), tuple(ids)))
    description: dict[str, Any] = msgspec.to_builtins(changed)
    return {name: value for name, value in description.items() if name not in ("format", "files")}
